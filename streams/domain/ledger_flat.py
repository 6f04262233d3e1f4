"""Charges of uses as the ledger's datums, quickly: most of a charge is the same for all that one rule charges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from nanotally.schemas import codec
from nanotally.streams.domain.ledger import HASH_DIGITS, ChargeRows, charge_batch, share_nanos, signed
from nanotally.streams.domain.matching import CompiledBook, NumberedRule
from nanotally.streams.domain.pricing import Priced
from nanotally.streams.domain.records import LONG_AGO, BoolArray, Int64Array, pick
from nanotally.streams.domain.splitting import Splits
from nanotally.streams.domain.uses import Uses, uniform

FEW = 32  # so few charges of a rule are written together with those of others

# Numbers of a line that are often the same for all, in the order of the schema; and those that are not.
OFTEN_ALIKE = (
    "remainder_den", "over_before", "over_after", "remainder_before", "remainder_after", "scope_start", "scope_end",
)  # fmt: skip
NUMBERS = (
    *OFTEN_ALIKE, "uses_before", "quantity_before", "total_before", "total_after", "charged_before", "base_before",
)  # fmt: skip


def charge_values(
    taken: ChargeRows,
    priced: Priced,
    book: CompiledBook | None,
    splits: Splits,
    partition: int,
    book_number: int,
    came_at: Int64Array,
) -> list[bytes]:
    """Datums of the taken uses, in their order: charged by one line, refused or unpriced. came_at: see
    `charge_batch`."""
    writer = _Writer(taken, priced, book, splits, partition, book_number, came_at)
    rows = taken.rows
    groups = writer.groups() if book is not None else []
    if len(groups) == 1 and len(groups[0][2]) == len(rows):
        return writer.flat(*groups[0])
    out: list[bytes] = [b""] * len(rows)
    left = np.ones(len(rows), dtype=bool)
    for number, shares, places in groups:
        left[places] = False
        _put(out, places, writer.flat(number, shares, places))
    places = np.flatnonzero(left)
    if len(places):
        _put(out, places, writer.others(places))
    return out


def datums_of(taken: ChargeRows, rows: Int64Array) -> list[bytes]:
    """The events' datums of rows, which rise."""
    datums = taken.uses.datums
    return list(datums) if len(rows) == len(datums) else [datums[i] for i in rows.tolist()]


def _put(out: list[bytes], places: Int64Array, values: list[bytes]) -> None:
    for place, value in zip(places.tolist(), values, strict=True):
        out[place] = value


