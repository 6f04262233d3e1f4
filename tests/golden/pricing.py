"""The uses of a translated vector, priced by the stage that prices all uses."""

from __future__ import annotations

from dataclasses import dataclass

from nanotally.streams.domain.tariff import TariffVersion
from nanotally.streams.tariffs.reader import read_tariff
from nanotally.streams.tariffs.values import instant_us
from tests.golden.uses import Translation, Use, chopped
from tests.golden.words import NotExpressible, decimal
from tests.support.payers_bench import DAY, T0, PayersBench, book, close, event

UNSCALED_MAX = 10**15


class NotCharged(Exception):
    """A use was not charged."""


@dataclass(frozen=True)
class Nanos:
    """What was charged, in nanos: in all, and for each entry of usage."""

    total: int
    per: tuple[int, ...]


def price(translation: Translation, pieces: int = 1) -> Nanos:
    """The charges of all uses, each reported in `pieces`, and what falls due when the books are closed. Raises
    NotCharged, NotExpressible, TariffErrors."""
    bench = run(read_tariff(translation.text, "golden.yaml"), translation, pieces)
    by_use = [0] * len(translation.uses)
    by_payer = dict.fromkeys((use.payer for use in translation.uses), 0)
    for charge in bench.of("Charge"):
        if charge["outcome"] not in ("charged", "due"):
            raise NotCharged(f"{charge['outcome']}: {charge['reason']}")
        by_payer[charge["payer"]] += charge["paid_nanos"]
        if charge["outcome"] == "charged":
            by_use[int(charge["event"]["event_id"].partition(".")[0])] += charge["paid_nanos"]
    if bench.reasons():
        raise NotCharged(f"rejected: {', '.join(bench.reasons())}")
    if translation.way == "shared":
        return Nanos(sum(by_payer.values()), tuple(by_use))
    alone = [use.sign * by_payer[use.payer] for use in translation.uses]
    if translation.way == "own":
        return Nanos(sum(alone), tuple(alone))
    return Nanos(sum(alone[-1:]), tuple(now - before for now, before in zip(alone, [0, *alone], strict=False)))


def run(version: TariffVersion, translation: Translation, pieces: int = 1) -> PayersBench:
    """A bench that took the uses in order of time, and a close of the books when all scopes have ended."""
    events = []
    for number, use in enumerate(translation.uses):
        fits = -(-use.quantity * 10**translation.scale // UNSCALED_MAX) if translation.choppable else 1
        for place, (piece, after) in enumerate(chopped(use, max(pieces, int(fits)), translation.scale)):
            at_us = T0 if use.start is None else instant_us(use.start) + int(after * 10**6)
            events.append((at_us, _event(f"{number}.{place}", at_us, piece, translation.scale)))
    events.sort(key=lambda one: one[0])
    if not events:
        return PayersBench(book(version))
    latest_us = max(at_us for at_us, _ in events)
    bench = PayersBench(book(version)).take(*(e for _, e in events), recorded_at_us=latest_us + 50 * DAY)
    return bench.take(close(latest_us + 60 * DAY), recorded_at_us=latest_us + 100 * DAY)


def _event(event_id: str, at_us: int, use: Use, scale: int) -> bytes:
    unscaled = use.quantity * 10**scale
    if unscaled > UNSCALED_MAX:
        raise NotExpressible("a single use of more than 10^15 of the meter's least units")
    return event(
        event_id,
        at_us,
        payer=use.payer,
        meter="b" if use.back else "m",
        quantity=int(unscaled),
        scale=scale,
        session=None if use.seconds is None else f"session of {use.payer}",
        duration_us=None if use.seconds is None else int(use.seconds * 10**6),
        attributes={} if use.chooses is None else {"tier_quantity": decimal(use.chooses)},
    )
