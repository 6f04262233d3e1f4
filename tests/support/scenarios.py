"""Random scenarios of one usage partition from a seed: rule books, and records of every kind the stage must judge.

A reference runs along while a scenario is made, so that uses can be put exactly on the edges: at a window's end, at
the horizon, at the skew, at an earlier use's time.
"""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass, replace
from typing import Any

from nanotally.streams.domain.tariff import RuleBook
from tests.support.reference import PayersReference, partition_of
from tests.support.reference_values import LONG_AGO, Control, Event, Garbage, Record
from tests.support.reference_windows import HOUR_US, to_us, window
from tests.support.reference_wire import CONTROL_HEADER, USAGE_HEADER, encode_event
from tests.support.scenario_books import random_books

SECOND_US, MINUTE_US, DAY_US = 1_000_000, 60_000_000, 86_400_000_000
STARTS_US = tuple(
    to_us(dt.datetime(*moment, tzinfo=dt.UTC))
    for moment in (
        (2026, 1, 30, 12),  # two days before a month ends
        (2026, 3, 28, 20),  # clocks go forward in Europe at night
        (2026, 10, 24, 20),  # and back
        (2026, 12, 31, 20),
        (2024, 2, 28, 22),
    )
)
PRODUCTS = ("news", "music", "ai", "ghost", "a\x1fb\x1e")  # the last one holds what joins texts elsewhere
CREATORS = ("x", "y", "ü\u2713", None)
ITEMS, SESSIONS, LABELS = ("i", "/blog/faust", "/blog/a b", "x"), ("s", "q", None), ("l", "k", "", None)
SCALES = {"page": 0, "play": 3, "token": 0}
MAX_PRICES = ("0", "0.000000001", "0.00000002", "0.0000000005", "1", "100000000", "000.5")
UNIT_PRICES = (
    "0",
    "0.000000001",
    "0.001",
    "0.0000000005",
    "0.000000000001",
    "0.0000000000001",
    "1",
    "2.5",
    "-1",
    "",
    "1e-3",
)
TOO_LONG = ("ü" * 129, "a" * 257)
BAD_PRICES = ("", "free", "-1", "1,5", "NaN", "1e3", "+1", ".5", "5.", "٣", " 1", "1\n", "1" * 19)


@dataclass(frozen=True)
class Scenario:
    """Records of partition `partition` of `partitions`, with all books that were published."""

    seed: int
    partitions: int
    partition: int
    books: dict[int, RuleBook]
    records: tuple[Record, ...]


def scenario(seed: int, size: int = 60, partitions: int = 3, partition: int | None = None) -> Scenario:
    """The scenario of a seed. Given a partition, the books are the same for all partitions of that seed."""
    books = random_books(random.Random(f"books {seed}"), start_us(seed))
    r = random.Random(f"records {seed} {partition}")
    place = r.randrange(partitions) if partition is None else partition
    return Scenario(seed, partitions, place, books, Maker(r, seed, place, partitions, books).make(size))


def start_us(seed: int) -> int:
    return random.Random(f"start {seed}").choice(STARTS_US)


