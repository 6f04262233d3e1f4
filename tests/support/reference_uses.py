"""One use through the tariff: cut in pieces, each piece through its rule, what is covered through its pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from nanotally.streams.domain.tariff import Pass, Rule, RuleBook, TariffVersion
from tests.support.reference_price import Use
from tests.support.reference_pricing import (
    Known,
    enriched,
    field_of,
    first_rule,
    max_price_nanos,
    next_cut,
    plain_decimal,
    version_at,
)
from tests.support.reference_scopes import Place, Priced, Scopes, key_of, pass_of
from tests.support.reference_splits import resolve_split
from tests.support.reference_values import TOO_MUCH, Event

UNIT_PLACES = 12  # of a price that comes with the use


@dataclass(frozen=True)
class Found:
    """What the tariff says about a use, or about the piece of it that begins at `start_us`."""

    version: TariffVersion
    rule: Rule
    known: Known
    start_us: int
    max_price: Fraction | None = None


@dataclass(frozen=True)
class Piece:
    found: Found
    quantity: int


def look_up(book: RuleBook | None, event: Event) -> tuple[str, str, Found | None]:
    """The rule for the use, or the outcome and reason why there is none."""
    if book is None:
        return "unpriced", "no_tariff", None
    known = enriched(book, event)
    outcome, reason, found = look_up_at(book, known, event["occurred_at"])
    if found is None:
        return outcome, reason, None
    if "max_price" in event["attributes"]:
        limit = max_price_nanos(event["attributes"]["max_price"])
        if limit is None:
            return "rejected", "bad_price", None
        found = replace(found, max_price=limit)
    return outcome, reason, found


def look_up_at(book: RuleBook, known: Known, at_us: int) -> tuple[str, str, Found | None]:
    """As if the use began at the instant."""
    event = {**known.event, "occurred_at": at_us}
    tariff = book.tariff_of(event["product"])
    version = version_at(book, tariff, at_us) if tariff else None
    if version is None:
        return "unpriced", "no_tariff", None
    meter = next((m for m in version.meters if m.name == event["meter"]), None)
    if meter is None:
        return "unpriced", "unknown_meter", None
    if event["scale"] != meter.scale:
        return "rejected", "wrong_scale", None
    if "session" in meter.needs and event["session"] is None:
        return "rejected", "no_session", None
    rule = first_rule(version, event)
    if rule is None:
        return "unpriced", "no_rule", None
    return "charged", "", Found(version, rule, known, at_us)


def pieces_of(book: RuleBook, event: Event, found: Found) -> list[Piece] | tuple[str, str]:
    """The use, cut where its rules say so; or the outcome and reason of the first piece that has no rule."""
    duration, quantity = event["duration_us"], event["quantity"]
    pieces, last = list[Piece](), found
    if not duration or duration < 0:
        return [Piece(found, quantity)]
    begin, end = event["occurred_at"], event["occurred_at"] + duration
    while True:
        cut = next_cut(book, last.version, last.rule, last.start_us, end) if last.rule.cut else None
        before, after = last.start_us - begin, (cut or end) - begin
        pieces.append(Piece(last, quantity * after // duration - quantity * before // duration))
        if cut is None:
            return pieces
        outcome, reason, following = look_up_at(book, found.known, cut)
        if following is None:
            return outcome, reason
        last = following


def unit_price(rule: Rule, known: Known) -> Fraction | str | None:
    """Exact nanos per unscaled unit where the price comes with the use, None where the rule's own counts; or why it is
    refused."""
    source = rule.price_from
    if source is None:
        return None
    text = field_of(known.event, source.name) if source.source == "event" else known.price
    if text is None:
        return None
    number = plain_decimal(text, UNIT_PLACES)
    price = None if number is None else number * source.unit
    return price if price is not None and source.at_least <= price <= source.at_most else "price"


def tier_quantity(rule: Rule, known: Known) -> Fraction | None:
    number = plain_decimal(field_of(known.event, rule.tier_by)) if rule.tier_by else None
    return None if number is None else number * 10 ** known.event["scale"]


def rate_piece(scopes: Scopes, piece: Piece, at_us: int, own: int, seen: set[Place]) -> Priced | str:
    found = piece.found
    rule, known, version = found.rule, found.known, found.version
    price = unit_price(rule, known)
    if isinstance(price, str):
        # A limit would be told first.
        price, rule = None, replace(rule, tiers=(), price_from=None)
    use = Use(piece.quantity, tier_quantity=tier_quantity(rule, known), unit_price=price)
    key = key_of("rule", version, rule, known.event["payer"], known.event, own)
    rated = scopes.rate("rule", version, rule, key, at_us, use, seen)
    if isinstance(rated, str):
        return rated
    split = next(s for s in version.splits if s.name == rule.split)
    covering = pass_of(version, rule.name)
    line = replace(
        rated.line,
        split=split.name,
        pass_name=covering.name if covering else None,
        paid_nanos=0 if covering else rated.line.amount_nanos,
        catalog=known.catalog,
    )
    parts = resolve_split(split, known)
    return replace(rated, line=line, parts=parts, covering=covering, start_us=found.start_us)


def rate_pass(
    scopes: Scopes,
    version: TariffVersion,
    covering: Pass,
    payer: str,
    event: Event | None,
    at: int,
    own: int,
    nanos: int,
    seen: set[Place],
) -> Priced | str:
    """What the payer pays by a pass for a list price."""
    key = key_of("pass", version, covering.price, payer, event, own)
    rated = scopes.rate("pass", version, covering.price, key, at, Use(nanos), seen)
    if isinstance(rated, str):
        return rated
    line = replace(rated.line, rule=covering.name, paid_nanos=rated.line.amount_nanos)
    return replace(rated, line=line, covering=covering)


def rate_use(
    scopes: Scopes, book: RuleBook, event: Event, found: Found, watermark: int, own: int
) -> list[Priced] | tuple[str, str]:
    """All lines of a use, through a trial of the scopes; or the outcome and reason where it is not charged."""
    pieces = pieces_of(book, event, found)
    if isinstance(pieces, tuple):
        return pieces
    priced, seen = list[Priced](), set[Place]()
    for piece in pieces:
        one = rate_piece(scopes, piece, max(piece.found.start_us, watermark), own, seen)
        if isinstance(one, str):
            return "refused", one
        priced.append(one)
    if abs(sum(p.line.amount_nanos for p in priced)) >= TOO_MUCH:
        return "refused", "out_of_range"
    passes = list[Priced]()
    asked = sum((p.asked for p in priced if p.covering is None), Fraction(0))
    covered: dict[tuple[int, str], list[Priced]] = {}
    for p in priced:
        if p.covering is not None:
            covered.setdefault((p.line.version, p.covering.name), []).append(p)
    for lines in covered.values():
        covering, version = lines[0].covering, lines[0].version
        assert covering is not None
        nanos = sum(p.line.amount_nanos for p in lines)
        booked_at = max(event["occurred_at"], watermark)
        settled = rate_pass(scopes, version, covering, event["payer"], event, booked_at, own, nanos, seen)
        if isinstance(settled, str):
            return "refused", settled
        passes.append(settled)
        asked += min(settled.asked, sum((p.asked for p in lines), Fraction(0)))
    if found.max_price is not None and asked > found.max_price:
        return "refused", "max_price"
    if abs(sum(p.line.paid_nanos for p in priced + passes)) >= TOO_MUCH:
        return "refused", "out_of_range"
    return priced + passes