class _Writer:
    """Places are those among the taken rows."""

    def __init__(
        self,
        taken: ChargeRows,
        priced: Priced,
        book: CompiledBook | None,
        splits: Splits,
        partition: int,
        book_number: int,
        came_at: Int64Array,
    ) -> None:
        self.taken, self.priced, self.book, self.splits = taken, priced, book, splits
        self.partition, self.book_number, self.came_at = partition, book_number, came_at

    def groups(self) -> list[tuple[int, int, Int64Array]]:
        """Rule, number of shares and int64[k] places of those charges that have much alike; without flags."""
        taken, rows = self.taken, self.taken.rows
        if taken.flags is not None:
            return []
        rule = pick(taken.rule, rows)
        fit = pick(taken.charged, rows)
        fit = fit & ~self._late_version(rule, rows)
        if not fit.any():
            return []
        # A rule's charges have as many shares as their resolved split has parties.
        counts = self.splits.count[pick(self.priced.numbers["resolved"], rows)]
        kinds = rule * 64 + counts
        if fit.all() and (kinds == kinds[0]).all():
            return [(int(rule[0]), int(counts[0]), np.arange(len(rows)))] if counts[0] < 64 else []
        fit &= counts < 64
        fitting = np.flatnonzero(fit)
        ordered = fitting[np.argsort(kinds[fitting], kind="stable")]
        sizes = np.bincount(kinds[fitting])
        ends = np.cumsum(sizes)
        return [
            (kind // 64, kind % 64, ordered[ends[kind] - sizes[kind] : ends[kind]])
            for kind in np.flatnonzero(sizes >= FEW).tolist()
        ]

    def _late_version(self, rule: Int64Array, rows: Int64Array) -> BoolArray:
        if not (self.came_at > LONG_AGO).any():  # as in most books
            return np.zeros(len(rows), dtype=bool)
        came_at = np.append(self.came_at, LONG_AGO)
        late: BoolArray = pick(self.taken.uses.occurred_at_us, rows) < came_at[np.maximum(rule, -1)]
        return late

    def others(self, places: Int64Array) -> list[bytes]:
        """Any charges of at most one line."""
        taken = self.taken
        part = taken.part(places)
        batch = charge_batch(part, self.priced, self.book, self.splits, self.partition, self.book_number, self.came_at)
        return codec.encode_rest(batch, datums_of(taken, part.rows))

    def flat(self, number: int, shares: int, places: Int64Array) -> list[bytes]:
        """Charges of one rule, all with as many shares."""
        assert self.book is not None
        taken, uses, numbers, splits = self.taken, self.taken.uses, self.priced.numbers, self.splits
        rows = pick(taken.rows, places)
        outcome, reason = taken.outcomes[int(taken.outcome_code[places[0]])]
        alike = self._of_rule(self.book.rules[number])
        alike |= {"outcome": outcome, "reason": reason}
        columns: dict[str, pa.Array] = {}
        if uses.found is not None:
            catalogs = uses.found.names(rows)
            if uniform(catalogs):
                alike["lines.catalog"] = catalogs[0].as_py()
            else:
                del alike["lines.catalog"]
                columns["lines.catalog"] = catalogs
        may_be_alike = True
        for name in NUMBERS:
            column = pick(numbers[name], rows)
            may_be_alike = may_be_alike and name in OFTEN_ALIKE and bool((column == column[0]).all())
            if may_be_alike:
                alike[f"lines.{name}"] = int(column[0])
            else:
                columns[f"lines.{name}"] = pa.array(column)
        amount = pa.array(pick(numbers["amount"], rows))
        resolved = pick(numbers["resolved"], rows)
        booked_at = pick(taken.booked_at, rows)
        columns |= {
            "lines.quantity": pa.array(pick(numbers["counted"], rows)),
            "lines.amount_nanos": amount,
            "lines.paid_nanos": amount,
            "lines.scope_key_high": signed(pick(self.priced.key_high, rows)),
            "lines.scope_key_low": signed(pick(self.priced.key_low, rows)),
            "lines.split_key_high": signed(splits.key_high[resolved]),
            "lines.split_key_low": signed(splits.key_low[resolved]),
            "late": pa.array(booked_at > pick(uses.occurred_at_us, rows)),
            "payer": payers_of(uses, rows),
            "usage_offset": pa.array(pick(uses.offsets, rows)),
            "recorded_at": pa.array(pick(uses.recorded_at_us, rows)),
            "booked_at": pa.array(booked_at),
            "paid_nanos": amount,
            "content_hash": pa.array(pick(uses.content_hash, rows)),
        }
        nanos = pick(share_nanos(self.priced, len(uses)), rows)
        for place in range(shares):
            path = f"lines.shares.{place}"
            columns[f"{path}.nanos"] = pa.array(np.ascontiguousarray(nanos[:, place]))
            columns[f"{path}.account"] = splits.accounts.column(splits.account[resolved, place])
            for name, table in (("fraction_num", splits.num), ("fraction_den", splits.den)):
                known = table[: len(splits.parties), place]
                if (known == known[0]).all():  # far fewer than charges
                    alike[f"{path}.{name}"] = int(known[0])
                else:
                    columns[f"{path}.{name}"] = pa.array(table[resolved, place])
        return codec.encode_flat(alike, columns, shares, datums_of(taken, rows))

    def _of_rule(self, rule_of: NumberedRule) -> dict[str, Any]:
        version, rule = rule_of.version, rule_of.rule
        return {
            "currency": version.currency,
            "flags": "",
            "usage_partition": self.partition,
            "n": 0,
            "book_number": self.book_number,
            "lines.link": "rule",
            "lines.tariff": version.tariff,
            "lines.version": version.version,
            "lines.tariff_hash": version.content_hash[:HASH_DIGITS],
            "lines.rule": rule.name,
            "lines.variant": rule.variant,
            "lines.scope": rule.scope,
            "lines.split": rule.split,
            "lines.minimum_nanos": 0 if rule.scope == "event" else rule.minimum_nanos,
            "lines.pass": None,
            "lines.catalog": "",
        }


def payers_of(uses: Uses, rows: Int64Array) -> pa.Array:
    """Payers of rows, which rise."""
    column = uses.column("payer")
    return column if len(rows) == len(uses) else column.take(pa.array(rows))
