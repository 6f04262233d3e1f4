"""Prices a run of uses between two closings: scope, amount, split, and what the scopes are afterwards.

Most uses are one line of one rule each, and a refused one leaves no trace by itself: those are priced here, as columns
by family of rules that share scopes. The others (see careful.py) come back as lines; then all lines are divided, in
the order of the uses."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from nanotally.streams.domain.asking import asked_of, price_of
from nanotally.streams.domain.careful import Careful
from nanotally.streams.domain.cutting import Pieces, whole
from nanotally.streams.domain.dues import Dues
from nanotally.streams.domain.keys import group
from nanotally.streams.domain.lines import OF_SCOPE, PASS, Lines
from nanotally.streams.domain.lines import Priced as Priced
from nanotally.streams.domain.matching import CompiledBook, NumberedRule
from nanotally.streams.domain.parties import Parties
from nanotally.streams.domain.rated import COLUMNS as RATED
from nanotally.streams.domain.rating import rate, rate_mixed
from nanotally.streams.domain.records import BoolArray, Int64Array, pick
from nanotally.streams.domain.rules import Party
from nanotally.streams.domain.scope_keys import scope_of
from nanotally.streams.domain.scopes import ScopeRows, Scopes
from nanotally.streams.domain.splitting import Splits
from nanotally.streams.domain.uses import Uses

MaxPrices = list[Fraction | None]


def price_run(
    book: CompiledBook,
    uses: Uses,
    rows: Int64Array,
    rule: Int64Array,
    booked_at: Int64Array,
    limits: MaxPrices | None,
    scopes: Scopes,
    splits: Splits,
    out: Priced,
    dues: Dues | None = None,
    cut: Pieces | None = None,
) -> Int64Array:
    """Prices `rows` (in row order, all with a rule) into `out` and moves scopes and bases; gives the rows that were
    charged, in row order. rule, booked_at: int64[n] of all uses. dues: where scopes at whose end something may be due
    are noted. cut: the pieces of those of the rows that are cut."""
    carefully = _careful_rows(book, rows, rule, cut)
    lines = None
    if carefully is not None:
        lines = _price_carefully(book, uses, rows[carefully], rule, booked_at, limits, scopes, out, cut)
        plain = rows[~carefully]
    else:
        plain = rows
    _price_plainly(book, uses, plain, rule, booked_at, limits, scopes, out)
    _resolve(book, uses, plain, rule, splits, out)
    charged = _not_refused(out, plain)
    if lines is None:
        amounts = pick(out.numbers["amount"], charged)
        divided = splits.divide(pick(out.numbers["resolved"], charged), amounts)
        out.put("base_before", charged, divided.base_before)
        out.shares.append((charged, divided.nanos))
    else:
        _resolve_lines(book, uses, lines, splits)
        _divide(charged, lines, splits, out)
        charged = np.sort(np.concatenate((charged, _keep_lines(lines, out))))
    if dues is not None and len(charged) and book.tracked.any():
        _note(book, uses, charged, rule, dues, out)
    return charged


def _careful_rows(book: CompiledBook, rows: Int64Array, rule: Int64Array, cut: Pieces | None) -> BoolArray | None:
    """Which of the rows are priced carefully; None where none is."""
    if cut is None and not book.careful.any():
        return None
    careful: BoolArray = book.careful[rule[rows]]
    if cut is not None and len(cut):
        # Where a piece counts in a scope, the order of all uses in it matters.
        family = np.array(book.family, dtype=np.int64)
        careful = careful | np.isin(family[rule[rows]], family[cut.rule]) | np.isin(rows, cut.row)
    return careful if careful.any() else None


# ---- uses of one line ----


def _price_plainly(
    book: CompiledBook,
    uses: Uses,
    rows: Int64Array,
    rule: Int64Array,
    booked_at: Int64Array,
    limits: MaxPrices | None,
    scopes: Scopes,
    out: Priced,
) -> None:
    present = _present(rows, rule)
    by_family: dict[int, list[int]] = {}
    for number in present:
        by_family.setdefault(book.family[number], []).append(number)
    for numbers in by_family.values():
        mine = rows if len(present) == len(numbers) else rows[np.isin(rule[rows], numbers)]
        _price_family([book.rules[number] for number in numbers], uses, mine, rule, booked_at, limits, scopes, out)


def _present(rows: Int64Array, rule: Int64Array) -> list[int]:
    """Numbers of the rules that the rows have."""
    return np.flatnonzero(np.bincount(rule[rows])).tolist() if len(rows) else []


def _resolve(book: CompiledBook, uses: Uses, rows: Int64Array, rule: Int64Array, splits: Splits, out: Priced) -> None:
    present = _present(rows, rule)
    for number in present:
        mine = rows if len(present) == 1 else rows[rule[rows] == number]
        mine = _not_refused(out, mine)
        out.put("resolved", mine, splits.resolve_uses(book.rules[number], uses, mine))


def _not_refused(out: Priced, rows: Int64Array) -> Int64Array:
    """Those of the rows, which were rated, that are charged."""
    kept = pick(out.numbers["refusal"], rows) == 0
    charged: Int64Array = rows if kept.all() else rows[kept]
    return charged


def _price_family(
    rules: list[NumberedRule],
    uses: Uses,
    mine: Int64Array,
    rule: Int64Array,
    booked_at: Int64Array,
    limits: MaxPrices | None,
    scopes: Scopes,
    out: Priced,
) -> None:
    """Prices rows of rules that share their scopes: one rule, or the same one in several variants or versions."""
    for rule_of in rules:
        part = mine if len(rules) == 1 else mine[rule[mine] == rule_of.number]
        key, start, end = scope_of(rule_of, uses, part, pick(booked_at, part))
        out.put("scope_start", part, start)
        out.put("scope_end", part, end)
        out.put_keys(part, key)
    key = pick(out.key_high, mine), pick(out.key_low, mine)
    groups = group(*key)
    of_event = rules[0].rule.scope == "event"
    den = price_of(rules[0]).den if len(rules) == 1 else 1
    if of_event:
        before = ScopeRows.new(len(groups), den)
    else:
        before = scopes.get(key[0][groups.first], key[1][groups.first], den)
    asked = asked_of(rules, uses, mine, pick(rule, mine), pick(uses.quantity, mine), limits=_of_rows(limits, mine))
    if len(rules) == 1:
        rated = rate(price_of(rules[0]), groups, before, asked)
    else:
        prices = {rule_of.number: price_of(rule_of) for rule_of in rules}
        rated = rate_mixed([prices[number] for number in rule[mine].tolist()], groups, before, asked)
    for name in RATED:
        out.put(name, mine, getattr(rated, name))
    if of_event:
        return
    charged, last = np.flatnonzero(rated.refusal == 0), groups.last
    if len(charged) < len(mine):
        last = charged[group(key[0][charged], key[1][charged]).last]
    after = ScopeRows(
        uses=rated.uses_before[last] + 1,
        quantity=rated.quantity_before[last] + rated.counted[last],
        over=rated.over_after[last],
        total=rated.total_after[last],
        remainder=rated.remainder_after[last],
        den=rated.remainder_den[last],
        charged=rated.charged_before[last] + rated.amount[last],
        start=pick(out.numbers["scope_start"], mine)[last],
        end=pick(out.numbers["scope_end"], mine)[last],
    )
    scopes.put(key[0][last], key[1][last], after)


def _of_rows(limits: MaxPrices | None, rows: Int64Array) -> MaxPrices | None:
    """The rows' limits; None where none of them has one."""
    if limits is None:
        return None
    asked = [limits[row] for row in rows.tolist()]
    return asked if any(limit is not None for limit in asked) else None


