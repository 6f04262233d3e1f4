"""What catalogs say of items reaches rules, splits and prices; what a use says itself goes before it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from nanotally.schemas import codec
from nanotally.streams.domain.catalog_items import CatalogIndex
from nanotally.streams.domain.catalogs import CatalogItem, CatalogVersion
from nanotally.streams.domain.keys import Interner
from nanotally.streams.domain.matching import CompiledBook
from nanotally.streams.domain.rules import Condition, Party, Rule, Split
from nanotally.streams.domain.splitting import Splits
from nanotally.streams.domain.tariff import Meter, RuleBook, Settings, TariffVersion
from nanotally.streams.domain.terms import Tier
from nanotally.streams.domain.uses import Uses

F = Fraction
NOON, EVENING = 1_800_000_000_000_000, 1_800_020_000_000_000
WRITERS = (("ana", F(3, 5)), ("bob", F(2, 5)))
SONGS_1 = CatalogVersion(
    "songs", 1, NOON, ("music",), (CatalogItem("s-1", "ana", "blue", WRITERS, "0.002"), CatalogItem("s-2", "eve"))
)
SONGS_2 = CatalogVersion("songs", 2, EVENING, ("music",), (CatalogItem("s-1", "ana", price="0.003"),))
TALES = CatalogVersion("tales", 1, 0, (), (CatalogItem("t-1", "tom", price="1"),))
PLAY = Rule("play", "play", (), (Tier(None, F(5)),), (), "life", "all")
OF_EVE = Rule("of-eve", "play", (Condition("creator", "equals", ("eve",)),), (Tier(None, F(1)),), (), "life", "all")
ALL = Split("all", (Party("platform", F(1, 10)), Party("party:{item.label}", F(1, 5)), Party("creator", None)))
TARIFF = TariffVersion("t", 1, 0, "USD", "UTC", (), (Meter("play", "play"),), (ALL,), (OF_EVE, PLAY))


def uses(*events: dict[str, Any]) -> Uses:
    values = []
    for number, fields in enumerate(events):
        event = {
            "event_id": f"e-{number}",
            "occurred_at": NOON,
            "product": "music",
            "payer": "p",
            "creator": None,
            "item": "s-1",
            "meter": "play",
            "quantity": 1,
            "scale": 0,
            "session": None,
            "duration_us": None,
            "attributes": {},
        } | fields
        values.append(codec.encode_one("UsageEvent", event))
    decoded = codec.decode("UsageEvent", values)
    n = len(values)
    return Uses(decoded.batch, np.arange(n), np.full(n, NOON), codec.event_datums(values, decoded))


def book(*catalogs: CatalogVersion) -> CompiledBook:
    return CompiledBook(RuleBook(0, Settings(), (TARIFF,), catalogs))


def matched(*events: dict[str, Any], catalogs: tuple[CatalogVersion, ...] = (SONGS_1, SONGS_2, TALES)) -> Uses:
    out = uses(*events)
    book(*catalogs).match(out)
    return out


def test_creator_and_label_come_from_the_version_in_force_when_the_use_happened() -> None:
    told = matched({}, {"item": "s-2"}, {"occurred_at": EVENING}, {"occurred_at": NOON - 1}, {"item": "t-1"})
    assert told.text("creator").to_pylist() == ["ana", "eve", "ana", None, "tom"]
    assert told.text("item.label").to_pylist() == ["blue", None, None, None, None]
    assert told.found is not None
    rows = np.arange(5)
    assert told.found.prices(rows) == [F(2, 1000), None, F(3, 1000), None, F(1)]
    assert told.found.names(rows).to_pylist() == ["songs v1", "songs v1", "songs v2", "", "tales v1"]
    assert told.found.written.tolist() == [0, -1, -1, -1, -1]


def test_what_the_use_says_itself_goes_before() -> None:
    told = matched({"creator": "zoe", "attributes": {"item.label": "red"}})
    assert told.text("creator").to_pylist() == ["zoe"]
    assert told.text("item.label").to_pylist() == ["red"]
    assert told.found is not None and told.found.written.tolist() == [-1]
    assert told.found.prices(np.arange(1)) == [F(2, 1000)]


def test_a_catalog_is_for_its_products_only() -> None:
    assert matched({"product": "news"}).text("creator").to_pylist() == [None]
    assert matched({"product": "news", "item": "t-1"}).text("creator").to_pylist() == ["tom"]


def test_rules_ask_for_the_creator_that_the_catalog_tells() -> None:
    assert book(SONGS_1).match(uses({}, {"item": "s-2"}, {"item": "s-2", "creator": "ana"})).tolist() == [1, 0, 1]
    assert book().match(uses({"item": "s-2"})).tolist() == [1]


def test_writers_divide_what_the_creator_gets() -> None:
    told = uses({}, {"creator": "zoe"}, {"item": "s-2"}, {"product": "news"})
    compiled = book(SONGS_1)
    compiled.match(told)
    splits = Splits(Interner())
    rule = compiled.rules[1]
    resolved = splits.resolve_uses(rule, told, np.arange(4))
    parties = [{p.account: p.fraction for p in splits.parties[n]} for n in resolved.tolist()]
    assert parties == [
        {"party:blue": F(1, 5), "platform": F(1, 10), "creator:ana": F(21, 50), "creator:bob": F(7, 25)},
        {"party:blue": F(1, 5), "platform": F(1, 10), "creator:zoe": F(7, 10)},
        {"platform": F(3, 10), "creator:eve": F(7, 10)},
        {"platform": F(1)},
    ]


def test_uses_matched_by_a_book_without_catalogs_say_only_what_they_say() -> None:
    told = matched({})
    book().match(told)
    assert told.found is None and told.text("creator").to_pylist() == [None]


@pytest.mark.parametrize("catalogs", [(SONGS_2, TALES, SONGS_1), (TALES, SONGS_1, SONGS_2)])
def test_the_order_of_the_catalogs_does_not_matter(catalogs: tuple[CatalogVersion, ...]) -> None:
    told = matched({}, {"occurred_at": EVENING}, catalogs=catalogs)
    assert told.found is not None
    assert told.found.names(np.arange(2)).to_pylist() == ["songs v1", "songs v2"]


def test_each_distinct_item_is_looked_up_once() -> None:
    class Counting(dict[str, int]):
        asked = 0

        def __contains__(self, key: object) -> bool:
            Counting.asked += 1
            return super().__contains__(key)

    index = CatalogIndex((SONGS_1,))
    told = uses(*[{"item": f"s-{i % 2 + 1}"} for i in range(100)])
    index._tables[0, "music"] = [Counting({"s-1": 0, "s-2": 1})]
    index.find(told.column("product"), told.column("item"), told.column("creator"), told.occurred_at_us)
    assert Counting.asked == 2
