"""Dead letters on a real broker: listed, shown, mended and put in again, each once, with what came of them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition

from nanotally.schemas import codec
from nanotally.sinks.client import ClickHouse
from nanotally.sinks.sink import address_of
from nanotally.streams import admin
from nanotally.streams.domain.keys import partition_of
from nanotally.streams.errors import ExitCode, Transient
from nanotally.streams.tariffs.publishing import Publication, activate, publish_book
from nanotally.streams.tariffs.reader import read_tariff
from tests.bench.installation import now_us
from tests.support.installed import Installed, installed, until
from tests.support.services import Addresses
from tests.support.topics import publish, read_committed

pytestmark = pytest.mark.slow

PARTITIONS = 4
PAYER = "ana"
HOME = partition_of(PAYER.encode(), PARTITIONS)
AWAY = (HOME + 1) % PARTITIONS
LATER = """
tariff: later
version: 1
effective_from: 2020-01-01T00:00:00Z
currency: USD
products: [school]
meters:
  lecture: {unit: lecture}
splits:
  all: {platform: rest}
rules:
  - rule: lecture
    when: {meter: lecture, product: school}
    price: 0.25 per lecture
    split: all
"""


def use(event_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": event_id, "occurred_at": now_us() - 1_000_000, "product": "news", "payer": PAYER, "creator": "cleo",
        "item": "/a", "meter": "page.view", "quantity": 1, "scale": 0, "session": None, "duration_us": None,
        "attributes": {},
    } | fields  # fmt: skip


class Letters:
    """An installation with a worker that rejects: `put` gives the name of what was put in. Each test puts in what it
    needs, whatever was there before."""

    def __init__(self, found: Installed) -> None:
        self.found = found
        self.environment = found.environment

    def put(self, value: bytes, partition: int = HOME) -> str:
        asyncio.run(publish(self.environment.kafka, self.environment.topic("usage"), {partition: [value]}))
        until("it is rejected", lambda: bool(self.offsets_of(partition, value)))
        return f"{partition}-{self.offsets_of(partition, value)[0]}"

    def offsets_of(self, partition: int, value: bytes) -> list[int]:
        """Where these bytes were rejected, by what the stage says."""
        values = read_committed(self.environment.kafka, self.environment.topic("rejects"), PARTITIONS)[partition]
        rejects = [codec.decode_one(reject)[1] for reject in values]
        return [reject["offset"] for reject in rejects if reject["value"] == value]

    def run(self, *arguments: str) -> tuple[int, str, str]:
        return self.found.run("rejects", *arguments)

    def show(self, name: str) -> dict[str, Any]:
        code, out, err = self.run("show", name, "--json")
        assert code == 0, err
        shown: dict[str, Any] = json.loads(out)
        return shown

    def usage(self) -> int:
        """How many records topic usage holds."""
        return sum(
            map(len, read_committed(self.environment.kafka, self.environment.topic("usage"), PARTITIONS).values())
        )

    def sum_up(self) -> None:
        """Starts the stages behind the payers' where they do not run yet."""
        for stage in ("accounts", "sink"):
            if stage not in self.found.members:
                self.found.start(stage, stage)

    def came_of(self, name: str) -> str:
        """What came of the record that a reject was redriven to, once it is taken."""
        until("it is taken", lambda: self.show(name)["came_of_it"] not in ("", "not taken yet"))
        return str(self.show(name)["came_of_it"])


def without(found: Installed, topic: str) -> None:
    """Deletes one topic."""
    kafka, name = found.environment.kafka, found.environment.topic(topic)
    with admin.admin_client(kafka) as client:
        client.delete_topics([name])
    until("it is gone", lambda: topic not in admin.partition_counts(kafka, found.environment.prefix))


@pytest.fixture(scope="module")
def letters(services: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Letters]:
    with installed(services, tmp_path_factory.mktemp("rejects")) as found:
        without(found, "redrives")  # as in an installation of an older release
        worker = found.start("payers", "payers")
        until("all partitions are open", lambda: len(worker.positions()) == PARTITIONS)
        yield Letters(found)


