"""What a run found, for people and as a line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Report:
    """Of one run. Times in seconds; `problems` is empty where all was as it should be."""

    seed: int
    minutes: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    uses: int = 0
    batches_sent_again: int = 0
    lost: int | None = None
    duplicated: int | None = None
    longest_pause_s: float = 0.0
    longest_pause_in: str = ""
    recoveries_s: list[float] = field(default_factory=list)
    slowest_after: str = ""
    ends: dict[str, int] = field(default_factory=dict)
    reconcile: str = ""
    audit: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def recovered(self, fault: str, seconds: float) -> None:
        """Everything was made up for so long after the cause was gone."""
        if seconds > max(self.recoveries_s, default=0.0):
            self.slowest_after = fault
        self.recoveries_s.append(round(seconds, 1))

    @property
    def clean(self) -> bool:
        return not self.problems and self.lost == 0 and self.duplicated == 0

    def lines(self) -> list[str]:
        """The report, the last line in one sentence."""
        times = sorted(self.recoveries_s) or [0.0]
        rows = [(name, f"{count:,}") for name, count in sorted(self.faults.items())]
        rows += [(f"workers ended: {how}", f"{count:,}") for how, count in sorted(self.ends.items())]
        rows += [(name, f"{count:,}") for name, count in sorted(self.audit.get("counts", {}).items())]
        rows += [("reconcile", self.reconcile or "did not say")]
        rows += [("longest pause", f"{self.longest_pause_s:.1f} s, {self.longest_pause_in}")]
        rows += [("time to recover", f"{times[len(times) // 2]:.1f} s half of the times, {times[-1]:.1f} s at most")]
        rows += [("slowest to recover after", self.slowest_after)]
        found = [f"  {name:<46} {value}" for name, value in rows]
        found += [f"PROBLEM {problem}" for problem in self.problems]
        return [*found, json.dumps({**asdict(self), "clean": self.clean}), self.sentence()]

    def sentence(self) -> str:
        return (
            f"{'CLEAN' if self.clean else 'NOT CLEAN'}: {sum(self.faults.values()):,} faults of {len(self.faults)} "
            f"kinds, {self.kills} kills, {self.uses:,} uses: lost {_told(self.lost)}, duplicated "
            f"{_told(self.duplicated)}; longest pause {self.longest_pause_s:.0f} s, recovered within "
            f"{max(self.recoveries_s, default=0.0):.0f} s, in {self.minutes:.1f} minutes (seed {self.seed})"
        )


def _told(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"
