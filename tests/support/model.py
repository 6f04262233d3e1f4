"""nanotally's semantics as an executable model: slow, obvious, exact; standard library only. Times are whole seconds,
money is nanos.

An oracle of its own beside `reference.py`: it was written first, from words alone, knows sessions, anchored scopes,
minimums, passes and the accounts' stage, and takes one tariff at a time where the product has rule books. Where words
were not enough the chosen rule is marked D1, D2 ... with its reason.
"""
# ruff: noqa: E501, E741
# mypy: disable-error-code="type-arg,arg-type,index,union-attr,operator,var-annotated,assignment"

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import floor
from typing import Any

LONG_AGO = -(10**12)
SIZES = {"minute": 60, "hour": 3600, "day": 86400}
NO_LIMIT = 10**30


# ---- records and tariffs ----
@dataclass(frozen=True)
class UsageEvent:
    event_id: str
    occurred_at: int
    product: str
    payer: str
    creator: str | None
    item: str
    meter: str
    quantity: int
    scale: int  # D1: the unscaled long is meaningless without its scale, so the event carries it
    session: str | None = None
    label: str | None = None
    segment: str = ""
    max_price: int | None = None


@dataclass(frozen=True)
class Meter:
    scale: int
    needs_session: bool = False


@dataclass(frozen=True)
class Scope:
    kind: str
    length: int = 0  # event hour day month session(idle gap) anchored(length)


@dataclass(frozen=True)
class Rule:
    name: str
    meter: str
    when: tuple[tuple[str, str], ...]
    tiers: tuple[tuple[Fraction | None, Fraction], ...]  # (up to, nanos per unit)
    per: tuple[str, ...]
    over: Scope
    split: str
    cap: int | None = None
    minimum: int = 0


@dataclass(frozen=True)
class Pass:
    name: str
    covers: tuple[str, ...]
    over: Scope
    cap: int


@dataclass(frozen=True)
class Tariff:
    name: str
    version: int
    effective_from: int
    currency: str
    meters: tuple[tuple[str, Meter], ...]
    splits: tuple[tuple[str, tuple[tuple[str, Fraction | None], ...]], ...]
    rules: tuple[Rule, ...]
    passes: tuple[Pass, ...] = ()


@dataclass(frozen=True)
class Activate:
    tariff: Tariff


@dataclass(frozen=True)
class Tick:
    pass


@dataclass(frozen=True)
class Close:
    at: int


@dataclass(frozen=True)
class Record:
    offset: int
    recorded_at: int
    value: Any  # UsageEvent, a control, or bytes that cannot be read


@dataclass(frozen=True)
class Settings:  # D2: each of these changes results, so in the product each must enter through `usage` (here: constant for a run)
    lateness: int = 600
    skew: int = 120
    horizon: int = 86400
    threshold: int = 0
    partitions: int = 3
    remainder: str = "keep"  # "keep" (exact over versions), or "drop" to see the loss
    split_key: str = "resolved"  # "resolved" (D3) or "design": (split, creator)
    dedup: str = "watermark"  # "watermark" (D4) or "broker": by the time of the record


# ---- price, split, scope ----


def exact_price(tiers: tuple[tuple[Fraction | None, Fraction], ...], quantity: Fraction) -> Fraction:
    """F: the exact price in nanos of a cumulated quantity, tier by tier."""
    total, low = Fraction(0), Fraction(0)
    for upto, price in tiers:
        high = quantity if upto is None else min(quantity, upto)
        total, low = total + max(Fraction(0), high - low) * price, max(low, high)
    return total


def resolve_split(tariff: Tariff, name: str, event: UsageEvent) -> tuple[tuple[str, Fraction], ...]:
    """Names become accounts; whoever is absent leaves the share to the platform (D5); equal accounts merge; the rest comes last."""
    parties = dict(tariff.splits)[name]
    rest_fraction = 1 - sum(f for _, f in parties if f is not None)
    account = {
        "platform": "platform",
        "creator": f"creator:{event.creator}" if event.creator else "platform",
        "label": f"party:{event.label}" if event.label else "platform",
    }
    shares: dict[str, Fraction] = {}
    for party, fraction in parties:
        shares[account[party]] = shares.get(account[party], Fraction(0)) + (
            rest_fraction if fraction is None else fraction
        )
    rest = next(account[p] for p, f in parties if f is None)
    return tuple(sorted((a, f) for a, f in shares.items() if a != rest)) + ((rest, shares[rest]),)


