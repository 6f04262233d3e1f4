"""A bench's figure, for people and as a JSON line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """`events_per_s` reached and aimed at; `more` goes into the JSON line as it is."""

    bench: str
    events_per_s: float
    goal_per_s: float
    more: dict[str, Any] = field(default_factory=dict)

    def json_line(self) -> str:
        """One JSON object, keys as the fields are called."""
        return json.dumps({"bench": self.bench, "events_per_s": round(self.events_per_s), **self.more})

    def row(self) -> str:
        """One line of the table."""
        ratio = f"{self.events_per_s / self.goal_per_s:5.2f} x goal" if self.goal_per_s else " " * 12
        extra = "  ".join(f"{name} {value}" for name, value in self.more.items())
        return f"  {self.bench:<17} {self.events_per_s:>12,.0f} events/s  {ratio}  {extra}"