class Maker:
    """Makes the records of one partition, one after the other."""

    def __init__(
        self, r: random.Random, seed: int, partition: int, partitions: int, books: dict[int, RuleBook]
    ) -> None:
        self.r, self.partition, self.partitions, self.books = r, partition, partitions, books
        self.reference = PayersReference(partition, partitions, books)
        self.now = start_us(seed)
        self.sent: list[Event] = []
        self.waiting = sorted(books)
        names = [f"p{i}" for i in range(60)] + ["zoë", "a" * 256, "p\x00"]
        self.mine = [n for n in names if partition_of(n, partitions) == partition]
        self.payers = r.sample(self.mine, k=min(r.choice((1, 1, 4, 12)), len(self.mine)))
        self.products = r.choice((PRODUCTS, PRODUCTS[:3], *((p,) for p in PRODUCTS[:3])))
        self.meters = ("page", "page", "play", "play", "token") if r.random() < 0.5 else (r.choice(sorted(SCALES)),)
        self.others = [n for n in names if partition_of(n, partitions) != partition]
        self.wide = r.random() < 0.15  # many items, creators and scopes
        self.creators = r.choice((CREATORS, CREATORS[:1]))
        self.slow = r.random() < 0.5  # most of it within some hours
        self.turning = r.random() < 0.4  # uses of the time around a change of version come mixed
        self.lasting = r.random() < 0.4  # most uses last for hours
        self.ones = r.random() < 0.2  # quantities of one
        self.greedy = r.random() < 0.15  # quantities near the limits of int64
        self.redrives = Redrives(random.Random(f"redrives {seed} {partition}"), self)

    def make(self, size: int) -> tuple[Record, ...]:
        records: list[Record] = []
        offset = self.r.choice((0, 0, 7, 10**12))
        while len(records) < size:
            self.now += self.step()
            recorded_at = self.now + self.r.choice((0, 0, self.r.randint(-5, 5) * SECOND_US))
            value = self.value(first=not records, recorded_at=recorded_at)
            wire = self.r.choice(("plain",) * 30 + ("blocks", "blocks", "sized", "sized", "padded", "padded", "twice"))
            if wire == "twice" and isinstance(value, dict) and max(-value["occurred_at"], value["quantity"]) > 2**60:
                wire = "plain"  # extreme numbers are read one by one, where the last of equal keys counts
            record = Record(offset, recorded_at, self.key_of(value), value, wire)
            self.reference.take(record)
            records.append(record)
            offset += self.r.choice((1, 1, 1, 2, 5))
            while (again := self.redrives.after(record, offset)) is not None:
                record = replace(record, offset=offset, key=self.key_of(again), value=again, wire="plain")
                self.reference.take(record)
                records.append(record)
                offset += 1
        return tuple(records)

    def step(self) -> int:
        r = self.r
        if r.random() < 0.02:
            return r.choice((1, 3, 40)) * DAY_US
        if self.slow and r.random() < 0.9:
            return r.choice((0, 1, SECOND_US, 30 * SECOND_US, 5 * MINUTE_US))
        return r.choice((0, 0, 1, SECOND_US, 30 * SECOND_US, 5 * MINUTE_US, r.randint(0, 6 * HOUR_US)))

    def key_of(self, value: Event | Control | Garbage) -> bytes | None:
        if isinstance(value, Control):
            return None
        if isinstance(value, Garbage):
            return self.r.choice((None, b"", b"p1", b"\xff"))
        payer: str = value["payer"]
        return payer.encode()

    def value(self, first: bool, recorded_at: int) -> Event | Control | Garbage:
        kind = self.r.random()
        if self.waiting and ((first and self.r.random() < 0.9) or kind < 0.05):
            return self.activation(self.waiting.pop(0))
        if kind < 0.10:
            return self.control(recorded_at)
        if kind < 0.12:
            return self.garbage()
        if kind < 0.24 and self.sent:
            return self.repeat()
        event = self.event(recorded_at)
        spoils = self.r.choice((0,) * 12 + (1, 1, 2))
        for _ in range(spoils):
            event = self.spoil(event, recorded_at)
        if not spoils or self.r.random() < 0.2:
            self.sent.append(event)
        return event

    # ---- controls and garbage ----

    def activation(self, number: int) -> Control:
        return Control(f"book-{number}", "activate", None, number, self.books[number].book_hash)

    def control(self, recorded_at: int) -> Control:
        r = self.r
        number = r.choice(sorted(self.books))
        edges = [recorded_at, recorded_at - r.randint(0, 2 * DAY_US), self.edge(recorded_at), self.edge(recorded_at)]
        edges += [recorded_at + DAY_US] if r.random() < 0.3 else []
        if r.random() < 0.7:
            return r.choice(
                (
                    Control("tick", "tick"),
                    Control("tick", "tick", note="time passes"),
                    Control("close", "close", r.choice(edges)),
                    self.activation(number),  # in force already, older, or ahead of its turn
                )
            )
        return r.choice(
            (
                Control("x", "activate", None, number + 1000, "0" * 64),
                Control("x", "activate", None, number, "0" * 64),
                Control("x", "activate", None, number, None),
                Control("x", "activate", None, None, self.books[number].book_hash),
                Control("x", "activate", None, -1, self.books[number].book_hash),
                Control("x", "close"),
                Control("x", "close", -(2**63)),
                Control("x", "open", recorded_at),
            )
        )

    def garbage(self) -> Garbage:
        r = self.r
        good = encode_event(self.event(self.now))
        spoiled = good.replace(b"m\x00", b"m\xff") if b"m\x00" in good else good[:-1] + b"\x02"
        return r.choice(
            (
                Garbage(None, "malformed"),
                Garbage(b"", "malformed"),
                Garbage(b"\xff", "malformed"),
                Garbage(b"{}", "malformed"),
                Garbage(b"\xc3\x01" + bytes(8) + good[10:], "unknown_schema"),
                Garbage(USAGE_HEADER, "malformed"),
                Garbage(good[:-1], "malformed"),
                Garbage(good + b"\x00", "malformed"),
                Garbage(spoiled, "malformed"),
                Garbage(USAGE_HEADER + b"\x04\xff\xfe" + good[11:], "malformed"),
                Garbage(CONTROL_HEADER + b"\x02x", "malformed"),
            )
        )

    # ---- uses ----

    def event(self, recorded_at: int) -> dict[str, Any]:
        r = self.r
        meter = "gone" if r.random() < 0.03 else r.choice(self.meters)
        attributes: dict[str, str] = {}
        for name, values in (
            ("segment", ("pro", "", "school")),
            ("item.label", LABELS),
            ("region", ("eu", "us")),
            ("feature", ("pro", "search.v2")),
            ("duration_us", ("x",)),  # an attribute, whatever field has that name
            ("height", ("720", "1080", "1080.0000001", "-3", "-3.5", "1e3", "", "tall", "+9", " 800")),
            ("price", UNIT_PRICES),
            ("full", ("0", "1", "30", "30.5", "59", "1000000", "x", "-1")),
        ):
            value = r.choice(values)
            if value is not None and r.random() < 0.5:
                attributes[name] = value
        if r.random() < 0.08:
            attributes["max_price"] = r.choice(MAX_PRICES)
        return {
            "event_id": r.choice((f"e{r.randint(0, 10**9)}", f"e{r.randint(0, 30)}")),
            "occurred_at": self.occurred_at(recorded_at),
            "product": r.choice(self.products),
            "payer": r.choice(self.payers),
            "creator": f"c{r.randrange(900)}" if self.wide else r.choice(self.creators),
            "item": f"/blog/{r.randrange(5000)}" if self.wide else r.choice(ITEMS),
            "meter": meter,
            "quantity": self.quantity(),
            "scale": SCALES.get(meter, 0),
            "session": r.choice(SESSIONS),
            "duration_us": self.duration(),
            "attributes": attributes,
        }

    def duration(self) -> int | None:
        r = self.r
        if self.lasting and r.random() < 0.8:  # over borders of bands and versions
            return r.choice((r.randint(1, 3 * HOUR_US), r.randint(1, 3 * HOUR_US), r.randint(1, 2 * DAY_US)))
        return r.choice((None, None, None, -1, 0, 1, 12_500_000, r.randint(0, 3 * HOUR_US), r.randint(0, 2 * DAY_US)))

    def quantity(self) -> int:
        r = self.r
        if self.ones:
            return 1
        if self.greedy and r.random() < 0.5:
            return r.choice((10**15, 10**15 - r.randint(0, 9), r.randint(0, 10**15)))
        return r.choice((0, 1, 1, 2, 5, 17, 377, 1000, r.randint(0, 10**6)))

    def occurred_at(self, recorded_at: int) -> int:
        r = self.r
        kind = r.random()
        near = self.turns(recorded_at) if self.turning and kind < 0.6 else []
        if near:
            return min(recorded_at, r.choice(near) + r.randint(-20 * MINUTE_US, 20 * MINUTE_US))
        if kind < 0.55:
            return recorded_at
        if kind < 0.72:
            return self.edge(recorded_at)
        late = r.choice((1, 10 * SECOND_US, 500 * SECOND_US, HOUR_US, 5 * HOUR_US, DAY_US, 2 * DAY_US))
        return recorded_at - r.randint(0, late)

    def turns(self, recorded_at: int) -> list[int]:
        """Changes of version not long before."""
        book = self.reference.book
        starts = [v.effective_from_us for v in book.tariffs] if book else []
        return [at for at in starts if recorded_at - 6 * HOUR_US < at < recorded_at]

    def edge(self, recorded_at: int) -> int:
        """A moment on which something turns, or a microsecond beside it."""
        r, ref = self.r, self.reference
        settings = ref.settings
        edges = [recorded_at + settings.skew_us]
        around = ref.watermark if ref.watermark > LONG_AGO and r.random() < 0.5 else recorded_at
        for size in ("hour", "day"):
            end = window(size, around, settings.zone)[1]
            edges += [end, end + settings.lateness_us, end + settings.lateness_us]
        if ref.watermark > LONG_AGO:
            edges += [ref.watermark, ref.watermark + settings.lateness_us, ref.forgotten_to]
        book = ref.book
        edges += [v.effective_from_us for v in book.tariffs] if book else []
        return r.choice(edges) + r.choice((0, 0, 0, -1, 1))

    def repeat(self) -> Event:
        """Something sent before: the same, the same told otherwise, or another use under its id."""
        r = self.r
        old = dict(r.choice(self.sent[-12:] if r.random() < 0.7 else self.sent))
        kind = r.random()
        if kind < 0.5:
            return old
        if kind < 0.6:
            old["attributes"] = dict(reversed(old["attributes"].items()))
        elif kind < 0.8:
            name, value = r.choice(
                (
                    ("quantity", r.randint(0, 3)),
                    ("item", "other"),
                    ("creator", "z"),
                    ("session", "other"),
                    ("duration_us", 1),
                    ("attributes", {**old["attributes"], "region": "mars"}),
                    ("attributes", {}),
                    ("occurred_at", old["occurred_at"] + r.choice((-1, 1, HOUR_US))),
                )
            )
            old[name] = value
        else:  # the same id is free for another payer or product
            name, value = r.choice((("product", r.choice(PRODUCTS)), ("payer", r.choice(self.payers))))
            old[name] = value
        self.sent.append(old)
        return old

    def spoil(self, event: dict[str, Any], recorded_at: int) -> dict[str, Any]:
        return self.spoilt(self.r, event, recorded_at)

    def spoilt(self, r: random.Random, event: Event, recorded_at: int) -> dict[str, Any]:
        settings = self.reference.settings
        old = self.reference.forgotten_to
        name, value = r.choice(
            (
                (r.choice(("event_id", "product", "payer", "item", "meter", "creator", "session")), ""),
                (r.choice(("event_id", "product", "payer", "meter", "creator", "session")), r.choice(TOO_LONG)),
                (r.choice(("event_id", "meter", "creator", "session")), "a" * 256),
                ("item", "i" * 1025),
                ("item", "i" * 1024),
                ("attributes", {f"a{i}": "" for i in range(r.choice((64, 65)))}),
                ("attributes", {"a": "ü" * r.choice((512, 513))}),
                ("attributes", {"k" * r.choice((1024, 1025)): ""}),
                ("quantity", -r.choice((1, 2**62))),
                ("quantity", r.choice((10**15 + 1, 2**63 - 1))),
                ("scale", r.choice((-1, 1, 2, 18, 19))),
                (
                    "occurred_at",
                    r.choice((0, 946_684_799_999_999, 946_684_800_000_000, 7_258_118_400_000_000, -(2**63))),
                ),
                ("payer", r.choice(self.others) if self.others else "other"),
                ("occurred_at", recorded_at + settings.skew_us + r.choice((0, 1, DAY_US))),
                ("occurred_at", old - r.choice((0, 1, DAY_US)) if old > LONG_AGO else 0),
                ("meter", "gone"),
                ("session", None),
                ("attributes", {**event["attributes"], "max_price": r.choice(BAD_PRICES)}),
                ("attributes", {**event["attributes"], "max_price": r.choice(MAX_PRICES)}),
            )
        )
        return {**event, name: value}


