"""The publisher: whatever is wrong with a use is said at the call; what leaves is exactly what was said."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from nanotally.schemas import codec
from nanotally.streams import Publisher
from nanotally.streams.domain.tariff import Meter, RuleBook, Settings, TariffVersion
from nanotally.streams.errors import InvalidInput, NotFound, Transient
from nanotally.streams.publisher_bulk import DeliveryFailed
from nanotally.streams.publisher_receipts import Found
from nanotally.streams.publisher_uses import InvalidUse
from tests.support.publishing import MEDIA, SENSORS, STANDARD, MemoryBroker


def publisher(broker: MemoryBroker, **more: Any) -> Publisher:
    return Publisher("nowhere:1", product="news", connect=broker, **more)


def use(broker: MemoryBroker, meter: str = "page.view", **fields: Any) -> dict[str, Any]:
    with publisher(broker) as nano:
        nano.use(meter, **{"payer": "p-7f3a", "item": "/blog/faust"} | fields)
    return broker.event()


def refusal(meter: str = "page.view", **fields: Any) -> str:
    broker = MemoryBroker()
    with pytest.raises(InvalidUse) as said, publisher(broker) as nano:
        nano.use(meter, **{"payer": "p-7f3a", "item": "/blog/faust"} | fields)
    assert not broker.sent
    return str(said.value)


def test_a_use_leaves_as_an_event_of_the_contract_keyed_by_its_payer() -> None:
    broker, at = MemoryBroker(), datetime(2026, 11, 6, 12, 0, 0, 123456, tzinfo=UTC)
    event = use(broker, creator="ana", event_id="e-1", occurred_at=at, duration_s="12.5", segment="school", feature="a")
    assert broker.sent[0][0] == b"p-7f3a"
    assert event == {
        "event_id": "e-1",
        "occurred_at": 1_793_966_400_123_456,
        "product": "news",
        "payer": "p-7f3a",
        "creator": "ana",
        "item": "/blog/faust",
        "meter": "page.view",
        "quantity": 1,
        "scale": 0,
        "session": None,
        "duration_us": 12_500_000,
        "attributes": {"feature": "a", "segment": "school"},
    }
    assert list(event["attributes"]) == ["feature", "segment"]


def test_the_same_use_gives_the_same_bytes_whatever_the_order_of_its_attributes() -> None:
    broker, at = MemoryBroker(), datetime(2026, 11, 6, tzinfo=UTC)
    use(broker, event_id="e", occurred_at=at, b="2", a="1")
    use(broker, event_id="e", occurred_at=at, a="1", b="2")
    assert broker.sent[0] == broker.sent[1]


def test_the_bytes_are_those_of_the_columnar_codec() -> None:
    broker = MemoryBroker()
    use(broker, creator="ana", feature="x")
    decoded = codec.decode("UsageEvent", [broker.sent[0][1]])
    assert not decoded.bad
    assert codec.encode("UsageEvent", decoded.batch) == [broker.sent[0][1]]


def test_a_use_without_id_gets_one_of_its_own() -> None:
    broker = MemoryBroker()
    assert uuid.UUID(use(broker)["event_id"]).version == 4
    assert use(broker)["event_id"] != broker.event(0)["event_id"]


def test_time_zones_are_brought_to_utc() -> None:
    at = datetime(2026, 11, 6, 13, tzinfo=timezone(timedelta(hours=1)))
    assert use(MemoryBroker(), occurred_at=at)["occurred_at"] == 1_793_966_400_000_000


@pytest.mark.parametrize(
    ("quantity", "unscaled"),
    [("12.5", 12_500), (12, 12_000), (Decimal("0.001"), 1), ("1e1", 10_000), ("12.5000", 12_500)],
)
def test_a_quantity_is_exact_in_the_meters_scale(quantity: Any, unscaled: int) -> None:
    event = use(MemoryBroker(), "play", quantity=quantity, session="s-1")
    assert (event["quantity"], event["scale"]) == (unscaled, 3)


def test_a_float_is_no_quantity() -> None:
    with pytest.raises(
        TypeError, match=r"quantity is a float: give it as text, int or Decimal, as in quantity='12\.5'"
    ):
        use(MemoryBroker(), quantity=0.5)
    with pytest.raises(TypeError, match="bool"):
        use(MemoryBroker(), quantity=True)
    with pytest.raises(TypeError, match="attribute max_price is a float"):
        use(MemoryBroker(), max_price=0.01)


def test_a_misspelt_meter_fails_at_the_call_with_the_nearest_name() -> None:
    assert refusal("page.veiw") == "'page.veiw' is no meter of any tariff in force; did you mean 'page.view'?"
    assert refusal("zzz") == "'zzz' is no meter of any tariff in force; there are: page.view, play, reading"


def test_a_meter_of_another_products_tariff_fails_at_the_call() -> None:
    said = "'reading' is no meter of tariff media, to which product 'news' belongs; its meters: page.view, play"
    assert refusal("reading") == said


def test_a_product_without_tariff_fails_at_the_call() -> None:
    broker = MemoryBroker()
    with pytest.raises(InvalidUse, match=r"product 'nwes' belongs to no tariff in force; did you mean 'news'\?"):
        Publisher("nowhere:1", product="nwes", connect=broker).use("page.view", payer="p", item="i")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"meter": "play", "quantity": "12.3456"}, "12.3456 s is finer than meter play allows (3 places)"),
        ({"quantity": "0.5"}, "0.5 page is finer than meter page.view allows (no places)"),
        ({"quantity": "-1"}, "quantity '-1' is negative"),
        ({"quantity": "1,5"}, "quantity '1,5' is not a decimal number; write it as in '12.5'"),
        ({"quantity": "nan"}, "quantity 'nan' is not a decimal number"),
        ({"quantity": "٣"}, "is not a decimal number"),
        ({"quantity": "9" * 50}, "is a number of more than 40 digits"),
        ({"quantity": 10**15 + 1}, "is more than one use can have (1000000000000000 page)"),
        ({"quantity": 10**5000}, "quantity a huge number is a number of more than 40 digits"),
        ({"payer": ""}, "payer is empty"),
        ({"payer": None}, "payer is missing"),
        ({"payer": 7}, "payer is 7, not a text"),
        ({"payer": "p" * 257}, "has 257 bytes, at most 256 are allowed"),
        ({"payer": "é" * 129}, "has 258 bytes, at most 256 are allowed"),
        ({"payer": "\ud800"}, "is no text that UTF-8 can write"),
        ({"item": "i" * 1025}, "has 1,025 bytes, at most 1,024 are allowed"),
        ({"event_id": ""}, "event_id is empty"),
        ({"creator": ""}, "creator is empty"),
        ({"occurred_at": datetime(2026, 1, 1)}, "has no time zone; add one, as in tzinfo=UTC"),
        ({"occurred_at": "2026-01-01"}, "occurred_at is '2026-01-01', not a datetime"),
        ({"occurred_at": datetime(1970, 1, 1, tzinfo=UTC)}, "is not between 2000 and 2199"),
        ({"meter": "play"}, "meter play needs session; give session=..."),
        ({"duration_s": -1}, "duration_s -1 is no duration in seconds"),
        ({"max_price": "cheap"}, "max_price 'cheap' is no price in currency units"),
        ({"note": "x" * 1025}, "note 'xxx"),
        ({f"a{i}": "x" for i in range(65)}, "65 attributes, at most 64 are allowed"),
    ],
)
def test_what_cannot_be_used_fails_at_the_call(fields: dict[str, Any], said: str) -> None:
    assert said in refusal(**{"meter": "page.view"} | fields)


def test_without_a_rule_book_the_remedy_is_named() -> None:
    with pytest.raises(NotFound, match="nanotally tariff publish FILE"):
        use(MemoryBroker(book=None))


def test_a_meter_of_a_newer_book_is_found_without_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = MemoryBroker()
    nano = publisher(broker)
    nano.use("page.view", payer="p", item="i")
    tip = TariffVersion("media", 4, 0, "USD", "UTC", ("news",), (*MEDIA.meters, Meter("tip", "tip")), (STANDARD,), ())
    broker.book = RuleBook(8, Settings(), (tip, SENSORS))
    with pytest.raises(InvalidUse):
        nano.use("tip", payer="p", item="i")  # read a moment ago: not asked for again yet
    monkeypatch.setattr("nanotally.streams.publisher.BOOK_AGE_MIN_S", 0.0)
    nano.use("tip", payer="p", item="i")
    assert broker.event()["meter"] == "tip"


def test_the_book_is_read_once_for_many_uses() -> None:
    broker = MemoryBroker()
    with publisher(broker) as nano:
        for _ in range(10):
            nano.use("page.view", payer="p", item="i")
    assert broker.books_read == 1


def test_payers_leave_as_keyed_pseudonyms() -> None:
    key, broker = b"0123456789abcdef", MemoryBroker()
    with publisher(broker, pseudonym_key=key) as nano:
        taken = nano.use("page.view", payer="ana@example.org", item="i")
    expected = hmac.new(key, b"ana@example.org", hashlib.sha256).hexdigest()[:32]
    assert (broker.event()["payer"], broker.sent[0][0], taken.payer) == (expected, expected.encode(), expected)


def test_a_pseudonym_key_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(InvalidInput, match="has 4 bytes, at least 16 are needed"):
        Publisher("nowhere:1", product="news", pseudonym_key=b"salt")


def test_uses_that_did_not_arrive_are_named_at_the_end() -> None:
    broker = MemoryBroker()
    with pytest.raises(DeliveryFailed, match=r"2 uses were not delivered \(e-1, e-2\): no answer") as failed:  # noqa: SIM117
        with publisher(broker) as nano:
            nano.use("page.view", payer="p", item="i", event_id="e-1")
            broker.undelivered = ("e-1", "e-2")
    assert failed.value.event_ids == ("e-1", "e-2")
    assert broker.closed


def test_an_error_of_the_caller_is_not_hidden_by_one_of_delivery() -> None:
    broker = MemoryBroker()
    with pytest.raises(KeyError) as error, publisher(broker) as nano:
        nano.use("page.view", payer="p", item="i")
        broker.undelivered = ("e-1",)
        raise KeyError("mine")
    assert "1 uses were not delivered" in error.value.__notes__[0]


def test_many_uses_leave_in_order_and_those_that_cannot_be_used_are_told_by_their_place() -> None:
    broker = MemoryBroker()
    refused: list[tuple[int, str]] = []
    progress: list[int] = []
    uses = [
        {"meter": "page.view", "payer": f"p-{i}", "item": "i", "quantity": "0.5" if i == 2 else "1"} for i in range(4)
    ]
    with publisher(broker) as nano:
        sent = nano.publish_batch(uses, lambda place, error: refused.append((place, str(error))), progress.append)
    assert [broker.event(i)["payer"] for i in range(3)] == ["p-0", "p-1", "p-3"]
    assert (sent, progress) == (3, [3])
    assert refused == [(2, "0.5 page is finer than meter page.view allows (no places)")]


def test_without_anybody_to_tell_the_first_use_that_cannot_be_used_is_raised() -> None:
    broker = MemoryBroker()
    with pytest.raises(InvalidUse, match="payer is missing"), publisher(broker) as nano:
        nano.publish_batch([{"meter": "page.view", "payer": "p", "item": "i"}, {"meter": "page.view", "item": "i"}])
    assert len(broker.sent) == 1


def test_nothing_connects_before_the_first_use() -> None:
    def connect(*_: Any) -> MemoryBroker:
        raise AssertionError("connected")

    with Publisher("nowhere:1", product="news", connect=connect):
        pass


def charged(paid: int, before: int, shares: list[tuple[str, int]], under: str | None = None) -> Found:
    line = {
        "rule": "article",
        "version": 3,
        "tariff_hash": MEDIA.content_hash[:16],
        "scope": "day",
        "quantity_before": before,
        "quantity": 1,
        "charged_before": before * 5_000_000,
        "total_before": before * 5_000_000,
        "remainder_before": 0,
        "total_after": before * 5_000_000 + paid,
        "remainder_after": 0,
        "remainder_den": 1,
        "amount_nanos": paid,
        "paid_nanos": paid,
        "pass": under,
        "variant": "",
        "uses_before": 0,
        "over_before": 0,
        "over_after": 0,
        "minimum_nanos": 0,
        "catalog": "",
        "shares": [{"account": account, "nanos": nanos} for account, nanos in shares],
    }
    return Found(
        charges=[{"outcome": "charged", "reason": "", "paid_nanos": paid, "currency": "USD", "lines": [line], "n": 0}]
    )


def receipt(found: Found | None) -> str:
    broker = MemoryBroker()
    broker.found = found
    with publisher(broker) as nano:
        return str(nano.charge(nano.use("page.view", payer="p", item="i", event_id="e-1"), timeout_s=2))


def test_a_charge_reads_with_the_creators_share_first() -> None:
    found = charged(5_000_000, 0, [("platform", 500_000), ("creator:ana", 4_500_000)])
    assert receipt(found) == "0.005 USD · article v3 · ana 0.0045 · platform 0.0005"


def test_a_charge_under_a_pass_says_that_it_is_shared_out_later() -> None:
    found = charged(5_000_000, 0, [("pool:media/day", 5_000_000)], under="day")
    assert receipt(found) == "0.005 USD · article v3 · by pass day, shared out when it ends · media/day 0.005"


def test_a_free_charge_says_why() -> None:
    found = charged(0, 1, [("platform", 0), ("creator:ana", 0)])
    assert receipt(found) == "0 USD · article v3 · free: counted already in this day"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Found(duplicate=True), "not charged: duplicate · this use was taken before, once"),
        (
            Found(reject={"reason": "future", "detail": "check the clock"}),
            "not charged: rejected · future · check the clock",
        ),
        (
            Found(charges=[{"outcome": "refused", "reason": "max_price", "lines": []}]),
            "not charged: refused · max_price · the tariff asks more than the use's max_price",
        ),
        (
            Found(charges=[{"outcome": "unpriced", "reason": "no_rule", "lines": []}]),
            "not charged: unpriced · no_rule · no rule of the tariff matches; the use is kept and can be priced later",
        ),
    ],
)
def test_what_was_not_charged_says_why(found: Found, text: str) -> None:
    assert receipt(found) == text


def test_a_use_that_nobody_rates_in_time_is_told_with_its_place() -> None:
    with pytest.raises(Transient, match=r"recorded as 2-1001 but was not rated within 2 s; are the workers running\?"):
        receipt(None)
