"""explain of uses that found no price, by place and by event id, from the ledger and from ClickHouse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from nanotally.schemas import codec
from nanotally.streams.commands import charge_sources
from nanotally.streams.domain.keys import partition_of
from nanotally.streams.errors import ExitCode, Transient
from nanotally.streams.installation import CARRIED, MOVING, Installation
from nanotally.streams.tariffs.publishing import Publication, activate, publish_book
from nanotally.streams.tariffs.reader import read_tariff
from tests.bench.installation import now_us
from tests.support.installed import Installed, installed, until
from tests.support.services import Addresses
from tests.support.topics import publish

pytestmark = pytest.mark.slow

PAYER = "ana"
HOME = partition_of(PAYER.encode(), 4)
SOURCES = ((), ("--ledger",))
METERS = {"charged": "lecture", "mended": "lecture", "tried": "seminar", "left": "seminar"}
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


def use(event_id: str, meter: str) -> bytes:
    return codec.encode_one(
        "UsageEvent",
        {
            "event_id": event_id, "occurred_at": now_us() - 10_000_000, "product": "school", "payer": PAYER,
            "creator": None, "item": "/a", "meter": meter, "quantity": 1, "scale": 0, "session": None,
            "duration_us": None, "attributes": {},
        },
    )  # fmt: skip


def say(found: Installed, *arguments: str) -> str:
    """What a command says; it must go well."""
    code, out, err = found.run(*arguments)
    assert code == ExitCode.OK, out + err
    return out


def listed(found: Installed) -> dict[str, str]:
    """Names of uses without a price that are left, by event id."""
    rejects = json.loads(say(found, "rejects", "list", "--unpriced", "--json"))["rejects"]
    return {one["use"]["event_id"]: one["name"] for one in rejects}


@pytest.fixture(scope="module")
def world(services: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installed, dict[str, str]]]:
    """Four uses that found no price, and what was done about three of them; their names by event id."""
    folder = tmp_path_factory.mktemp("explain")
    with installed(services, folder) as found:
        environment = found.environment
        for stage in ("payers", "accounts", "sink"):
            found.start(stage, stage)
        values = [use(*one) for one in METERS.items()]
        asyncio.run(publish(environment.kafka, environment.topic("usage"), {HOME: values}))
        until("they are taken", lambda: len(listed(found)) == len(METERS))
        names = listed(found)
        right = folder / "right.json"
        right.write_text(json.dumps({"product": "news", "meter": "page.view", "creator": "cleo"}))
        say(found, "rejects", "mend", names["mended"], "--use", str(right))
        say(found, "rejects", "redrive", names["tried"])
        publication = Publication([read_tariff(LATER)], lead_us=None)
        book = publish_book(environment.kafka, environment.prefix, publication, now_us())
        activate(environment.kafka, environment.prefix, book)
        say(found, "rejects", "redrive", names["charged"])
        found.reconcile()  # all is taken, and in ClickHouse
        yield found, names


@pytest.mark.parametrize("source", SOURCES, ids=["clickhouse", "ledger"])
def test_a_use_that_was_redriven_is_explained_with_its_later_charge(
    world: tuple[Installed, dict[str, str]], source: tuple[str, ...]
) -> None:
    found, names = world
    told = json.loads(say(found, "explain", names["charged"], "--json", *source))
    assert (told["outcome"], told["reason"], told["amount"]) == ("unpriced", "unknown_meter", "0")
    later = told["later"]
    assert (later["state"], later["outcome"], later["amount"]) == ("redriven", "charged", "0.25")
    said = say(found, "explain", names["charged"], *source)
    assert f"redriven at {later['at']}: charged 0.250000000 USD; nanotally explain {later['name']}" in said
    again = json.loads(say(found, "explain", later["name"], "--json", *source))
    assert again["redriven"] == {"from": names["charged"], "at": later["at"]}
    assert again["later"] is None
    by_id = json.loads(say(found, "explain", "charged", "--json", *source))
    assert by_id["charge"] == later["name"]


@pytest.mark.parametrize("source", SOURCES, ids=["clickhouse", "ledger"])
@pytest.mark.parametrize("by_name", [True, False])
def test_a_use_that_is_left_is_explained_with_what_to_do(
    world: tuple[Installed, dict[str, str]], source: tuple[str, ...], by_name: bool
) -> None:
    found, names = world
    told: dict[str, Any] = {}
    for event_id, name in names.items():
        if event_id != "charged":
            asked = name if by_name else event_id
            told[event_id] = json.loads(say(found, "explain", asked, "--json", *source))["later"]
    assert {event_id: later["state"] for event_id, later in told.items()} == {
        "mended": "mended",
        "tried": "unpriced",
        "left": "unpriced",
    }
    shown = {one: json.loads(say(found, "rejects", "show", names[one], "--json")) for one in told}
    assert {one: later["name"] for one, later in told.items()} == {one: shown[one]["redriven_to"] for one in told}
    assert told["tried"]["remedy"] == f"nanotally rejects redrive {names['tried']}"
    said = say(found, "explain", names["left"], *source)
    assert said.splitlines()[-3:] == [
        "  unpriced: the product's tariff has no such meter",
        "  still without a price",
        f"  once a tariff has a price for it: nanotally rejects redrive {names['left']}",
    ]
    assert f"(as {told['tried']['name']}); nanotally rejects show" in say(found, "explain", names["tried"], *source)


@pytest.mark.parametrize("source", SOURCES, ids=["clickhouse", "ledger"])
def test_a_later_charge_without_history_is_found_too(
    world: tuple[Installed, dict[str, str]], source: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, names = world

    async def nothing(_: object) -> dict[Any, Any]:
        return {}

    monkeypatch.setattr("nanotally.streams.commands.explain_later.history", nothing)
    monkeypatch.setattr("nanotally.streams.commands.explain_later.steps_of", lambda *_: [])
    assert json.loads(say(found, "explain", names["charged"], "--json", *source))["later"]["state"] == "redriven"
    assert json.loads(say(found, "explain", names["mended"], "--json", *source))["later"]["state"] == "unpriced"


def test_clickhouse_alone_says_what_it_has(
    world: tuple[Installed, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, names = world

    def away(*_: object) -> None:
        raise Transient("Kafka is away")

    monkeypatch.setattr(charge_sources, "read_books", away)
    assert "charged 0.250000000 USD; nanotally explain" in say(found, "explain", names["charged"])
    assert "Kafka does not answer" in say(found, "explain", names["left"])


def test_of_uses_that_another_installation_decides_nobody_is_told_to_redrive_them(
    world: tuple[Installed, dict[str, str]],
) -> None:
    found, names = world
    installation = Installation(found.environment.kafka, found.environment.prefix)
    installation.tell({MOVING: {"to": "wide.", "plan": {}, "controls": {}, "done": True}})
    for source in SOURCES:
        assert "moved to 'wide.': the use is decided there" in say(found, "explain", names["left"], *source)
    installation.tell({CARRIED: {str(HOME): 1_000_000}})
    for source in SOURCES:
        assert "known here from the installation that this one follows" in say(found, "explain", "left", *source)