# ---- uses of any number of lines ----


def _price_carefully(
    book: CompiledBook,
    uses: Uses,
    rows: Int64Array,
    rule: Int64Array,
    booked_at: Int64Array,
    limits: MaxPrices | None,
    scopes: Scopes,
    out: Priced,
    cut: Pieces | None,
) -> Lines:
    pieces = whole(uses, rows, rule)
    if cut is not None and len(cut):
        pieces = pieces.pick(np.flatnonzero(~np.isin(rows, cut.row)))
        columns = zip(vars(pieces).values(), vars(cut).values(), strict=True)
        pieces = Pieces(*(np.concatenate(pair) for pair in columns))
        pieces = pieces.pick(np.lexsort((pieces.at_us, pieces.row)))
    work = Careful(book, uses, pieces, booked_at, _of_rows(limits, np.arange(len(uses))), scopes)
    lines = work.run()
    out.numbers["refusal"][rows] = work.refusal[rows]
    return lines


def _resolve_lines(book: CompiledBook, uses: Uses, lines: Lines, splits: Splits) -> None:
    """Resolved splits of the lines; all of a pass goes into its pool."""
    resolved = lines.numbers["resolved"]
    for number in np.unique(lines.link).tolist():
        mine, link = np.flatnonzero(lines.link == number), book.links[number]
        if link.link == "pass":
            resolved[mine] = splits.number(link.version.currency, only(pool_of(link)))
        else:
            rows, back = np.unique(lines.row[mine], return_inverse=True)
            resolved[mine] = splits.resolve_uses(link, uses, rows)[back]


