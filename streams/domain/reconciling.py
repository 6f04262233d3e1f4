"""What a reconciliation finds: checks, each with how much it compared, and differences, each with its place.

The parts: `reconciling_ledger` reads the charges again and checks every chunk record, `reconciling_chains` that no link
between charges is missing, `reconciling_frames` what tallies and earnings must therefore be, `reconciling_windows` the
closed windows and settlements against that, `reconciling_accounts` the accounts' side, `reconciling_tables` ClickHouse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

DIFFERENCES_KEPT = 10  # of each check; all are counted


@dataclass(frozen=True)
class Difference:
    """Something is not what it must be. topic: logical name, or 'ClickHouse TABLE'; offset: of the record, -1 where
    the record is missing or the difference is of a sum."""

    what: str
    topic: str
    partition: int
    offset: int
    expected: str
    found: str

    def __str__(self) -> str:
        at = f" offset {self.offset}" if self.offset >= 0 else ""
        return f"{self.what}: {self.topic} {self.partition}{at}: expected {self.expected}, found {self.found}"

    @property
    def place(self) -> tuple[str, int, int]:
        """What differences are ordered by."""
        return self.topic, self.partition, self.offset


@dataclass
class Check:
    """One line of the report. compared: number of records, rows or sums that were looked at; figures: what they come
    to, by name."""

    name: str
    compared: int = 0
    figures: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    count: int = 0

    def differ(self, difference: Difference) -> None:
        """Notes a difference."""
        self.count += 1
        if len(self.differences) < DIFFERENCES_KEPT:
            self.differences.append(difference)

    def same(self, what: str, place: tuple[str, int, int], expected: object, found: object) -> None:
        """Compares two values; notes the difference."""
        self.compared += 1
        if expected != found:
            self.differ(Difference(what, *place, _shown(expected), _shown(found)))

    def take(self, other: Check) -> None:
        """Adds what another check of the same name found."""
        self.compared += other.compared
        self.count += other.count
        self.figures.update(other.figures)
        self.differences = (self.differences + other.differences)[:DIFFERENCES_KEPT]

    @property
    def detail(self) -> str:
        """The figures in a line: '57,976 charged · 5 rejected'."""
        return " · ".join(f"{number:,} {name}" for name, number in self.figures.items() if number)

    @property
    def clean(self) -> bool:
        """Whether nothing differs."""
        return self.count == 0


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


@dataclass
class Report:
    """All checks, in the order in which money flows."""

    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, checks: Iterable[Check]) -> None:
        """Adds checks; those of a name that is there are added up."""
        for check in checks:
            known = next((c for c in self.checks if c.name == check.name), None)
            if known is None:
                known = Check(check.name)
                self.checks.append(known)
            known.take(check)

    @property
    def clean(self) -> bool:
        """Whether nothing differs anywhere."""
        return all(check.clean for check in self.checks)

    @property
    def first(self) -> Difference | None:
        """The first place where something differs: of the first check that is not clean."""
        for check in self.checks:
            if check.differences:
                return check.differences[0]
        return None