def share(split: tuple[tuple[str, Fraction], ...], base: int, amount: int) -> tuple[tuple[str, int], ...]:
    """Differences of floors of the cumulated fraction; the last takes the rest."""
    shares = [(a, floor((base + amount) * f) - floor(base * f)) for a, f in split[:-1]]
    return tuple(shares) + ((split[-1][0], amount - sum(s for _, s in shares)),)


def share_out(total: int, weights: dict[Any, int]) -> list[tuple[Any, int]]:
    """Whole nanos in proportion to weights: cumulated floors in key order, so the parts sum to the total (D6)."""
    parts, seen, all_of_it = [], 0, sum(weights.values())
    for key in sorted(weights):
        parts.append((key, total * (seen + weights[key]) // all_of_it - total * seen // all_of_it))
        seen += weights[key]
    return [(k, p) for k, p in parts if p]


def window(kind: str, at: int) -> tuple[int, int]:
    """Half-open [start, end) in UTC."""
    if kind != "month":
        return at // SIZES[kind] * SIZES[kind], (at // SIZES[kind] + 1) * SIZES[kind]
    day = dt.datetime.fromtimestamp(at, dt.UTC).replace(day=1, hour=0, minute=0, second=0)
    after = (day + dt.timedelta(days=32)).replace(day=1)
    return int(day.timestamp()), int(after.timestamp())


def partition_of(payer: str, partitions: int) -> int:
    return sum(payer.encode()) % partitions


# ---- payers' stage: outputs and state ----
@dataclass(frozen=True)
class Line:
    link: str  # rule, minimum, pass (the sharing-out)
    tariff: str
    version: int
    rule: str
    scope: tuple | None
    scope_end: int
    quantity_before: Fraction
    quantity: Fraction
    amount_before: int
    amount: int  # amount: what this link asks (list price)
    remainder_before: Fraction
    remainder: Fraction
    step: Fraction
    paid: int  # what the payer owes by this line: amount, or less under a pass
    pass_scope: tuple | None
    pass_end: int
    split: tuple
    split_key: tuple
    base_before: int
    base: int
    shares: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Charge:  # in the ledger: charged, refused, unpriced, and `due` (no usage record of its own)
    partition: int
    offset: int
    n: int
    outcome: str
    reason: str
    payer: str
    product: str
    meter: str
    event: UsageEvent | None
    recorded_at: int
    booked_at: int
    late: bool
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Reject:
    offset: int
    reason: str
    value: Any


@dataclass(frozen=True)
class Tally:
    size: str
    end: int
    account: str
    product: str
    meter: str
    count: int
    quantity: Fraction
    amount: int


@dataclass(frozen=True)
class Statement:
    end: int
    payer: str
    amount: int


@dataclass(frozen=True)
class Earning:
    source: int
    account: str
    minute: int
    product: str
    meter: str
    count: int
    quantity: Fraction
    amount: int


@dataclass(frozen=True)
class SourceWatermark:
    source: int
    watermark: int


@dataclass(frozen=True)
class Chunk:
    next_offset: int
    n: int
    watermark: int
    closed_to: int
    cursor: tuple | None
    active: tuple[Tariff, ...]
    counts: tuple[tuple[str, int], ...]
    duplicates: tuple[int, ...]
    debits: int
    credits: int


@dataclass(frozen=True)
class Mark:
    what: str
    value: Any  # inside decide only: what the chunk record will say of the whole chunk


@dataclass
class ScopeState:
    end: int
    version: int
    quantity: Fraction
    amount: int
    remainder: Fraction
    weights: dict[tuple, int] = field(default_factory=dict)


@dataclass
class PassState:
    end: int
    version: int
    paid: int = 0
    weights: dict[tuple, int] = field(default_factory=dict)


@dataclass
class PayersState:
    partition: int
    next_offset: int = 0
    n: int = 0
    watermark: int = LONG_AGO
    closed_to: int = LONG_AGO
    cursor: tuple | None = None
    active: tuple[Tariff, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    debits: int = 0
    credits: int = 0
    seen: dict[tuple[str, str, str], tuple[UsageEvent, int]] = field(default_factory=dict)
    scopes: dict[tuple, ScopeState] = field(default_factory=dict)
    newest: dict[tuple, tuple] = field(default_factory=dict)
    passes: dict[tuple, PassState] = field(default_factory=dict)
    bases: dict[tuple, int] = field(default_factory=dict)
    tallies: dict[tuple, list] = field(
        default_factory=dict
    )  # (end, size, payer, product, meter) -> [count, quantity, amount]


def fold(state: PayersState, out: Any) -> None:
    """One output into the state. What the ledger holds (Charge, Chunk) suffices; Marks and Tallies only hurry what the Chunk repeats."""
    if isinstance(out, Charge):
        state.n = out.n + 1
        if out.event:
            state.seen[out.payer, out.product, out.event.event_id] = (out.event, out.recorded_at)
        for line in out.lines:
            fold_line(state, out, line)
        if out.outcome in ("charged", "due"):
            one, quantity = (1, out.lines[0].quantity) if out.event else (0, Fraction(0))
            keys = [(window(s, out.booked_at)[1], s, out.payer, out.product, out.meter) for s in SIZES]
            keys.append((window("day", out.booked_at)[1], "statement", out.payer, "", ""))
            for key in keys:
                t = state.tallies.setdefault(key, [0, Fraction(0), 0])
                t[:] = [t[0] + one, t[1] + quantity, t[2] + sum(l.paid for l in out.lines)]
    elif isinstance(out, Tally):
        state.tallies.pop((out.end, out.size, out.account, out.product, out.meter))
        state.cursor = tally_key(out)
    elif isinstance(out, Statement):
        state.tallies.pop((out.end, "statement", out.payer, "", ""))
        state.cursor = tally_key(out)
    elif isinstance(out, Mark):
        if out.what == "outcome":
            state.counts[out.value] = state.counts.get(out.value, 0) + 1
            state.n = 0
        elif out.what == "closed":
            state.closed_to, state.cursor = state.watermark, None
            forget(state)
        elif out.what in ("watermark", "active"):
            setattr(state, out.what, out.value)
    elif isinstance(out, Chunk):
        for name in ("next_offset", "n", "watermark", "closed_to", "cursor", "active", "debits", "credits"):
            setattr(state, name, getattr(out, name))
        state.counts = dict(out.counts)
        if out.cursor is not None:
            state.tallies = {k: v for k, v in state.tallies.items() if k > out.cursor}
        forget(state)


def fold_line(state: PayersState, charge: Charge, line: Line) -> None:
    if line.link == "rule" and line.scope and line.scope[-2] != "event":
        s = state.scopes.setdefault(line.scope, ScopeState(line.scope_end, line.version, Fraction(0), 0, Fraction(0)))
        s.end, s.version, s.quantity = line.scope_end, line.version, line.quantity_before + line.quantity
        s.amount, s.remainder = line.amount_before + line.amount, line.remainder
        s.weights[line.split] = s.weights.get(line.split, 0) + line.amount
        state.newest[line.scope[:-1]] = line.scope
    elif line.link == "minimum" and line.scope in state.scopes:
        drop_scope(state, line.scope)  # several splits, several lines
    elif line.link == "pass":
        state.passes.pop(line.pass_scope, None)
    if line.link != "pass" and line.pass_scope:
        p = state.passes.setdefault(line.pass_scope, PassState(line.pass_end, line.version))
        p.version, p.paid = line.version, p.paid + line.paid
        p.weights[line.split] = p.weights.get(line.split, 0) + line.amount
    if line.base:
        state.bases[line.split_key] = line.base_before + line.base
    state.debits, state.credits = state.debits + line.paid, state.credits + sum(s for _, s in line.shares)


def drop_scope(state: PayersState, key: tuple) -> None:
    state.scopes.pop(key)
    if state.newest.get(key[:-1]) == key:
        del state.newest[key[:-1]]


def forget(state: PayersState) -> None:
    """Garbage collection; never changes a result, since booked_at >= watermark keeps every later event out of what has ended."""
    for key in [k for k, s in state.scopes.items() if s.end <= state.closed_to]:
        drop_scope(state, key)
    state.passes = {k: p for k, p in state.passes.items() if p.end > state.closed_to}
    state.tallies = {k: v for k, v in state.tallies.items() if k[0] > state.closed_to}


def tally_key(out: Tally | Statement) -> tuple:
    return (
        (out.end, out.size, out.account, out.product, out.meter)
        if isinstance(out, Tally)
        else (out.end, "statement", out.payer, "", "")
    )


# ---- payers' stage: decide and evolve ----


def decide(
    records: list[Record], state: PayersState, settings: Settings, slice_size: int = 10**9
) -> tuple[list[Any], int]:
    """The outputs of one chunk, and how many records it took whole; a long close ends the chunk early (a slice)."""
    now, out, duplicates, taken = copy.deepcopy(state), [], [], 0
    closing = 0
    for record in records:
        for o in decide_record(record, now, settings):
            fold(now, o)
            if isinstance(o, Mark):
                duplicates += [record.offset] if o == Mark("outcome", "duplicate") else []
            else:
                out.append(o)
            closing += isinstance(o, (Tally, Statement)) or (isinstance(o, Charge) and o.outcome == "due")
            if closing >= slice_size and now.closed_to < now.watermark:
                break
        else:
            taken, now.next_offset, now.n = taken + 1, record.offset + 1, 0
            continue
        break
    out += earnings(out, state.partition)
    if window("minute", now.closed_to)[0] > window("minute", state.closed_to)[0]:
        out.append(
            SourceWatermark(state.partition, now.closed_to)
        )  # after the deltas it covers, and only of a finished close
    return out + [
        Chunk(
            now.next_offset,
            now.n,
            now.watermark,
            now.closed_to,
            now.cursor,
            now.active,
            tuple(sorted(now.counts.items())),
            tuple(duplicates),
            now.debits,
            now.credits,
        )
    ], taken


def evolve(state: PayersState, outputs: list[Any]) -> PayersState:
    """From the ledger alone."""
    state = copy.deepcopy(state)
    for o in outputs:
        if isinstance(o, (Charge, Chunk)):
            fold(state, o)
    return state


def decide_record(record: Record, state: PayersState, settings: Settings) -> Iterator[Any]:
    """What one record becomes. The caller folds each output before it asks for the next."""
    value, wm = record.value, state.watermark
    if isinstance(
        value, (Tick, Close)
    ):  # D7: a tick is a use without use (less lateness); a close sets the watermark itself
        yield from advance(
            record, state, value.at if isinstance(value, Close) else record.recorded_at - settings.lateness
        )
        yield Mark("outcome", "control")
        return
    if isinstance(value, Activate):  # naturally idempotent, no control ids needed (D8)
        t = value.tariff
        clash = any(
            a.name == t.name and (a.currency != t.currency or (a.version == t.version and a != t)) for a in state.active
        )
        if not clash and t not in state.active:
            yield Mark("active", state.active + (t,))
        if clash:
            yield Reject(record.offset, "tariff_clash", value)
        yield Mark("outcome", "rejected" if clash else "control")
        return
    reason, found = invalid(record, state, settings), None
    if reason is None:
        known = state.seen.get((value.payer, value.product, value.event_id))
        if known and settings.dedup == "broker" and record.recorded_at - known[1] > settings.horizon:
            known = None
        if known and settings.dedup == "watermark" and known[0].occurred_at < wm - settings.horizon:
            known = None
        if known and known[0] == value:
            yield Mark("outcome", "duplicate")
            return
        if known:
            reason = "conflict"
    if reason is None:
        found = find_rule(value, state)
        if found[0] == "rejected":
            reason = found[1]
    if reason is not None:  # D9: a reject moves no watermark
        yield Reject(record.offset, reason, value)
        yield Mark("outcome", "rejected")
        return
    yield from advance(
        record, state, value.occurred_at - settings.lateness
    )  # D10: close what has ended before pricing the use
    booked_at = max(value.occurred_at, state.watermark)
    head = Charge(
        state.partition,
        record.offset,
        state.n,
        "unpriced",
        found[1],
        value.payer,
        value.product,
        value.meter,
        value,
        record.recorded_at,
        booked_at,
        booked_at > value.occurred_at,
    )
    if found[0] == "rule":
        line = rate(value, head, found[2], found[3], state, settings)
        head = (
            replace(head, outcome="refused", reason="max_price")
            if line is None
            else replace(head, outcome="charged", reason="", lines=(line,))
        )
    yield head
    yield Mark("outcome", head.outcome)


def invalid(record: Record, state: PayersState, settings: Settings) -> str | None:
    """Reasons that need no tariff, in this order (D11)."""
    e = record.value
    if not isinstance(e, UsageEvent):
        return "malformed"
    if e.quantity < 0:
        return "negative"
    if partition_of(e.payer, settings.partitions) != state.partition:
        return "wrong_partition"
    if e.occurred_at > record.recorded_at + settings.skew:
        return "future"
    if e.occurred_at < state.watermark - settings.horizon:
        return "too_old"
    return None


def in_force(active: tuple[Tariff, ...], at: int) -> list[Tariff]:
    """Per tariff name the version with the greatest (effective_from, version) not after `at`; in order of names (D12)."""
    best: dict[str, Tariff] = {}
    for t in active:
        if t.effective_from <= at and (
            t.name not in best or (t.effective_from, t.version) > (best[t.name].effective_from, best[t.name].version)
        ):
            best[t.name] = t
    return [best[n] for n in sorted(best)]


def find_rule(e: UsageEvent, state: PayersState) -> tuple:
    reason = "no_tariff"
    for tariff in in_force(state.active, e.occurred_at):
        meter = dict(tariff.meters).get(e.meter)
        if meter is None:
            reason = "unknown_meter"
            continue
        if e.scale != meter.scale:
            return "rejected", "wrong_scale"
        if meter.needs_session and e.session is None:
            return "rejected", "no_session"
        for rule in tariff.rules:
            if rule.meter == e.meter and all(getattr(e, k) == v for k, v in rule.when):
                return "rule", "", tariff, rule
        reason = "no_rule"
    return "unpriced", reason


def scope_of(e: UsageEvent, head: Charge, tariff: Tariff, rule: Rule, state: PayersState) -> tuple[tuple, int]:
    """Key and end of the scope that this use counts in, by booked_at. The key names kind and length, so a changed scope restarts."""
    stem = (
        tariff.name,
        rule.name,
        e.payer,
        tuple(str(getattr(e, p)) for p in rule.per),
        rule.over.length,
        rule.over.kind,
    )
    if rule.over.kind == "event":
        return stem + (head.offset,), head.booked_at + 1
    if rule.over.kind in SIZES or rule.over.kind == "month":
        start, end = window(rule.over.kind, head.booked_at)
        return stem + (start,), end
    newest = state.newest.get(
        stem
    )  # session, anchored: joins the newest one not ended at booked_at, however early the use (D13)
    start, end = (
        (newest[-1], state.scopes[newest].end)
        if newest and head.booked_at < state.scopes[newest].end
        else (head.booked_at, head.booked_at + rule.over.length)
    )
    if rule.over.kind == "session":
        end = max(end, head.booked_at + rule.over.length)
    return stem + (start,), end


def through_pass(
    tariff: Tariff, rule: str, payer: str, booked_at: int, state: PayersState
) -> tuple[int, tuple | None, int]:
    """Second link: what a pass still lets be paid, its scope and end."""
    for p in tariff.passes:
        if rule in p.covers:
            start, end = window(p.over.kind, booked_at)
            key = (tariff.name, p.name, payer, p.over.kind, start)
            return max(0, p.cap - (state.passes[key].paid if key in state.passes else 0)), key, end
    return NO_LIMIT, None, 0


def rate(
    e: UsageEvent, head: Charge, tariff: Tariff, rule: Rule, state: PayersState, settings: Settings
) -> Line | None:
    """The line of one use, or None where its price is above the payer's max_price."""
    key, end = scope_of(e, head, tariff, rule, state)
    s = state.scopes.get(key) or ScopeState(end, tariff.version, Fraction(0), 0, Fraction(0))
    quantity = Fraction(e.quantity, 10**e.scale)
    step = exact_price(rule.tiers, s.quantity + quantity) - exact_price(rule.tiers, s.quantity)
    before = s.remainder if settings.remainder == "keep" or s.version == tariff.version else Fraction(0)
    if rule.over.kind == "event":
        step = max(step, Fraction(rule.minimum))  # an event's minimum is due at once
    cap_room = NO_LIMIT if rule.cap is None else max(0, rule.cap - s.amount)
    pass_room, pass_key, pass_end = through_pass(tariff, rule.name, e.payer, head.booked_at, state)
    if e.max_price is not None and min(step, cap_room, pass_room) > e.max_price:
        return None  # D15: the exact step is compared, not the charge
    amount = floor(before + step)
    remainder = before + step - amount
    if amount > cap_room:
        amount, remainder = cap_room, Fraction(0)  # D14
    return line(
        state,
        settings,
        "rule",
        tariff,
        rule.name,
        key,
        end,
        s,
        quantity,
        amount,
        before,
        remainder,
        step,
        min(amount, pass_room),
        pass_key,
        pass_end,
        resolve_split(tariff, rule.split, e),
        rule.split,
        e.creator,
    )


def line(
    state: PayersState,
    settings: Settings,
    link: str,
    tariff: Tariff,
    rule: str,
    key: tuple,
    end: int,
    s: ScopeState,
    quantity: Fraction,
    amount: int,
    before: Fraction,
    remainder: Fraction,
    step: Fraction,
    paid: int,
    pass_key: tuple | None,
    pass_end: int,
    split: tuple,
    name: str,
    creator: str | None,
) -> Line:
    split_key = (
        (tariff.currency, split)
        if settings.split_key == "resolved"
        else (tariff.currency, tariff.name, tariff.version, name, creator)
    )
    base = state.bases.get(split_key, 0)
    if pass_key:
        shares: tuple = (
            ((f"pool:{tariff.name}/{pass_key[1]}", paid),) if paid else ()
        )  # D16: held in a pool until the pass ends
    else:
        shares = share(split, base, paid)
    return Line(
        link,
        tariff.name,
        tariff.version,
        rule,
        key,
        end,
        s.quantity,
        quantity,
        s.amount,
        amount,
        before,
        remainder,
        step,
        paid,
        pass_key,
        pass_end,
        split,
        split_key,
        base,
        0 if pass_key else paid,
        shares,
    )


# ---- closing ----


def advance(record: Record, state: PayersState, to: int) -> Iterator[Any]:
    """The watermark is a running maximum; behind it what falls due, then closed windows, each in order of end, so slices change nothing."""
    if to > state.watermark:
        yield Mark("watermark", to)
    if state.closed_to >= state.watermark:
        return
    while (due := next_due(state)) is not None:
        yield due_charge(record, state, *due)
    for key in sorted(k for k in state.tallies if k[0] <= state.watermark):
        end, size, payer, product, meter = key
        count, quantity, amount = state.tallies[key]
        yield (
            Statement(end, payer, amount)
            if size == "statement"
            else Tally(size, end, payer, product, meter, count, quantity, amount)
        )
    yield Mark("closed", None)


def content(state: PayersState, name: str, version: int) -> Tariff:
    return next(t for t in state.active if (t.name, t.version) == (name, version))


def next_due(state: PayersState) -> tuple | None:
    """The earliest (end, link, key): minimums before passes of the same end, since a minimum may fall under a pass."""
    due: list[tuple] = [(p.end, 1, k) for k, p in state.passes.items() if p.end <= state.watermark and p.paid]
    for k, s in state.scopes.items():  # D17: minimum of the version that rated the scope's last use
        rule = next(r for r in content(state, k[0], s.version).rules if r.name == k[1])
        if s.end <= state.watermark and s.amount < rule.minimum:
            due.append((s.end, 0, k))
    return min(due) if due else None


def due_charge(record: Record, state: PayersState, end: int, link: int, key: tuple) -> Charge:
    """Booked at the scope's last instant (D18), divided by what the uses of each split had been charged (D6)."""
    s, nothing, lines, bases = state.scopes[key] if link == 0 else state.passes[key], Fraction(0), [], dict(state.bases)
    tariff, weights, pool = content(state, key[0], s.version), s.weights, f"pool:{key[0]}/{key[1]}"
    if link == 0:  # a minimum, perhaps under a pass
        rule = next(r for r in tariff.rules if r.name == key[1])
        total, meter = rule.minimum - s.amount, rule.meter
        left, pass_key, pass_end = through_pass(tariff, rule.name, key[2], end - 1, state)
        weights = weights if sum(weights.values()) else {(("platform", Fraction(1)),): 1}
    else:
        total, meter, left, pass_key, pass_end = s.paid, "", 0, key, end  # the payer paid already; the pool pays out
    for split, part in share_out(total, weights):
        base, paid = bases.get((tariff.currency, split), 0), min(left, part)
        if link:
            shares = share(split, base, part) + ((pool, -part),)
        elif pass_key:
            shares = ((f"pool:{tariff.name}/{pass_key[1]}", paid),)
        else:
            shares = share(split, base, part)
        moved = part if link or not pass_key else 0
        lines.append(
            Line(
                "pass" if link else "minimum",
                tariff.name,
                tariff.version,
                key[1],
                None if link else key,
                end,
                nothing,
                nothing,
                0,
                part,
                nothing,
                nothing,
                nothing,
                paid,
                pass_key,
                pass_end,
                split,
                (tariff.currency, split),
                base,
                moved,
                shares,
            )
        )
        bases[tariff.currency, split], left = base + moved, left - paid
    return Charge(
        state.partition,
        record.offset,
        state.n,
        "due",
        lines[0].link,
        key[2],
        "",
        meter,
        None,
        record.recorded_at,
        end - 1,
        False,
        tuple(lines),
    )


def earnings(out: list[Any], source: int) -> list[Earning]:
    """What the chunk adds per account and minute; depends on chunking, the sums do not."""
    sums: dict[tuple, list] = {}
    for c in [c for c in out if isinstance(c, Charge)]:
        for l in c.lines:
            for account, nanos in l.shares:
                t = sums.setdefault(
                    (account, window("minute", c.booked_at)[0], c.product, c.meter), [0, Fraction(0), 0]
                )
                t[:] = [t[0] + (c.event is not None), t[1] + l.quantity, t[2] + nanos]
    return [Earning(source, *k, *v) for k, v in sorted(sums.items())]


# ---- accounts' stage ----
@dataclass(frozen=True)
class Payout:
    end: int
    account: str
    earned: int
    brought: int
    paid: int
    carried: int


@dataclass
class AccountsState:
    watermarks: dict[int, int] = field(default_factory=dict)
    closed_to: int = LONG_AGO
    position: int = 0
    tallies: dict[tuple, list] = field(default_factory=dict)
    carried: dict[str, int] = field(default_factory=dict)


def decide_accounts(records: list[Any], state: AccountsState, settings: Settings) -> list[Any]:
    """Mutates its state: a fold over its INPUT (earnings). Closes by the least watermark over all sources, in order of end."""
    out: list[Any] = []
    for r in records:
        state.position += 1
        if isinstance(r, Earning):
            for size in SIZES:
                t = state.tallies.setdefault(
                    (window(size, r.minute)[1], size, r.account, r.product, r.meter), [0, Fraction(0), 0]
                )
                t[:] = [t[0] + r.count, t[1] + r.quantity, t[2] + r.amount]
            p = state.tallies.setdefault((window("day", r.minute)[1], "payout", r.account, "", ""), [0, Fraction(0), 0])
            p[2] += r.amount
            continue
        state.watermarks[r.source] = max(r.watermark, state.watermarks.get(r.source, LONG_AGO))
        if len(state.watermarks) < settings.partitions:
            continue
        state.closed_to = min(state.watermarks.values())
        for key in sorted(k for k in state.tallies if k[0] <= state.closed_to):
            end, size, account, product, meter = key
            count, quantity, amount = state.tallies.pop(key)
            if size != "payout":
                out.append(Tally(size, end, account, product, meter, count, quantity, amount))
                continue
            brought = state.carried.get(account, 0)
            pays = not account.startswith("pool:") and brought + amount >= max(1, settings.threshold)  # D19
            state.carried[account] = 0 if pays else brought + amount
            out.append(Payout(end, account, amount, brought, brought + amount if pays else 0, state.carried[account]))
    return out
