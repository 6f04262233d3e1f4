"""State stays bounded and nobody is held up: a year of closed windows, one payer with half of all uses, ids and
attributes at their limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nanotally.sinks.rows import take
from nanotally.streams.domain.accounts import AccountsLogic
from nanotally.streams.domain.dedup import GENERATIONS, SeenIds
from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.records import PartitionLogic, RawChunk
from nanotally.streams.domain.validation import ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, ID_BYTES_MAX, ITEM_BYTES_MAX
from tests.support.payers_bench import DAY, HOUR, SECOND, T0, PayersBench, activate, book, close, event, rule, version
from tests.support.payers_twins import balanced, rebuilt

HOURLY = rule("hourly", per=("item",), scope="hour")
DAILY = rule("daily", "play", per=("session",), scope="day", minimum_nanos=10**11)


class Year:
    """Both stages over days of uses; what they write goes from one to the other and is not kept."""

    def __init__(self) -> None:
        self.book = book(version(HOURLY, DAILY), windows=("hour", "day", "month"), settlement="day")
        self.payers, self.accounts = PayersLogic(0, 1, 1), AccountsLogic(0)
        self.payers.learn(self.book)
        self.offsets = {"usage": 0, "earnings": 0}
        self.take([activate(self.book)])

    def take(self, values: list[bytes]) -> None:
        self._through(self.accounts, self._through(self.payers, values, "earnings"), "")

    def _through(self, logic: PartitionLogic, values: list[bytes], topic: str) -> list[bytes]:
        """What the stage writes to the topic."""
        first, n = self.offsets[logic.input_topic], len(values)
        self.offsets[logic.input_topic] += n
        times = np.full(n, T0 + 400 * DAY)
        chunk = RawChunk(logic.input_topic, 0, np.arange(first, first + n), times, [None] * n, values)
        written: list[bytes] = []
        done, position = False, first
        while not done:
            step = logic.decide(chunk.since(position))
            done, position = step.done, step.next_offset if step.taken else position
            written += [value for e in step.emissions if e.topic == topic for value in e.values]
        return written

    def kept(self) -> list[int]:
        """Rows and bytes of the state of both stages."""
        stages = self.payers, self.accounts
        return [size for s in stages for size in (s.size(), sum(map(len, s.snapshot().values())))]


def a_day_of_uses(day: int) -> list[bytes]:
    """Uses of items and in sessions that are never seen again."""
    values = []
    for hour in range(0, 24, 4):
        at, name = T0 + day * DAY + hour * HOUR, f"{day}-{hour}"
        values += [event(f"{name}-{p}", at + p, payer=f"p{p}", item=f"/{name}/{p}") for p in range(3)]
        play = {"meter": "play", "scale": 3, "quantity": 1_000, "session": f"s{name}"}
        values.append(event(f"{name}-play", at + 99, payer=f"p{hour % 12 // 4}", **play))
    return values


def test_a_year_of_closed_windows_leaves_no_more_state_than_a_month() -> None:
    year = Year()
    sizes = []
    for day in range(365):
        year.take(a_day_of_uses(day))
        # T0 is the seventh day of a month of thirty days, so these are the twentieth days of four months.
        if day in (13, 13 + 30, 13 + 30 + 31 * 2 + 28, 13 + 30 + 31 * 2 + 28 + 31 + 30 + 31 + 30):
            sizes.append(year.kept())
    assert year.payers.state.counts["charged"] == 365 * 6 * 4
    assert year.payers.state.counts["due.minimum"] >= 364
    for later in sizes[1:]:
        assert all(b <= 1.3 * a for a, b in zip(sizes[0], later, strict=True)), sizes


def test_ids_are_let_go_of_when_they_are_older_than_the_horizon_however_few_they_are() -> None:
    seen, horizon = SeenIds(), DAY
    for hour in range(24 * 20):
        at = T0 + hour * HOUR
        ids = np.arange(hour * 10, hour * 10 + 10, dtype=np.uint64)
        # One of them came as late as may be, as happens all the time.
        times = np.append(np.full(9, at), at - horizon + SECOND).astype(np.int64)
        seen.add((ids, ids), times, times)
        seen.forget(at - horizon, horizon)
        if hour % 50 == 7:  # a restart in between
            loaded = SeenIds()
            loaded.load(seen.arrays())
            seen = loaded
    assert len(seen) <= 10 * 24 * (1 + 2 / GENERATIONS)
    assert len(seen._generations()) <= GENERATIONS + 2
    last = np.arange(24 * 20 * 10 - 240, 24 * 20 * 10, dtype=np.uint64)
    assert seen.find((last, last)).known.all()


def test_one_payer_with_half_of_all_uses_costs_what_it_costs_and_the_others_what_theirs_do() -> None:
    def uses(busy: bool) -> list[bytes]:
        values = []
        for i in range(300):
            values.append(event(f"o{i}", T0 + i * SECOND, payer=f"p{i % 50}", creator=f"c{i % 7}"))
            if busy:
                values.append(event(f"b{i}", T0 + i * SECOND, payer="busy", creator="star", item=f"/{i}"))
        return values

    rule_book = book(version(HOURLY))
    alone, together = PayersBench(rule_book).take(*uses(False)), PayersBench(rule_book).take(*uses(True))
    for bench in (alone, together):
        bench.take(close(T0 + DAY))
        balanced(bench)
    others = [c for c in together.of("Charge") if c["payer"] != "busy"]
    assert [c["paid_nanos"] for c in others] == alone.paid()
    assert sum(c["payer"] == "busy" for c in together.of("Charge")) == 300
    mine = [t for t in together.of("Tally") if t["account"] != "payer:busy"]
    assert mine == alone.of("Tally")
    # Half of all uses are one payer's and one creator's: they leave one delta a minute, not one a use.
    star = [e for e in together.of("Earning") if e["account"] == "creator:star"]
    assert len(star) == 5 and sum(e["count"] for e in star) == 300


LONGEST = {
    "event_id": "e" * ID_BYTES_MAX,
    "product": "ü" * (ID_BYTES_MAX // 2),
    "payer": "\U0001f3b5" * (ID_BYTES_MAX // 4),
    "creator": "c" * ID_BYTES_MAX,
    "item": "i" * ITEM_BYTES_MAX,
    "session": "s" * ID_BYTES_MAX,
    "attributes": {f"{i}".ljust(ATTRIBUTE_BYTES_MAX, "k"): "v" * ATTRIBUTE_BYTES_MAX for i in range(ATTRIBUTES_MAX)},
    "quantity": 10**9,
}  # fmt: skip


def test_ids_and_attributes_at_their_limits_go_through_all_stages() -> None:
    fields = {name: value for name, value in LONGEST.items() if name not in ("event_id",)}
    bench = PayersBench(book(version(HOURLY)))
    bench.take(*(event(f"{i:03d}" + "e" * (ID_BYTES_MAX - 3), T0 + i, **fields) for i in range(20)))
    bench.take(close(T0 + DAY))
    assert bench.reasons() == [] and len(bench.of("Charge")) == 20
    assert bench.charge()["event"]["attributes"] == LONGEST["attributes"]
    assert {t["account"] for t in bench.of("Tally")} == {f"payer:{LONGEST['payer']}"}
    assert {e["account"] for e in bench.of("Earning")} == {"platform", f"creator:{LONGEST['creator']}"}
    balanced(bench)
    rebuilt(bench, "ledger")
    rebuilt(bench, "snapshot")
    found = bench.logic.account(f"payer:{LONGEST['payer']}")
    assert found is not None and found["windows"]
    n = len(bench.ledger)
    rows = take(RawChunk("charges", 0, np.arange(n), np.full(n, T0), [None] * n, bench.ledger))
    assert sum(len(some.batch) for some in rows.rows if some.table == "charges") == 20


@pytest.mark.parametrize("name", ["event_id", "product", "payer", "creator", "item", "session"])
def test_one_byte_more_is_rejected_with_all_its_bytes(name: str) -> None:
    fields: dict[str, Any] = {"event_id": "e", name: str(LONGEST[name]) + "x"}
    spoilt = event(**fields)
    bench = PayersBench(book(version(HOURLY))).take(spoilt, event("good"))
    (reject,) = bench.of("Reject")
    assert reject["reason"] == "invalid_id" and reject["value"] == spoilt
    assert len(bench.of("Charge")) == 1


@pytest.mark.parametrize(
    "attributes",
    [
        {f"a{i}": "" for i in range(ATTRIBUTES_MAX + 1)},
        {"a": "v" * (ATTRIBUTE_BYTES_MAX + 1)},
        {"k" * (ATTRIBUTE_BYTES_MAX + 1): ""},
    ],
    ids=["many", "value", "name"],
)
def test_one_attribute_or_byte_of_it_more_is_rejected(attributes: dict[str, str]) -> None:
    bench = PayersBench(book(version(HOURLY))).take(event("e", attributes=attributes), event("good"))
    assert bench.reasons() == ["invalid_id"] and len(bench.of("Charge")) == 1
