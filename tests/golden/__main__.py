"""`python -m tests.golden FILE`: whether golden vectors come out as their sources say, one line each and a summary.

Ends with 1 where one is wrong or cannot be expressed, with 2 where the file cannot be read."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.golden.verdicts import EQUAL, KINDS, QUIRK, judge


def main(arguments: list[str]) -> int:
    """Judges the vectors of a file and returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m tests.golden FILE", file=sys.stderr)
        return 2
    try:
        vectors: list[dict[str, Any]] = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
        if not isinstance(vectors, list):
            raise ValueError("no list of vectors")
    except (OSError, ValueError) as e:
        print(f"{arguments[0]}: cannot be read: {e}", file=sys.stderr)
        return 2
    counts: Counter[str] = Counter()
    for place, vector in enumerate(vectors, 1):
        verdict = judge(vector)
        counts[verdict.kind] += 1
        told = f"{vector.get('id', f'number {place}')}: {verdict.kind}"
        print(f"{told}: {verdict.words}" if verdict.words else told)
    print(f"{len(vectors)} vectors: " + ", ".join(f"{counts[kind]} {kind}" for kind in KINDS))
    return 0 if counts[EQUAL] + counts[QUIRK] == len(vectors) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
