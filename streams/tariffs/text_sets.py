"""Is there a value that fulfils some conditions and not others? Exact, by running the patterns side by side.

A value is a text, or None where the field is absent.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from nanotally.streams.domain.conditions import in_range as number_in_range
from nanotally.streams.domain.explaining_matches import glob_text
from nanotally.streams.domain.tariff import EVENT_FIELDS, Condition
from nanotally.streams.tariffs import figures
from nanotally.streams.tariffs.band_times import as_text, in_band, local_of, local_times
from nanotally.streams.tariffs.ranges import NUMBER_FIELDS

OPTIONAL_FIELDS = ("creator", "session", "duration")  # of an event; attributes are optional too
STATES_MAX = 5_000
EFFORT = 5_000_000  # conditions and letters looked at for one tariff: some seconds
_DECIMAL = re.compile(r"-?\d{1,18}(\.\d{1,24})?", re.ASCII)


class TooHard(Exception):
    """The patterns are too entangled to decide within bounds."""


class Effort:
    """What may still be spent on a tariff before what is left of it counts as too hard."""

    def __init__(self, left: int = EFFORT) -> None:
        self.left = left

    def spend(self, steps: int) -> None:
        """Raises TooHard where nothing is left."""
        self.left -= steps
        if self.left < 0:
            raise TooHard


@dataclass(frozen=True)
class Found:
    """A value that fits."""

    value: str | None


def holds(condition: Condition, value: str | None) -> bool:
    """Whether the condition is fulfilled by the value; None: absent."""
    match condition.kind:
        case "present":
            return value is not None
        case "absent":
            return value is None
        case "equals":
            return value is not None and value in condition.values
        case "range":
            return value is not None and in_range(condition, value)
        case "band":
            return value is not None and in_band(condition, local_of(value, condition.values[0]))
        case _:
            return value is not None and _regex(condition.values).fullmatch(value) is not None


def find(
    field: str, inside: Sequence[Condition], outside: Sequence[Condition], effort: Effort | None = None
) -> Found | None:
    """A value of the field that all of `inside` hold for and none of `outside`; None where there is none.

    Raises TooHard."""

    def fits(value: str | None) -> bool:
        return all(holds(c, value) for c in inside) and not any(holds(c, value) for c in outside)

    if field == "occurred_at":
        return _time(inside, outside, fits)
    optional = field not in (*EVENT_FIELDS, *NUMBER_FIELDS) or field in OPTIONAL_FIELDS
    if optional and fits(None):
        return Found(None)
    listed = [c for c in inside if c.kind == "equals"]
    if listed:
        return next((Found(v) for v in listed[0].values if fits(v)), None)
    if any(c.kind == "absent" for c in inside) or any(c.kind == "present" for c in outside):
        return None
    # An attribute may be the empty text, a field of the event may not.
    least = 1 if field in EVENT_FIELDS else 0
    if field in NUMBER_FIELDS or any(c.kind == "range" for c in inside):
        return _numeral(field, inside, outside, fits)
    guess = next((v for v in _guesses(field, inside) if len(v) >= least and fits(v)), None)
    found = Found(guess) if guess is not None else _search(inside, outside, least, effort or Effort())
    if found is not None and not fits(found.value):
        raise TooHard  # a numeral within a range that is excluded
    return found


def _time(
    inside: Sequence[Condition], outside: Sequence[Condition], fits: Callable[[str | None], bool]
) -> Found | None:
    """An instant. Exact where all bands are of one zone."""
    bands = [*inside, *outside]
    zones = sorted({c.values[0] for c in bands}) or ["UTC"]
    for local in local_times(bands):
        text = as_text(local, zones[0])
        if local_of(text, zones[0]) == local and fits(text):  # a time that the clock does not skip
            return Found(text)
    if len(zones) > 1:
        raise TooHard
    return None


def _numeral(
    field: str, inside: Sequence[Condition], outside: Sequence[Condition], fits: Callable[[str | None], bool]
) -> Found | None:
    """A number as text: each of those between which the ranges change, written in several ways."""
    both = [*inside, *outside]
    points = sorted({Fraction(end) for c in both if c.kind == "range" for end in c.values if end} | {Fraction(0)})
    points += [(low + high) / 2 for low, high in pairwise(points)]
    points += [min(points) - 1, max(points) + 1]
    ranged_in = [c for c in inside if c.kind == "range"]
    ranged_out = [c for c in outside if c.kind == "range"]
    open_ = False
    for point in points:
        text = decimal_text_of(point)
        if field in NUMBER_FIELDS and point < 0:
            continue
        if not all(in_range(c, text) for c in ranged_in) or any(in_range(c, text) for c in ranged_out):
            continue
        open_ = True
        # The same number written longer escapes a list of texts, but not every pattern.
        longer = [
            text + (("" if "." in text else ".") + "0" * (i + 1)) for i in range(sum(len(c.values) for c in both))
        ]
        found = next((t for t in (text, *longer) if fits(t)), None)
        if found is not None:
            return Found(found)
    if open_ and any(c.kind == "pattern" for c in both):
        raise TooHard
    return None


def in_range(condition: Condition, value: str) -> bool:
    """Whether the text is a decimal number within the range, as the engine takes it."""
    return _DECIMAL.fullmatch(value) is not None and number_in_range(condition, Fraction(value))


def decimal_text_of(value: Fraction) -> str:
    """A fraction whose decimals end, as text without a comma between thousands."""
    return figures.number(value).replace(",", "")


def _guesses(field: str, inside: Sequence[Condition]) -> Iterator[str]:
    """Values that read well in an example; they need not fit."""
    for condition in inside:
        for glob in condition.values:
            yield glob.replace("*", "x").replace("?", "x")
            yield glob.replace("*", "").replace("?", "x")
    yield f"some-{field}"
    yield f"other-{field}"


def _search(inside: Sequence[Condition], outside: Sequence[Condition], least: int, effort: Effort) -> Found | None:
    """Breadth first over the texts, each standing for all that leave the patterns in the same state."""
    wanted = [_globs(c) for c in inside if c.kind == "pattern"]
    unwanted = [_globs(c) for c in outside if c.kind in ("pattern", "equals")]
    groups = wanted + unwanted
    letters = sorted({token for group in groups for glob in group for token in glob if token not in _WILD})
    # One letter that no pattern names stands for all of those.
    alphabet = [next(c for c in map(chr, range(ord("a"), 0x110000)) if c not in letters), *letters]

    def accepts(state: tuple[frozenset[tuple[int, int]], ...]) -> bool:
        ends = [any(at == len(group[g]) for g, at in now) for group, now in zip(groups, state, strict=True)]
        return all(ends[: len(wanted)]) and not any(ends[len(wanted) :])

    start = tuple(_closure(group, {(g, 0) for g in range(len(group))}) for group in groups)
    if least == 0 and accepts(start):
        return Found("")
    seen = {start}
    queue = deque([(start, "")])
    while queue:
        state, text = queue.popleft()
        effort.spend(len(alphabet) * sum(1 + len(now) for now in state))
        for letter in alphabet:
            after = tuple(_step(group, now, letter) for group, now in zip(groups, state, strict=True))
            if accepts(after):
                return Found(text + letter)
            if after not in seen and all(after[: len(wanted)]):
                seen.add(after)
                queue.append((after, text + letter))
        if len(seen) > STATES_MAX:
            raise TooHard
    return None


# A glob as tokens: letters, _ANY for one of any letter, _STAR for any number of them.
_ANY, _STAR = "any", "star"
_WILD = (_ANY, _STAR)
_Glob = tuple[str, ...]


def _globs(condition: Condition) -> tuple[_Glob, ...]:
    if condition.kind == "equals":
        return tuple(tuple(text) for text in condition.values)
    wild = {"*": _STAR, "?": _ANY}
    return tuple(tuple(wild.get(c, c) for c in text) for text in condition.values)


def _closure(group: Sequence[_Glob], now: set[tuple[int, int]]) -> frozenset[tuple[int, int]]:
    """The positions reached without a letter: past each star."""
    reached = set(now)
    for g, at in now:
        while at < len(group[g]) and group[g][at] == _STAR:
            at += 1
            reached.add((g, at))
    return frozenset(reached)


def _step(group: Sequence[_Glob], now: frozenset[tuple[int, int]], letter: str) -> frozenset[tuple[int, int]]:
    after = set()
    for g, at in now:
        if at < len(group[g]):
            token = group[g][at]
            if token == _STAR:
                after.add((g, at))
            elif token in (_ANY, letter):
                after.add((g, at + 1))
    return _closure(group, after)


@lru_cache(maxsize=10_000)
def _regex(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(glob_text, globs)), re.DOTALL)