def event(record: Mapping[str, Any]) -> bytes:
    return codec.encode_one("UsageEvent", record)


def file(folder: Path, **fields: Any) -> str:
    path = folder / "right.json"
    path.write_text(json.dumps(fields, indent=2))
    return str(path)


def test_a_use_of_a_wrong_scale_is_mended_once_and_charged(letters: Letters, tmp_path: Path) -> None:
    name = letters.put(event(use("scale", quantity=1000, scale=3)))
    shown = letters.show(name)
    assert (shown["reason"], shown["use"]["quantity"], shown["redriven_to"]) == ("wrong_scale", "1", None)
    code, _, err = letters.run("redrive", name)
    assert (
        code == ExitCode.INVALID
        and f"would be rejected again (wrong_scale): mend it (nanotally rejects mend {name})" in err
    )
    code, _, err = letters.run("mend", name, "--use", file(tmp_path, quantity="1.5"))
    assert (
        code == ExitCode.INVALID
        and f"{name}: " in err
        and "quantity: 1.5 page is finer than meter page.view allows" in err
    )
    before = letters.usage()
    code, out, err = letters.run("mend", name, "--use", file(tmp_path, quantity="1"), "--note", "old app")
    assert (code, err) == (0, "1 redriven\n") and out.startswith(f"{name} redriven as scale, to {HOME}-")
    assert letters.came_of(name) == "charged"
    assert letters.usage() == before + 1
    code, out, err = letters.run("mend", name, "--use", file(tmp_path, quantity="2"))
    assert code == 0 and "was redriven before, as" in out and "0 redriven, 1 were already" in err
    assert letters.usage() == before + 1
    assert "(old app): charged" in letters.run("show", name)[1]
    assert name in letters.run("list")[1] and name not in letters.run("list", "--left")[1]


def test_what_came_in_a_wrong_partition_goes_to_the_right_one_as_it_was(letters: Letters) -> None:
    value = event(use("away"))
    name = letters.put(value, AWAY)
    code, out, err = letters.run("redrive", "--reason", "wrong_partition", "--note", "a producer of another language")
    assert code == 0, err
    assert f"{name} redriven as away, to {HOME}-" in out
    assert letters.came_of(name) == "charged"
    assert letters.run("redrive", "--reason", "wrong_partition")[2] == "0 redriven\n"
    again = letters.run("redrive", name)
    assert again[0] == 0 and "was redriven before" in again[1]


def test_bytes_that_break_off_tell_what_they_can_and_the_rest_is_written_by_hand(
    letters: Letters, tmp_path: Path
) -> None:
    name = letters.put(event(use("broken-off"))[:45])
    shown = letters.show(name)
    assert (
        shown["reason"] == "malformed" and shown["use"]["event_id"] == "broken-off" and "field " in shown["unreadable"]
    )
    assert letters.run("mend", name, "--use", file(tmp_path, item="/a"))[0] == ExitCode.INVALID
    whole = {"payer": PAYER, "product": "news", "item": "/a", "meter": "page.view", "quantity": "1", "creator": "cleo"}
    code, _, err = letters.run("mend", name, "--use", file(tmp_path, **whole))
    assert code == 0, err
    assert letters.came_of(name) == "charged"
    garbage = letters.put(b"\x00no use at all")
    assert "header" in letters.show(garbage)["unreadable"]
    code, _, err = letters.run("mend", garbage, "--use", file(tmp_path, **whole))
    assert code == ExitCode.INVALID and f"{garbage}: " in err and "occurred_at is missing" in err
    whole["occurred_at"] = str(letters.show(name)["use"]["occurred_at"])
    code, out, err = letters.run("mend", garbage, "--use", file(tmp_path, **whole))
    assert code == 0 and f"{garbage} redriven as redriven~{garbage}, to" in out, err
    assert letters.came_of(garbage) == "charged"


