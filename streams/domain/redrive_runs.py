"""Controls that carry an unpriced use once more, taken as a run of uses.

Neither the horizon nor the ids that were used stand in their way: what stands at an offset is redriven at most once,
whatever its id. A use that still finds no price is rejected and may be tried again; in all else it is a use like any
other, booked when its control comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nanotally.schemas import codec
from nanotally.streams.domain import validation
from nanotally.streams.domain.admission import CODE, DUPLICATE, REJECTED, TAKEN, Admitted, later_rejects
from nanotally.streams.domain.controls import Redrive, redrive_at
from nanotally.streams.domain.matching import NO_TARIFF, UNKNOWN_METER
from nanotally.streams.domain.records import LONG_AGO, BoolArray, Int64Array, RawChunk
from nanotally.streams.domain.redriven import STILL_UNPRICED, flag_of
from nanotally.streams.domain.runs import UsageRun
from nanotally.streams.domain.uses import Uses
from nanotally.streams.domain.windows import iso

if TYPE_CHECKING:
    from nanotally.streams.domain.outputs import Outputs
    from nanotally.streams.domain.payers import PayersLogic


def redrives_from(chunk: RawChunk, place: int, first: Redrive) -> list[Redrive]:
    """The redrive at a place of the chunk and those that follow it without a gap."""
    found: list[Redrive] = []
    redrive: Redrive | None = first
    while redrive is not None:
        found.append(redrive)
        place += 1
        redrive = redrive_at(chunk, place) if place < len(chunk) else None
    return found


class RedriveRun(UsageRun):
    """Uses that consecutive controls of a chunk carry. place: of the first of them."""

    def __init__(self, chunk: RawChunk, place: int, redrives: list[Redrive], logic: PayersLogic, out: Outputs) -> None:
        super().__init__(chunk, np.zeros(0, dtype=np.int64), logic, out)
        values = [codec.encode_one("UsageEvent", redrive.use) for redrive in redrives]
        decoded = codec.decode("UsageEvent", values)
        if decoded.bad:
            raise AssertionError(f"a use that could be written cannot be read: {decoded.bad[0].detail}")
        self.places = np.arange(place, place + len(redrives))
        datums = codec.event_datums(values, decoded)
        self.uses = Uses(decoded.batch, chunk.offsets[self.places], chunk.recorded_at_us[self.places], datums)
        self.from_offsets = [redrive.usage_offset for redrive in redrives]
        self.flags = [flag_of(offset) for offset in self.from_offsets]

    def _admit(self, uses: Uses, rule: Int64Array, bad_price: Int64Array, right_partition: BoolArray) -> Admitted:
        state = self.state
        static = validation.check(uses, right_partition, state.settings.skew_us)
        later = later_rejects(rule, bad_price)
        self._cut(uses, (static == 0) & (later == 0), rule)  # a piece without a rule leaves the use without one
        later[(later == 0) & (rule < 0)] = CODE[STILL_UNPRICED]
        verdict = np.where(static == 0, later, static + REJECTED)
        taken: set[int] = set()
        for row in np.flatnonzero(static == 0).tolist():
            offset = self.from_offsets[row]
            if offset in taken or offset in state.redriven:
                verdict[row] = DUPLICATE
            elif verdict[row] == TAKEN:
                taken.add(offset)
        raise_to = np.where(verdict == TAKEN, uses.occurred_at_us - state.settings.lateness_us, LONG_AGO)
        return Admitted(verdict, np.maximum.accumulate(np.maximum(raise_to, state.watermark_us)))

    def _remember(self, uses: Uses, rows: Int64Array) -> None:
        """Takes their old offsets as redriven. Their ids were used when they came first; by now another use may have
        one of them."""
        for row in rows.tolist():
            self.state.redriven.add(self.from_offsets[row])
        self.state.counts["redriven"] += len(rows)

    def _reject(self, place: int, reason: str, uses: Uses, row: int, rule: int) -> None:
        if reason == STILL_UNPRICED:
            self.out.reject(self.chunk, place, reason, self._missing(uses, row, rule))
        else:
            super()._reject(place, reason, uses, row, rule)

    def _missing(self, uses: Uses, row: int, rule: int) -> str:
        """Why a use still finds no price, and what to do."""
        product, meter = (uses.column(name)[row].as_py() for name in ("product", "meter"))
        at = f"at {iso(int(uses.occurred_at_us[row]))}"
        if self.state.book is None:
            return (
                f"there is no rule book in force, so none prices product {product[:80]!r}; activate one, and redrive it"
            )
        missing = {
            NO_TARIFF: f"has no tariff for product {product[:80]!r} {at}",
            UNKNOWN_METER: f"has no meter {meter[:80]!r} for product {product[:80]!r} {at}",
        }.get(rule, f"has no rule for the use, or for a part of it, of meter {meter[:80]!r} {at}")
        book = self.state.book_number
        remedy = "publish a version that prices it and is effective by then, and redrive it again"
        return f"the rule book in force ({book}) {missing}; {remedy}"
