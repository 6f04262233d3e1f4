"""What is asked of the rating and what it gives: columns of uses, plain values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction

import numpy as np

from nanotally.streams.domain.records import BoolArray, Int64Array

# Codes of `Rated.refusal`.
CHARGED, ABOVE_MAX_PRICE, OUT_OF_RANGE, NO_PRICE, ABOVE_LIMIT = 0, 1, 2, 3, 4
REFUSALS = {ABOVE_MAX_PRICE: "max_price", OUT_OF_RANGE: "out_of_range", NO_PRICE: "price", ABOVE_LIMIT: "limit"}
# Of `Asked.unit_price`: there is a price with the use, but it is no decimal number. Refused, as one out of bounds is.
UNUSABLE = Fraction(-1)


@dataclass
class Asked:
    """n uses, or pieces of uses, to be rated.

    quantity: int64[n], unscaled, as the use or its piece has it. first: bool[n], whether it is the first piece of its
    use; None: all are. max_price: nanos that each may cost, None without one. tier_quantity: what chooses the volume
    tier of each, unscaled, None: the quantity itself. unit_price: for rules with `price_from` the price that came
    with each, in currency units; None: there is none, so that the rule's tiers count, or UNUSABLE. A list that is
    None is one of nothing but None."""

    quantity: Int64Array
    first: BoolArray | None = None
    max_price: list[Fraction | None] | None = None
    tier_quantity: list[int | None] | None = None
    unit_price: list[Fraction | None] | None = None

    def pick(self, rows: Int64Array) -> Asked:
        """The uses at the rows."""
        places = rows.tolist()

        def some(values: list[Fraction | None] | None) -> list[Fraction | None] | None:
            return None if values is None else [values[row] for row in places]

        tier_quantity = None if self.tier_quantity is None else [self.tier_quantity[row] for row in places]
        first = None if self.first is None else self.first[rows]
        return Asked(self.quantity[rows], first, some(self.max_price), tier_quantity, some(self.unit_price))


@dataclass
class Rated:
    """n uses rated. Columns as in the Line of charge.avsc, int64[n]: `counted` is its `quantity`, after rounding of
    single uses. refusal: int64[n], 0 charged, else a code of REFUSALS; a refused use has zeros in all other columns
    and changes nothing."""

    counted: Int64Array
    uses_before: Int64Array
    quantity_before: Int64Array
    over_before: Int64Array
    over_after: Int64Array
    total_before: Int64Array
    remainder_before: Int64Array
    total_after: Int64Array
    remainder_after: Int64Array
    remainder_den: Int64Array
    charged_before: Int64Array
    amount: Int64Array
    refusal: Int64Array

    @staticmethod
    def refused(count: int, code: int) -> Rated:
        """Uses that are all refused with one code."""
        columns = {name: np.zeros(count, dtype=np.int64) for name in COLUMNS}
        columns["refusal"][:] = code
        return Rated(**columns)

    def put(self, rows: Int64Array, some: Rated) -> None:
        """Sets rows to what `some` has."""
        for name in COLUMNS:
            getattr(self, name)[rows] = getattr(some, name)


COLUMNS = tuple(field.name for field in fields(Rated))