def test_a_conflict_is_mended_under_an_id_of_its_own(letters: Letters, tmp_path: Path) -> None:
    asyncio.run(publish(letters.environment.kafka, letters.environment.topic("usage"), {HOME: [event(use("twice"))]}))
    name = letters.put(event(use("twice", item="/another")))
    assert letters.show(name)["reason"] == "conflict"
    code, out, _ = letters.run("mend", name, "--use", file(tmp_path, item="/another"))
    assert code == 0 and f"{name} redriven as twice~{name}, to" in out
    assert letters.came_of(name) == "charged"


def lectures(letters: Letters, *ids: str, meter: str = "lecture") -> list[str]:
    """Uses that no tariff prices; their names, once they are taken."""
    environment, topic = letters.environment, letters.environment.topic("usage")
    fields = {"product": "school", "meter": meter, "occurred_at": now_us() - 10_000_000}
    asyncio.run(publish(environment.kafka, topic, {HOME: [event(use(name, **fields)) for name in ids]}))

    def found() -> list[str]:
        listed = json.loads(letters.run("list", "--unpriced", "--json", "--limit", "1000")[1])["rejects"]
        return [one["name"] for one in listed if one["use"]["event_id"] in ids]

    until("they are taken", lambda: len(found()) == len(ids))
    return found()


def test_uses_without_a_price_are_redriven_once_there_is_one_under_their_own_ids(
    letters: Letters, tmp_path: Path
) -> None:
    one, two, odd = lectures(letters, "lecture-1", "lecture-2", "lecture-3")
    assert letters.show(one)["use"]["meter"] == "lecture"
    # Too early: it is rejected, and can be tried again.
    code, out, err = letters.run("redrive", one, "--note", "too early")
    assert code == 0 and f"{one} redriven as lecture-1, to {HOME}-" in out, err
    assert letters.came_of(one).startswith("rejected: still_unpriced")
    tried = letters.show(one)["redriven_to"]
    assert f"carries the use without a price at {one} once more" in letters.run("show", tried)[1]
    assert letters.show(tried)["came_from"] == one
    # One was of a wrong meter all the time.
    right = file(tmp_path, product="news", meter="page.view")
    code, out, err = letters.run("mend", odd, "--use", right)
    assert code == 0 and f"{odd} redriven as lecture-3~{odd}, to" in out, err
    assert letters.came_of(odd) == "charged"
    environment = letters.environment
    book = publish_book(
        environment.kafka, environment.prefix, Publication([read_tariff(LATER)], lead_us=None), now_us()
    )
    activate(environment.kafka, environment.prefix, book)
    listed = json.loads(letters.run("list", "--unpriced", "--product", "school", "--json")[1])
    assert [r["name"] for r in listed["rejects"]] == [one, two] and listed["counts"] == {"unpriced": 2}
    assert f"{two} " in letters.run("list", "--unpriced", "--since", listed["rejects"][1]["recorded_at"])[1]
    assert "0 uses without a price" in letters.run("list", "--unpriced", "--since", "2100-01-01T00:00:00Z")[1]
    assert letters.run("redrive", "--unpriced", "--meter", "another")[2] == "0 redriven\n"
    code, out, err = letters.run("redrive", "--unpriced", "--meter", "lecture", "--note", "priced now")
    assert (code, err) == (0, "2 redriven\n")
    assert f"{tried} redriven as lecture-1, to" in out and f"{two} redriven as lecture-2, to" in out
    assert letters.came_of(one) == letters.came_of(two) == "charged"
    assert [step["note"] for step in letters.show(one)["steps"]] == ["too early", "priced now"]
    assert letters.run("redrive", "--unpriced")[2] == "0 redriven\n"
    assert letters.run("redrive", one)[2] == letters.run("redrive", two)[2] == "0 redriven, 1 were already\n"
    assert "0 uses without a price" in letters.run("list", "--unpriced")[1]