def only(account: str) -> Parties:
    """A resolved split of which one account gets all."""
    return (Party(account, Fraction(1)),)


def pool_of(link: NumberedRule) -> str:
    """The account that holds what a pass takes in until it is shared out."""
    return f"pool:{link.version.tariff}/{link.rule.name}"


def _divide(charged: Int64Array, lines: Lines, splits: Splits, out: Priced) -> None:
    """Divides uses of one line and lines together, in the order of the uses; what goes into a pool is not divided."""
    mine = np.flatnonzero(lines.kind != PASS)
    row = np.concatenate((charged, lines.row[mine]))
    order = np.argsort(row, kind="stable")
    resolved = np.concatenate((out.numbers["resolved"][charged], lines.numbers["resolved"][mine]))
    paid = np.concatenate((out.numbers["amount"][charged], lines.paid[mine]))
    divided = splits.divide(resolved[order], paid[order])
    base, nanos = np.empty(len(row), dtype=np.int64), np.empty((len(row), divided.nanos.shape[1]), dtype=np.int64)
    base[order], nanos[order] = divided.base_before, divided.nanos
    out.put("base_before", charged, base[: len(charged)])
    out.shares.append((charged, nanos[: len(charged)]))
    lines.numbers["base_before"][mine] = base[len(charged) :]
    lines.nanos = np.zeros((len(lines), nanos.shape[1]), dtype=np.int64)
    lines.nanos[mine] = nanos[len(charged) :]
    pools = np.flatnonzero(lines.kind == PASS)
    lines.nanos[pools, 0] = lines.paid[pools]


def _keep_lines(lines: Lines, out: Priced) -> Int64Array:
    """Puts the lines where they belong: uses of one line beside the others. Gives the rows that have lines."""
    if not len(lines):
        return lines.row
    alone = (np.bincount(lines.row)[lines.row] == 1) & (lines.covering < 0)
    single = lines.pick(np.flatnonzero(alone))
    for name in (*OF_SCOPE, "resolved", "base_before"):
        if name != "refusal":
            out.numbers[name][single.row] = single.numbers[name]
    out.key_high[single.row], out.key_low[single.row] = single.key_high, single.key_low
    out.shares.append((single.row, single.nanos))
    if not alone.all():
        out.put_lines(lines.pick(np.flatnonzero(~alone)))
    rows: Int64Array = np.unique(lines.row)
    return rows


def _note(book: CompiledBook, uses: Uses, charged: Int64Array, rule: Int64Array, dues: Dues, out: Priced) -> None:
    """Tells the dues of what was charged just now in scopes at whose end something may be due."""
    several = np.zeros(len(uses), dtype=bool) if out.several is None else out.several
    single = charged[book.tracked[rule[charged]] & ~several[charged]]
    parts = [out.lines_of(single, rule, uses.occurred_at_us)] if len(single) else []
    for lines in out.lines:
        mine = np.flatnonzero(np.isin(lines.row, charged))
        if len(mine):
            parts.append(lines.pick(mine))
    if parts:
        lines = Lines.joined(parts)
        lines = lines.pick(np.argsort(lines.row, kind="stable"))
        rows = np.unique(lines.row)
        payers = dict(zip(rows.tolist(), uses.column("payer").take(rows).to_pylist(), strict=True))
        dues.note(book, lines, payers)
