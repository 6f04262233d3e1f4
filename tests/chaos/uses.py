"""The uses that run through while faults strike: real logs again and again, and made up ones for the other tariffs.

A function of seed and number alone, so that a run can be made again and a batch sent again is the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

from infra.demo.sources import Read, blog_uses, llm_uses

Use = dict[str, Any]

REPEATS = 0.02  # of all uses come once more a little later, as a retry would
CONFLICTS = 0.001  # come once more with another quantity
LATE = 0.03  # come up to LATE_MOST late
LATE_MOST = timedelta(minutes=20)
REPEAT_AFTER = 50


@dataclass
class Uses:
    """Uses from `start` on, `step` apart, in the order of their numbers; after `span` their time stands still, so that
    a run that takes longer than planned publishes nothing of the future."""

    seed: int
    start: datetime
    step: timedelta
    span: timedelta
    number: int = 0

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._blog, self._llm = self._endless(blog_uses), self._endless(llm_uses)
        self._again: list[tuple[int, Use]] = []

    def next(self) -> Use:
        """The next use, as the Publisher takes it, with its product."""
        if self._again and self._again[0][0] <= self.number:
            return self._again.pop(0)[1]
        rng = self._rng
        at = self.start + min(self.number * self.step, self.span)
        if rng.random() < LATE:
            at -= timedelta(seconds=rng.randrange(int(LATE_MOST.total_seconds())))
        use = self._made(rng, at)
        chance = rng.random()
        if chance < REPEATS:
            self._again.append((self.number + REPEAT_AFTER, use))
        elif chance < REPEATS + CONFLICTS:
            self._again.append((self.number + REPEAT_AFTER, {**use, "quantity": "997"}))
        self.number += 1
        return use

    def _made(self, rng: random.Random, at: datetime) -> Use:
        kind = rng.choices(KINDS, WEIGHTS)[0]
        if kind in ("blog", "llm"):
            real = next(self._blog if kind == "blog" else self._llm)
            return {**real, "event_id": f"{self.number}:{real['event_id']}", "occurred_at": at}
        use: Use = {
            "event_id": f"e-{self.number}",
            "occurred_at": at,
            "product": kind,
            "payer": f"p-{min(int(rng.paretovariate(0.6)), 400)}",
            "quantity": "1",
        }
        return use | _of(kind, rng)

    def _endless(self, source: Any) -> Iterator[Use]:
        return cycle(list(source(Read())))


def _of(kind: str, rng: random.Random) -> Use:
    """What is particular to the uses of a product."""
    creator = f"c-{min(int(rng.paretovariate(0.8)), 60)}"
    if kind == "music":
        return {
            "meter": "play",
            "item": f"song-{rng.randrange(40)}",
            "creator": creator,
            "session": f"s-{rng.randrange(30)}",
            "quantity": f"{rng.randrange(1, 30_000) / 1000:.3f}",
            "attributes": {"item.label": f"label-{rng.randrange(4)}"} if rng.random() < 0.8 else {},
        }
    if kind == "dashboard":
        session = f"drive-{rng.randrange(20)}"
        maker = {"maker": f"maker-{rng.randrange(3)}"}
        return {"meter": "card", "item": f"card-{rng.randrange(9)}", "creator": creator, "session": session} | {
            "attributes": maker
        }
    if kind == "tv":
        minutes = f"{rng.randrange(1, 90) / 10:.1f}"
        return {"meter": "watch", "item": f"film-{rng.randrange(30)}", "creator": creator, "quantity": minutes}
    if kind == "news":
        return {"meter": "page.view", "item": f"/article/{rng.randrange(60)}", "creator": creator}
    if kind == "grid":
        return {"meter": "reading", "item": "meter", "creator": f"washer-{rng.randrange(50)}"}
    if kind == "tutor":
        segment = rng.choice(("school", "student", "pro", "nobody"))
        module = rng.choice(("intro", "verbs", "nouns"))
        return {"meter": "lesson", "item": module, "creator": creator} | {
            "attributes": {"segment": segment, "module": module}
        }
    if kind == "editor":
        feature = rng.choice(("export", "translate", "ai-draw", "ai-write", "unknown"))
        return {"meter": "feature", "item": feature, "attributes": {"feature": feature}}
    if kind == "games":
        extra = f"/extra/{rng.randrange(5)}" if rng.random() < 0.5 else ""
        return {"meter": "unlock", "item": f"game-{rng.randrange(30)}{extra}", "creator": creator}
    if kind == "models":
        meter = rng.choice(("token.input", "token.output"))
        mode = {"attributes": {"mode": "batch"}} if rng.random() < 0.3 else {}
        return (
            {"meter": meter, "item": f"m-{rng.randrange(3)}", "creator": "lab"}
            | mode
            | {"quantity": str(rng.randrange(1, 400_000))}
        )
    return {"meter": "call", "item": "line", "creator": creator, "quantity": f"{rng.randrange(1, 20) / 10:.1f}"}


KINDS = ("blog", "llm", "music", "dashboard", "tv", "news", "grid", "tutor", "editor", "games", "models", "phone")
WEIGHTS = (12, 24, 16, 8, 5, 5, 8, 6, 5, 3, 6, 5)


def start_of(hours_ago: int) -> datetime:
    """A full hour so long ago."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours_ago)