def test_what_was_mended_badly_is_mended_again_under_its_new_name(letters: Letters, tmp_path: Path) -> None:
    name = letters.put(event(use("badly", quantity=1000, scale=3)))
    assert letters.run("mend", name, "--use", file(tmp_path, occurred_at="2190-01-01T00:00:00Z"))[0] == 0
    assert letters.came_of(name).startswith("rejected: future")
    second = letters.show(name)["redriven_to"]
    assert letters.show(second)["came_from"] == name
    now = letters.show(name)["use"]["occurred_at"]
    assert letters.run("mend", second, "--use", file(tmp_path, occurred_at=now), "--note", "the right time")[0] == 0
    assert letters.came_of(name) == letters.came_of(second) == "charged"
    steps = letters.show(name)["steps"]
    assert [(step["from"], step["mended"]) for step in steps] == [(name, True), (second, True)]
    told = letters.run("show", name)[1]
    assert f"{name} mended and redriven" in told and "(the right time): charged" in told
    left = letters.run("list", "--left")[1]
    assert name not in left and second not in left


def test_a_rejected_control_is_shown_as_what_it_is_and_is_nobodys_to_mend(letters: Letters, tmp_path: Path) -> None:
    control = {"control_id": "c-1", "kind": "dance", "at": 0, "book_number": None, "book_hash": None, "note": "x"}
    name = letters.put(codec.encode_one("Control", control | {"usage_offset": None, "use": None}))
    shown = letters.show(name)
    assert (shown["reason"], shown["use"]) == ("bad_control", {})
    assert shown["control"] == {"control_id": "c-1", "kind": "dance", "at": "1970-01-01T00:00:00Z", "note": "x"}
    for command in (["mend", name, "--use", file(tmp_path, item="/a")], ["redrive", name]):
        code, _, err = letters.run(*command)
        assert code == ExitCode.INVALID and f"{name} is a control (dance), no use" in err
    assert "c-1" in letters.run("list", "--reason", "bad_control")[1]
    assert "0 rejects" in letters.run("list", "--reason", "bad_control", "--left")[1]


def test_a_list_shows_the_oldest_and_counts_all(letters: Letters) -> None:
    for n in range(4):
        letters.put(b"no use, %d" % n)
    everything = json.loads(letters.run("list", "--json", "--limit", "1000")[1])
    few = json.loads(letters.run("list", "--json", "--limit", "2")[1])
    assert few["rejects"] == everything["rejects"][:2] and few["counts"] == everything["counts"]
    times = [one["recorded_at"] for one in everything["rejects"]]
    assert times == sorted(times) and sum(everything["counts"].values()) == len(times) > 3
    assert not everything["older_are_gone"]
    assert letters.run("list", "--since", times[-1], "--json")[1].count('"name"') == times.count(times[-1])
    assert "the oldest 2 are shown" in letters.run("list", "--limit", "2")[2]
    assert letters.run("list", "--product", "nothing")[1].endswith("0 rejects\n")
    code, _, err = letters.run("list", "--reason", "wrong_scales")
    assert code == ExitCode.USAGE and "is none of malformed, unknown_schema" in err


def test_two_who_redrive_at_once_put_in_nothing_twice(letters: Letters) -> None:
    payers = [f"both-{i}" for i in range(40)]
    wrong = {p: (partition_of(p.encode(), PARTITIONS) + 1) % PARTITIONS for p in payers}
    values: dict[int, list[bytes]] = {}
    for payer, partition in wrong.items():
        values.setdefault(partition, []).append(event(use(payer, payer=payer)))
    asyncio.run(publish(letters.environment.kafka, letters.environment.topic("usage"), values))

    def left() -> list[Any]:
        listed = json.loads(
            letters.run("list", "--left", "--reason", "wrong_partition", "--json", "--limit", "1000")[1]
        )["rejects"]
        return [one for one in listed if one["use"]["payer"] in payers]

    until("all are rejected", lambda: len(left()) == len(payers))
    before, names = letters.usage(), [one["name"] for one in left()]
    command = "nanotally.streams.commands rejects redrive --reason wrong_partition"
    both = [letters.found.start_worker(name, command) for name in ("one", "two")]
    codes = {worker.wait() for worker in both}
    assert codes <= {0, ExitCode.UNAVAILABLE} and 0 in codes, [worker.log for worker in both]
    assert letters.run("redrive", "--reason", "wrong_partition")[2] == "0 redriven\n"
    assert letters.run("redrive", *names[:2])[2] == "0 redriven, 2 were already\n"
    assert letters.usage() == before + len(payers)
    assert {letters.came_of(name) for name in names[:3]} == {"charged"}


