"""Charges of any number of lines as the ledger's datums: cut uses, passes, and what fell due at an end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nanotally.schemas import codec
from nanotally.streams.domain.falling_due import FallenDue
from nanotally.streams.domain.ledger import HASH_DIGITS, ChargeRows, signed, texts
from nanotally.streams.domain.lines import LINKS, MINIMUM, RULE, SHARING, Lines
from nanotally.streams.domain.matching import CompiledBook
from nanotally.streams.domain.pricing import pool_of
from nanotally.streams.domain.records import BoolArray, Int64Array
from nanotally.streams.domain.splitting import Splits
from nanotally.streams.domain.uses import Uses

_NUMBERS = (
    "scope_start", "scope_end", "uses_before", "quantity_before", "over_before", "over_after", "total_before",
    "remainder_before", "total_after", "remainder_after", "remainder_den", "charged_before", "base_before",
)  # fmt: skip


def use_values(
    taken: ChargeRows,
    lines: Lines,
    n: Int64Array,
    book: CompiledBook | None,
    splits: Splits,
    partition: int,
    book_number: int,
    came_at: Int64Array,
) -> list[bytes]:
    """Datums of the taken uses, in their order. lines: all lines of theirs, by row; n: int64[m] number of each charge
    at its offset; came_at: int64[rules], the broker's time at which the version of each rule came late."""
    uses, rows = taken.uses, taken.rows
    m, currencies = len(rows), [r.version.currency for r in book.rules] if book is not None else []
    rule = taken.rule[rows]
    booked_at, occurred_at = taken.booked_at[rows], uses.occurred_at_us[rows]
    place = np.searchsorted(rows, lines.row)
    paid, flag = np.zeros(m, dtype=np.int64), np.zeros(m, dtype=np.int64)
    np.add.at(paid, place, lines.paid)
    mine = np.flatnonzero(lines.kind == RULE)
    np.maximum.at(flag, place[mine], (lines.at_us[mine] < came_at[lines.link[mine]]).astype(np.int64))
    top = {
        "usage_partition": pa.repeat(pa.scalar(partition, pa.int32()), m),
        "usage_offset": pa.array(uses.offsets[rows]),
        "n": pa.array(n.astype(np.int32)),
        "payer": uses.column("payer").take(pa.array(rows)),
        "recorded_at": pa.array(uses.recorded_at_us[rows]),
        "booked_at": pa.array(booked_at),
        "late": pa.array(booked_at > occurred_at),
        "flags": taken.flag_column(flag),
        "outcome": texts([outcome for outcome, _ in taken.outcomes], taken.outcome_code),
        "reason": texts([reason for _, reason in taken.outcomes], taken.outcome_code),
        "currency": texts([*currencies, ""], np.where(rule >= 0, rule, len(currencies))),
        "paid_nanos": pa.array(paid),
        "book_number": pa.repeat(pa.scalar(book_number, pa.int64()), m),
        "content_hash": pa.array(uses.content_hash[rows]),
        "lines": _line_lists(lines, np.bincount(place, minlength=m), book, splits, _catalogs(lines, uses)),
    }
    batch = pa.RecordBatch.from_arrays(list(top.values()), names=list(top))
    return codec.encode_rest(batch, [uses.datums[row] for row in rows.tolist()])


def due_values(
    fallen: Sequence[FallenDue],
    offset: int,
    first_n: int,
    recorded_at_us: int,
    splits: Splits,
    partition: int,
    book_number: int,
) -> list[bytes]:
    """Datums of what fell due at one record of `usage`, all by the rules of one book, numbered from first_n on."""
    m, book = len(fallen), fallen[0].book
    top = {
        "usage_partition": pa.repeat(pa.scalar(partition, pa.int32()), m),
        "usage_offset": pa.repeat(pa.scalar(offset, pa.int64()), m),
        "n": pa.array(np.arange(first_n, first_n + m, dtype=np.int32)),
        "payer": pa.array([due.payer for due in fallen], pa.string()),
        "recorded_at": pa.repeat(pa.scalar(recorded_at_us, pa.int64()), m),
        "booked_at": pa.array([due.booked_at_us for due in fallen], pa.int64()),
        "late": pa.array(np.zeros(m, dtype=bool)),
        "flags": pa.repeat("", m),
        "outcome": pa.repeat("due", m),
        "reason": pa.array([due.reason for due in fallen], pa.string()),
        "currency": pa.array([due.currency for due in fallen], pa.string()),
        "paid_nanos": pa.array([due.paid for due in fallen], pa.int64()),
        "book_number": pa.repeat(pa.scalar(book_number, pa.int64()), m),
        "content_hash": pa.array(np.zeros(m, dtype=np.int64)),
        "lines": _line_lists(
            Lines.joined([due.lines for due in fallen]), np.array([len(due.lines) for due in fallen]), book, splits
        ),
    }
    return codec.encode_rest(pa.RecordBatch.from_arrays(list(top.values()), names=list(top)), None)


