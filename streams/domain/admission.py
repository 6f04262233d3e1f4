"""Which records of a run of uses are taken, repeated or refused entry, and how far the watermark gets with each.

Whether a use is too old or a repeat depends on the watermark before it, and the watermark on what was taken before.
Uses whose id occurs once are decided as columns; the few whose id is known or occurs again are walked through in
order. That a use which is too old can never raise the watermark keeps the two apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanotally.streams.domain import validation
from nanotally.streams.domain.dedup import SeenIds
from nanotally.streams.domain.keys import group
from nanotally.streams.domain.matching import REJECT_REASONS
from nanotally.streams.domain.records import LONG_AGO, BoolArray, Int64Array
from nanotally.streams.domain.redriven import STILL_UNPRICED
from nanotally.streams.domain.tariff import Settings
from nanotally.streams.domain.uses import Uses

TAKEN, DUPLICATE = 0, 1
# Codes from REJECTED on are rejects; REASONS[code - REJECTED] is the reason.
REJECTED = 2
REASONS = (*validation.REASONS, "too_old", "conflict", *REJECT_REASONS.values(), "bad_price", STILL_UNPRICED)
CODE = {reason: REJECTED + i for i, reason in enumerate(REASONS)}


@dataclass
class Admitted:
    """verdict: int64[n] TAKEN, DUPLICATE or a reject; watermark_us: int64[n] after each use."""

    verdict: Int64Array
    watermark_us: Int64Array


def admit(
    uses: Uses,
    rule: Int64Array,
    bad_price: Int64Array,
    right_partition: BoolArray,
    seen: SeenIds,
    watermark_us: int,
    forgotten_us: int,
    settings: Settings,
) -> Admitted:
    """Decides n uses in order. rule: int64[n] from matching; bad_price: rows whose max_price is none;
    forgotten_us: ids of uses before it were forgotten already, under whatever horizon."""
    static = validation.check(uses, right_partition, settings.skew_us)
    usable = static == 0
    later = later_rejects(rule, bad_price)
    occurred_at = uses.occurred_at_us
    hard = _hard_rows(uses, usable, seen)
    easy = usable.copy()
    easy[hard] = False

    # What each easy use would raise the watermark to; rejects raise nothing.
    raise_to = np.where(easy & (later == 0), occurred_at - settings.lateness_us, LONG_AGO)
    verdict = np.where(usable, later, static + REJECTED)
    if len(hard):
        before = _before(raise_to, watermark_us)
        _walk(uses, hard, before, later, seen, forgotten_us, settings, verdict, raise_to)
    before = _before(raise_to, watermark_us)
    oldest = np.maximum(before, LONG_AGO + settings.horizon_us) - settings.horizon_us
    oldest = np.maximum(oldest, forgotten_us)
    verdict[easy & (occurred_at < oldest)] = CODE["too_old"]
    return Admitted(verdict, np.maximum(before, raise_to))


def later_rejects(rule: Int64Array, bad_price: Int64Array) -> Int64Array:
    """Rejects that come after the search for repeats: 0 where there is none."""
    later = np.zeros(len(rule), dtype=np.int64)
    for code, reason in REJECT_REASONS.items():
        later[rule == code] = CODE[reason]
    if len(bad_price):
        mine = bad_price[(later[bad_price] == 0) & (rule[bad_price] >= 0)]
        later[mine] = CODE["bad_price"]
    return later


def _before(raise_to: Int64Array, watermark_us: int) -> Int64Array:
    """Watermark before each use."""
    if not len(raise_to):
        return raise_to
    running = np.maximum.accumulate(np.concatenate(([watermark_us], raise_to)))
    before: Int64Array = running[:-1]
    return before


def _hard_rows(uses: Uses, usable: BoolArray, seen: SeenIds) -> Int64Array:
    """Usable rows whose id is known or occurs more than once here."""
    high, low = uses.id_hash
    hard = np.zeros(len(uses), dtype=bool)
    groups = group(high, low)
    if len(groups) < len(uses):
        often = np.bincount(groups.codes) > 1
        hard |= often[groups.codes]
    if len(seen):
        hard |= seen.find((high, low)).known
    return np.flatnonzero(hard & usable)


def _walk(
    uses: Uses,
    hard: Int64Array,
    before: Int64Array,
    later: Int64Array,
    seen: SeenIds,
    forgotten_us: int,
    settings: Settings,
    verdict: Int64Array,
    raise_to: Int64Array,
) -> None:
    """Decides the hard rows one by one; sets their verdict and what they raise the watermark to."""
    high, low = uses.id_hash[0][hard], uses.id_hash[1][hard]
    found = seen.find((high, low))
    keys = list(zip(high.tolist(), low.tolist(), strict=True))
    used: dict[tuple[int, int], tuple[int, int]] = {
        key: (content, at)
        for key, known, content, at in zip(
            keys, found.known.tolist(), found.content.tolist(), found.occurred_at_us.tolist(), strict=True
        )
        if known
    }
    reached = LONG_AGO
    occurred_at, contents = uses.occurred_at_us[hard].tolist(), uses.content_hash[hard].tolist()
    for row, key, at, content, easy_before in zip(
        hard.tolist(), keys, occurred_at, contents, before[hard].tolist(), strict=True
    ):
        oldest = max(max(easy_before, reached) - settings.horizon_us, forgotten_us)
        known_as = used.get(key)
        if at < oldest:
            verdict[row] = CODE["too_old"]
        elif known_as is not None and known_as[1] >= oldest:
            verdict[row] = DUPLICATE if known_as[0] == content else CODE["conflict"]
        elif later[row]:
            verdict[row] = later[row]
        else:
            verdict[row] = TAKEN
            used[key] = (content, at)
            raise_to[row] = at - settings.lateness_us
            reached = max(reached, int(raise_to[row]))
