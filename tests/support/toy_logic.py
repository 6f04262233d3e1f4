"""A stage that numbers records: small enough to check by eye, with all that a real one asks of the pipeline.

Of every record of `usage` it writes `PARTITION OFFSET N VALUE` to `charges`, N counting from 1 over the partition's
whole life, and a line to one of two partitions of `earnings`. Special values:
`reject...` counts as rejected and is written to `rejects` as well; `book:7` puts rule book 7 in force, or is rejected
where there is none;
`close:3` is a long close that is cut into 3 transactions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nanotally.schemas import catalog, codec
from nanotally.streams.domain.records import LONG_AGO, Emission, RawChunk, Step
from nanotally.streams.domain.tariff import RuleBook
from nanotally.streams.errors import BrokenInvariant

TOPICS = {"usage": 4, "charges": 4, "earnings": 2, "rejects": 4, "books": 1}
CHUNK = catalog.schema("Chunk").header


class ToyLogic:
    stage = "payers"
    input_topic = "usage"
    log_topic = "charges"
    chunk_topic = "charges"

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.n = 0  # records numbered
        self.slices = 0  # of the long close at hand that were written
        self.rejected = 0
        self.learned: set[int] = set()
        self.in_force: set[int] = set()  # books that the state needs
        self.restored = False

    def needed_books(self, values: Sequence[bytes | None]) -> tuple[int, ...]:
        asked = {int(v[5:]) for v in values if v and v.startswith(b"book:")} | self.in_force
        return tuple(sorted(asked - self.learned))

    def learn(self, book: RuleBook) -> None:
        self.learned.add(book.number)

    def decide(self, chunk: RawChunk) -> Step:
        lines: list[bytes] = []
        rejects: list[bytes] = []
        for i, (offset, value) in enumerate(zip(chunk.offsets.tolist(), chunk.values, strict=True)):
            text = value or b""
            if text.startswith(b"close:") and self.slices + 1 < int(text[6:]):
                self.slices += 1
                lines.append(b"%d %d slice %d" % (self.partition, offset, self.slices))
                return self._step(i, offset, lines, rejects, done=False)
            self.slices = 0
            self.n += 1
            no_book = text.startswith(b"book:") and int(text[5:]) not in self.learned
            if text.startswith(b"book:") and not no_book:
                self.in_force = {int(text[5:])}
            if text.startswith(b"reject") or no_book:
                rejects.append(text)
                self.rejected += 1
            lines.append(b"%d %d %d %b" % (self.partition, offset, self.n, text))
        return self._step(len(chunk), int(chunk.offsets[-1]) + 1, lines, rejects, done=True)

    def _step(self, taken: int, next_offset: int, lines: list[bytes], rejects: list[bytes], *, done: bool) -> Step:
        emissions = [Emission("earnings", self.n % 2, [None], [b"%d %d" % (self.partition, self.n)])]
        if rejects:
            emissions.append(Emission("rejects", self.partition, [None] * len(rejects), rejects))
        values = [*lines, self._chunk(next_offset)]
        emissions.append(Emission("charges", self.partition, [None] * len(values), values))
        return Step(taken, next_offset, emissions, len(rejects), done)

    def _chunk(self, next_offset: int) -> bytes:
        record = {
            "stage": self.stage,
            "input_partition": self.partition,
            "next_offset": next_offset,
            "next_n": self.slices,
            "watermark_us": LONG_AGO,
            "closed_to_us": LONG_AGO,
            "cursor": None,
            "book_number": -1,
            "book_hash": "",
            "records": self.n,
            "counts": {},
            "sums": {},
            "duplicates": [],
            "source_watermarks": {},
        }
        return codec.encode_one("Chunk", record)

    def evolve(self, values: Sequence[bytes | None], first_offset: int) -> None:
        for value in values:
            if value and not value.startswith(CHUNK) and b"slice" not in value:
                self.n += 1

    def resume(self, chunk: Mapping[str, Any] | None) -> int:
        if chunk is None:
            return 0
        if chunk["records"] != self.n:
            raise BrokenInvariant(f"the fold comes to {self.n} records, the chunk record counts {chunk['records']}")
        self.slices = chunk["next_n"]
        return int(chunk["next_offset"])

    def snapshot(self) -> dict[str, bytes]:
        return {"toy": json.dumps({"n": self.n, "in_force": sorted(self.in_force)}).encode()}

    def restore(self, parts: Mapping[str, bytes]) -> None:
        kept = json.loads(parts["toy"])
        self.n, self.in_force = kept["n"], set(kept["in_force"])
        self.restored = True

    def size(self) -> int:
        return 1

    def account(self, account: str) -> dict[str, Any] | None:
        return {"account": account, "n": self.n} if self.n else None

    def metrics(self) -> dict[str, int]:
        return {"charged": self.n, "rejected": self.rejected, "watermark_us": LONG_AGO}


class ToyOfInput(ToyLogic):
    """Its state is a fold over its input, as that of the accounts' stage."""

    log_topic = "usage"


def numbers(values: Sequence[bytes | None]) -> list[tuple[int, int]]:
    """(offset, n) of each numbered line among committed records of `charges`."""
    lines = [v.split(b" ", 3) for v in values if v and not v.startswith(CHUNK) and b"slice" not in v]
    return [(int(line[1]), int(line[2])) for line in lines]
