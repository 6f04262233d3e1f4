"""Combinations that have no meaning: each is refused with the reason, rather than rated by somebody's guess."""

from __future__ import annotations

from nanotally.streams.domain.tariff import Rule
from nanotally.streams.tariffs import figures
from nanotally.streams.tariffs.body import Body
from nanotally.streams.tariffs.totals import fall


def check_sense(body: Body, function: str, rule: Rule, at_most: int | None) -> None:
    """Notes what does not fit together in one variant. `function` is the name of its price function, `at_most` the
    unscaled quantity beyond which nothing is charged."""
    _limits(body, rule)
    _allowance(body, function, rule, at_most)
    if rule.carry:
        _steps(body, rule)
    _fees(body, rule)
    _volume(body, function, rule)
    _tier_by(body, function, rule, at_most)
    if rule.rounding is not None and rule.rounding.step == 1:
        unit = figures.quantity(1, body.context.meter)
        body.warning("round", f"rounding to {unit} changes nothing: the meter counts no finer", "take it out")
    if rule.cut and rule.each is not None:
        body.error(
            "each",
            "a use that is cut where a band or a version ends is several uses to 'each'",
            "write crossing: start, so that a use is rated by its start",
        )


def _limits(body: Body, rule: Rule) -> None:
    life = rule.scope == "life"
    if rule.cap_nanos == 0:
        body.error("cap", "a cap of nothing", "write price: free instead")
    elif rule.cap_nanos is not None and life:
        body.warning(
            "cap",
            "the cap is for life: once it is reached, nothing is charged ever again",
            "say over which time with count: {per: [payer], over: day}",
        )
    if rule.minimum_nanos and life:
        name = "minimum" if body.has("minimum") else "commitment"
        body.error(
            name,
            "what is counted for life has no end, so nothing would ever fall due",
            "say over which time with count: {per: [payer], over: month}",
        )
    if rule.cap_nanos is not None and rule.minimum_nanos > rule.cap_nanos > 0:
        body.error("cap", "the cap is less than what is due in any case", "make the cap the greater one")
    if rule.cap_nanos and rule.overage is not None and rule.overage.above >= rule.cap_nanos:
        body.error("cap", "the cap is reached before the overage begins", "raise the cap, or take the overage out")


def _allowance(body: Body, function: str, rule: Rule, at_most: int | None) -> None:
    free = rule.free
    if free is None:
        return
    scope_rounding = rule.rounding is not None and not rule.rounding.event
    if free.after_rounding and rule.rounding is None:
        body.error("free", "after: rounding, and nothing is rounded", "say round: up to 1 second, or take it out")
    if free.reached and rule.each is None:
        body.error("free", "fee: when reached, and no use has a fee", "add each: {fee: 0.30}, or take it out")
    if free.events is not None and rule.scope == "event":
        body.error(
            "free",
            "each use is the first of its scope, so all of them would be free",
            "say over which time with count: {per: [payer], over: month}",
        )
    by_use = "an allowance of uses" if free.events is not None else "an allowance beside 'each'"
    if free.events is None and rule.each is None:
        return
    plain = len(rule.tiers) <= 1 and not any(t.fee or t.step for t in rule.tiers)
    if at_most is not None:
        body.error("free", f"{by_use}, and at_most", "keep one of them: both limit what is charged")
    elif function != "price" or not plain:
        body.error(
            "free",
            f"{by_use} needs one price per unit: what a use costs is told for each use by itself, and tiers, flat "
            "fees and steps are of the scope",
            "write price: with a price per unit, and put the fee into each: {fee: ...}",
        )
    if scope_rounding:
        body.error(
            "round",
            f"{by_use} needs the uses rounded one by one",
            "add 'per event', as in round: up to 1 second per event",
        )


def _steps(body: Body, rule: Rule) -> None:
    if rule.scope not in ("session", "event"):
        body.error(
            "steps",
            f"steps go by the time elapsed in one session, and this counts over {rule.scope}",
            "write count: {per: [payer, session], over: session, ends_after: 30m idle}, or use graduated",
        )
    if any(t.fee for t in rule.tiers):
        body.error("steps", "a flat fee within steps", "write it as connect: 0.40")
    for name, given, instead in (
        ("free", rule.free is not None, "make the first step free, as in {to 60 seconds: free, above: ...}"),
        ("round", rule.rounding is not None and not rule.rounding.event, "give each step its own, as in by 60 seconds"),
        ("each", rule.each is not None, "write connect for a fee, cap and minimum for bounds"),
    ):
        if given:
            body.error(name, f"{name!r} beside steps", instead)


def _fees(body: Body, rule: Rule) -> None:
    if rule.zero_fee and not (rule.tiers and rule.tiers[0].fee):
        body.error(
            "zero_usage", "the first tier has no flat fee to be due", "write one, as in price: 5 flat + 0.02 per page"
        )
    if rule.each is not None and rule.falling:
        body.error("each", "'each' beside reprice: down", "a use has no price of its own where totals fall: keep one")


def _volume(body: Body, function: str, rule: Rule) -> None:
    if body.has("reprice") and not rule.volume:
        body.error("reprice", f"a total of {function} never falls", "take it out, or use volume")
    falls = fall(rule) if rule.volume and rule.tier_by is None else None
    if falls is None or body.has("reprice"):
        return
    border, at, beyond = falls
    meter, currency = body.context.meter, body.context.currency
    words = (
        f"the total falls: {figures.quantity(border, meter)} cost {figures.amount(at / 10**9, currency)}, "
        f"one more {figures.amount(beyond / 10**9, currency)}"
    )
    if rule.scope == "event":
        body.warning("volume", words, "take it as it is with reprice: never, or use graduated")
    else:
        body.error(
            "volume",
            words,
            "say reprice: never (what was charged stays, and nothing more until the total is reached again), "
            "reprice: down (the difference is paid back, from the creators' shares too), or use graduated",
        )


def _tier_by(body: Body, function: str, rule: Rule, at_most: int | None) -> None:
    if rule.tier_by is None:
        return
    if not rule.volume:
        body.error("tier_by", f"only a volume tier can be chosen by an attribute, not {function}", "use volume")
    elif rule.scope != "event":
        body.error(
            "tier_by",
            f"the attribute is of a single use, and this counts over {rule.scope}",
            "write count: {over: event}",
        )
    elif at_most is not None or rule.limit is not None:
        body.error("tier_by", "a limit of the quantity beside tiers chosen by an attribute", "take one of them out")