def shares_of(due: FallenDue, splits: Splits) -> tuple[Int64Array, Int64Array]:
    """Codes of the accounts that get or give something by what fell due, and nanos."""
    lines = due.lines
    resolved, width = lines.numbers["resolved"], lines.nanos.shape[1]
    there = np.arange(width)[None, :] < splits.count[resolved][:, None]
    account, nanos = splits.account[resolved, :width][there], lines.nanos[there]
    if due.pool is not None:
        pool = np.array([splits.accounts.add(due.pool)], dtype=np.int64)
        account = np.concatenate((account, pool))
        nanos = np.concatenate((nanos, [-int(lines.numbers["amount"].sum())]))
    return account, nanos


def _catalogs(lines: Lines, uses: Uses) -> pa.Array | None:
    """Which catalog had the item of each line's use: strings, '' for none and for what a pass settles."""
    if uses.found is None:
        return None
    return pc.if_else(pa.array(lines.kind == RULE), uses.found.names(lines.row), "")


def _line_lists(
    lines: Lines, counts: Int64Array, book: CompiledBook | None, splits: Splits, catalogs: pa.Array | None = None
) -> pa.ListArray:
    """The lines of charges that have so many each, one after the other."""
    links = [] if book is None else book.links
    link, kind, numbers = lines.link, lines.kind, lines.numbers

    def by_link(values: list[str], where: BoolArray | None = None) -> pa.Array:
        return texts([*values, ""], link if where is None else np.where(where, link, len(values)))

    minimum = np.array([0 if n.rule.scope == "event" else n.rule.minimum_nanos for n in links], dtype=np.int64)
    owing = (kind == RULE) | (kind == MINIMUM)
    passes = pa.array([n.rule.name for n in links] + [None], pa.string())
    resolved = numbers["resolved"]
    columns: dict[str, pa.Array] = {
        "link": texts(list(LINKS), kind),
        "tariff": by_link([n.version.tariff for n in links]),
        "version": pa.array([n.version.version for n in links], pa.int32()).take(pa.array(link)),
        "tariff_hash": by_link([n.version.content_hash[:HASH_DIGITS] for n in links]),
        "rule": by_link([n.rule.name for n in links]),
        "variant": by_link([n.rule.variant for n in links], kind == RULE),
        "scope": by_link([n.rule.scope for n in links]),
        "scope_key_high": signed(lines.key_high),
        "scope_key_low": signed(lines.key_low),
        "quantity": pa.array(numbers["counted"]),
        "minimum_nanos": pa.array(np.where(owing, minimum[link], 0)) if links else pa.array([], pa.int64()),
        "amount_nanos": pa.array(numbers["amount"]),
        "paid_nanos": pa.array(lines.paid),
        "pass": passes.take(pa.array(np.where(lines.covering >= 0, lines.covering, len(links)))),
        "catalog": pa.repeat("", len(lines)) if catalogs is None else catalogs,
        "split": by_link([n.rule.split for n in links], lines.named),
        "split_key_high": signed(splits.key_high[resolved]),
        "split_key_low": signed(splits.key_low[resolved]),
        "shares": _shares(lines, book, splits),
    }
    columns |= {name: pa.array(numbers[name]) for name in _NUMBERS}
    struct = pa.StructArray.from_arrays(list(columns.values()), names=list(columns))
    return pa.ListArray.from_arrays(pa.array(np.concatenate(([0], np.cumsum(counts))).astype(np.int32)), struct)


def _shares(lines: Lines, book: CompiledBook | None, splits: Splits) -> pa.ListArray:
    """Shares of each line's resolved split; what is shared out also leaves its pool."""
    resolved, width = lines.numbers["resolved"], lines.nanos.shape[1]
    counts = splits.count[resolved]
    there = np.arange(width)[None, :] < counts[:, None]
    line = np.repeat(np.arange(len(lines)), counts)
    account, num, den = (table[resolved, :width][there] for table in (splits.account, splits.num, splits.den))
    nanos = lines.nanos[there]
    sharing = np.flatnonzero(lines.kind == SHARING)
    if len(sharing) and book is not None:
        pools = [splits.accounts.add(pool_of(book.links[number])) for number in lines.link[sharing].tolist()]
        order = np.argsort(np.concatenate((line, sharing)), kind="stable")
        account = np.concatenate((account, np.array(pools, dtype=np.int64)))[order]
        num, den = (np.concatenate((column, np.ones(len(sharing), dtype=np.int64)))[order] for column in (num, den))
        nanos = np.concatenate((nanos, -lines.numbers["amount"][sharing]))[order]
        counts = counts + (lines.kind == SHARING)
    struct = pa.StructArray.from_arrays(
        [splits.accounts.column(account), pa.array(num), pa.array(den), pa.array(nanos)],
        names=["account", "fraction_num", "fraction_den", "nanos"],
    )
    return pa.ListArray.from_arrays(pa.array(np.concatenate(([0], np.cumsum(counts))).astype(np.int32)), struct)