def test_a_redriving_that_breaks_off_has_done_nothing(letters: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    name = letters.put(event(use("cut", payer="someone")), (partition_of(b"someone", PARTITIONS) + 1) % PARTITIONS)
    before, encode = letters.usage(), codec.encode_one

    def fail(kind: str, record: Mapping[str, Any]) -> bytes:
        if kind == "Redrive":
            raise Transient("the process was killed here")  # the use is sent, its history is not
        return encode(kind, record)

    monkeypatch.setattr(codec, "encode_one", fail)
    assert letters.run("redrive", name)[0] == ExitCode.UNAVAILABLE
    monkeypatch.undo()
    assert letters.run("redrive", name)[0] == 0
    assert letters.usage() == before + 1
    assert letters.came_of(name) == "charged"


def test_what_was_no_reject_is_told_as_what_it_was(letters: Letters) -> None:
    value = event(use("fine"))
    asyncio.run(publish(letters.environment.kafka, letters.environment.topic("usage"), {HOME: [value]}))
    code, _, err = letters.run("show", f"{HOME}-0")
    assert code == ExitCode.NOT_FOUND and "neither rejected nor without a price: it is a control" in err
    assert letters.run("show", f"{HOME}-99999")[0] == ExitCode.NOT_FOUND
    assert letters.run("show", "nonsense")[0] == ExitCode.NOT_FOUND
    assert letters.run("redrive")[0] == ExitCode.USAGE


def test_the_books_balance_with_all_that_was_redriven_and_clickhouse_tells_what_is_left(
    letters: Letters, tmp_path: Path
) -> None:
    letters.put(event(use("left alone", quantity=1000, scale=3)))
    name = letters.put(event(use("summed up", quantity=1000, scale=3)))
    assert letters.run("mend", name, "--use", file(tmp_path, quantity="1"), "--note", "summed up")[0] == 0
    lectures(letters, "seminar", meter="seminar")
    letters.sum_up()
    said = letters.found.reconcile()
    assert "dead letters: each redriven once" in said and "ClickHouse redrives" in said
    clickhouse = ClickHouse(address_of(letters.environment))
    try:
        found = clickhouse.query("SELECT reason, product, records FROM rejects_left")
        mended = clickhouse.query("SELECT count() FROM redrives WHERE mended AND note = 'summed up'")
    finally:
        clickhouse.close()
    left = json.loads(letters.run("list", "--left", "--json", "--limit", "1000")[1])
    no_price = json.loads(letters.run("list", "--unpriced", "--json")[1])
    expected = Counter((one["reason"], one["use"].get("product", "")) for one in left["rejects"] + no_price["rejects"])
    assert {(reason, product): n for reason, product, n in found} == expected
    assert expected["unpriced", "school"] == 1 and expected["wrong_scale", "news"] >= 1
    assert mended == [(1,)]


def test_what_retention_took_is_said_and_clickhouse_still_has_it(letters: Letters) -> None:
    asyncio.run(publish(letters.environment.kafka, letters.environment.topic("usage"), {HOME: [event(use("kept"))]}))
    name, gone = letters.put(event(use("kept", item="/another"))), letters.environment.topic("rejects")
    letters.sum_up()
    letters.found.reconcile()
    with admin.admin_client(letters.environment.kafka) as client:
        client.delete_records({TopicPartition(gone, HOME): -1})
    assert "older ones are gone from topic rejects by retention" in letters.run("list")[2]
    code, _, err = letters.run("show", name)
    assert code == ExitCode.NOT_FOUND and "the oldest records are gone by retention" in err
    asked = err[err.index("SELECT") :].strip()
    clickhouse = ClickHouse(address_of(letters.environment))
    try:
        ((reason, _, _, value),) = clickhouse.query(asked)
    finally:
        clickhouse.close()
    assert reason == "conflict" and codec.decode_one(bytes.fromhex(value))[1]["event_id"] == "kept"
    letters.found.reconcile()