class Redrives:
    """Controls that carry uses once more; drawn by themselves, so that the rest of a scenario is what it was."""

    def __init__(self, r: random.Random, maker: Maker) -> None:
        self.r, self.maker = r, maker
        self.uses: list[tuple[int, Event]] = []  # that entered the ledger, with their offsets
        self.unpriced: list[tuple[int, Event]] = []
        self.often = r.choice((0.0, 0.02, 0.02, 0.1, 0.3))
        self.next: list[Event | Control] = []

    def after(self, record: Record, offset: int) -> Event | Control | None:
        """What follows the record, which was taken, at the offset; None: no redrive does."""
        r, value = self.r, record.value
        outcome, _ = self.maker.reference.out.outcomes[record.offset]
        if isinstance(value, dict) and outcome in ("charged", "refused", "unpriced"):
            self.uses.append((record.offset, value))
            if outcome == "unpriced":
                self.unpriced.append((record.offset, value))
        if self.next:
            return self.next.pop(0)
        if not self.uses or r.random() > self.often:
            return None
        # That a use was unpriced where it stood is for those to see to who may write controls: any will do here.
        first, use = r.choice(self.unpriced if self.unpriced and r.random() < 0.5 else self.uses)
        at, kind, told = record.recorded_at_us, r.random(), self.maker.reference
        old = [(o, u) for o, u in self.uses if u["occurred_at"] < told.forgotten_to and o not in told.redriven]
        if old and kind < 0.3:  # another use gets its id before
            first, use = r.choice(old)
            newer = {**use, "occurred_at": at, "quantity": use["quantity"] // 2}
            self.next = [Control("again", "redrive", usage_offset=first, use=use), newer]
            return newer
        if kind < 0.8:
            return Control("again", "redrive", usage_offset=first, use=use)
        spoilt = self.maker.spoilt(r, use, at)
        return r.choice(
            (
                Control("x", "redrive", usage_offset=first),
                Control("x", "redrive", use=use),
                Control("x", "redrive", usage_offset=offset, use=use),
                Control("x", "redrive", usage_offset=-1, use=use),
                Control("x", "redrive", usage_offset=2**62, use=use),
                Control("x", "redrive", usage_offset=first, use=spoilt),
                Control("x", "redrive", usage_offset=first, use=spoilt),
                Control("x", "redrive", usage_offset=first, use={**use, "occurred_at": at}),
                Control("x", "redrive", usage_offset=first, use={**use, "occurred_at": at}),
                Control("x", "tick", usage_offset=first, use=use),
            )
        )
