"""Each view and each query over one small ledger, worked out by hand.

hour      12          13          14   ...  23      | next day 00      10
p-1       e-1 0.005   e-2 late (occurred 12:59:59)  |            e-6 0.000000007
          e-3 unpriced, e-4 free, e-5 refused       |
p-2                   minimum 0.000001 (13:59:59.999999)
          e-7 play 12.5 s: occurred 23:59:59.5, late, booked next day at 00:00:00
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from nanotally.sinks.answers import (
    AccountEarnings,
    EarningDay,
    Outcome,
    PayoutRow,
    Period,
    StatementLine,
    TopCreator,
    TopItem,
)
from nanotally.sinks.charge_query import charge_of_use, charges_of_event
from nanotally.sinks.client import Address, ClickHouse
from nanotally.sinks.migrate import migrate, reverse
from nanotally.sinks.queries import Queries, asking
from nanotally.sinks.reconcile_queries import Sums, ledger_sums, topic_sums, written
from nanotally.streams.domain.records import LONG_AGO, NO_END
from tests.support.services import ClickHouseAddress
from tests.support.sink_records import (
    DAY_US,
    HOUR_US,
    NOON_US,
    charge,
    chunk,
    control_taken,
    event,
    line,
    payout,
    reject,
    rule_book,
    share,
    statement,
    tally,
)
from tests.support.sunk import rows, sink

Record = tuple[str, dict[str, Any]]

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "clickhouse.md"

NOON = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=NOON_US)
DAY = NOON.replace(hour=0)
TODAY, TOMORROW = DAY.date(), (DAY + timedelta(days=1)).date()
HOUR = timedelta(hours=1)
UNTIL = NOON + timedelta(days=1)
MIDNIGHT_US = NOON_US + 12 * HOUR_US


def d(text: str) -> Decimal:
    return Decimal(text)


def page() -> dict[str, Any]:
    return line(5_000_000, [share("platform", 500_000, 1, 10), share("creator:ana", 4_500_000, 9, 10)])


def reader(n: int, **changes: Any) -> dict[str, Any]:
    return event(n, item="/a", attributes={"feature": "reader"}, **changes)


FIRST: list[Record] = [
    ("ControlTaken", control_taken()),
    ("Charge", charge(1, [page()], event=reader(1))),
    (
        "Charge",
        charge(
            2,
            [page()],
            event=reader(2, occurred_at=NOON_US + HOUR_US - 1_000_000),
            booked_at=NOON_US + HOUR_US,
            late=True,
        ),
    ),
    ("Charge", charge(3, event=event(3, meter="page.veiw"), outcome="unpriced", reason="unknown_meter", currency="")),
    ("Charge", charge(4, [line(0, [share("platform", 0), share("creator:ana", 0)])], event=reader(4))),
    ("Charge", charge(5, event=event(5), outcome="refused", reason="max_price")),
    (
        "Charge",
        charge(
            6,
            [line(7, [share("platform", 0), share("creator:ana", 7)], scope="life", scope_end=NO_END)],
            event=reader(6, occurred_at=NOON_US + 22 * HOUR_US),
        ),
    ),
    (
        "Chunk",
        chunk(
            next_offset=9,
            watermark_us=NOON_US + DAY_US + 5,
            closed_to_us=MIDNIGHT_US,
            duplicates=[7, 8],
            counts={"charged": 4, "rows.charges": 7, "rows.statements": 1, "rows.payer_tallies": 1},
            sums={"paid.USD": "10000007"},
        ),
    ),
]
PLAY = event(
    7,
    payer="p-2",
    creator="bob",
    product="music",
    item="song",
    meter="play",
    quantity=12_500,
    scale=3,
    session="s-19",
    duration_us=12_500_000,
    occurred_at=MIDNIGHT_US - 500_000,
)
PLAY_LINE = line(
    250_000,
    [share("platform", 25_000, 1, 10), share("party:label", 37_500, 3, 20), share("creator:bob", 187_500, 3, 4)],
    rule="song",
    quantity=12_500,
)
MINIMUM = charge(
    0,
    [line(1_000, link="minimum")],
    event=None,
    payer="p-2",
    outcome="due",
    reason="minimum",
    usage_partition=1,
    usage_offset=7,
    booked_at=NOON_US + 2 * HOUR_US - 1,
)
SECOND: list[Record] = [
    ("Charge", MINIMUM),
    ("Charge", charge(7, [PLAY_LINE], event=PLAY, n=1, usage_partition=1, booked_at=MIDNIGHT_US, late=True)),
    ("Chunk", chunk(input_partition=1, watermark_us=NOON_US + DAY_US, closed_to_us=MIDNIGHT_US)),
]


@pytest.fixture(scope="module")
def address(clickhouse: ClickHouseAddress) -> Any:
    """One database for all tests here: they only read."""
    from tests.support.services import drop_database, fresh_database

    database = fresh_database()
    migrate(clickhouse.native, database)
    made = Address(clickhouse.native, database, http=clickhouse.http)
    sink(made, "charges", FIRST, partitions=2)
    sink(made, "charges", SECOND, partition=1, partitions=2)
    day = tally(size="day", window_start=NOON_US - 12 * HOUR_US, window_end=MIDNIGHT_US, count=3, quantity="3")
    sink(made, "payer_tallies", [("Tally", day)], partitions=2)
    sink(made, "statements", [("Statement", statement(count=3))], partitions=2)
    sink(made, "rejects", [("Reject", reject()), ("Reject", reject(reason="future", offset=10))], partitions=2)
    sink(made, "account_tallies", [("Tally", tally(account="creator:ana")), ("Chunk", chunk(stage="accounts"))])
    sink(made, "payouts", [("Payout", payout())])
    sink(made, "books", [("RuleBook", rule_book()), ("RuleBook", rule_book(note="second"))])
    yield made
    drop_database(clickhouse, database)


@pytest.fixture
def ask(address: Address) -> Any:
    queries = Queries(address)
    yield queries
    queries.close()


@pytest.fixture
def clickhouse_of(address: Address) -> Any:
    clickhouse = ClickHouse(address)
    yield clickhouse
    clickhouse.close()


# ---- views ----


def test_items_of_catalogs_stand_in_rows(address: Address) -> None:
    found = rows(address, "SELECT * FROM catalog_items ORDER BY item")
    assert found == [
        ("songs", 3, NOON, "a", "ana", "blue", [], "0.002", 0),
        ("songs", 3, NOON, "b", "", "", [("ana", "3/5"), ("bob", "2/5")], "", 0),
    ]


def test_revenue_by_hour_is_by_the_time_of_booking(address: Address) -> None:
    found = rows(address, "SELECT * FROM revenue_by_hour ORDER BY hour, product")
    assert found == [
        (NOON, "news", "reader", "page.view", "USD", 2, d("2"), d("0.005"), UNTIL),
        (NOON + HOUR, "", "", "", "USD", 0, d("0"), d("0.000001"), UNTIL),
        (NOON + HOUR, "news", "reader", "page.view", "USD", 1, d("1"), d("0.005"), UNTIL),
        (NOON + 12 * HOUR, "music", "", "play", "USD", 1, d("12.5"), d("0.00025"), UNTIL),
        (NOON + 22 * HOUR, "news", "reader", "page.view", "USD", 1, d("1"), d("0.000000007"), UNTIL),
    ]


def test_revenue_by_hour_occurred_moves_late_uses_to_their_own_hour(address: Address) -> None:
    found = rows(address, "SELECT hour, product, uses, used, paid FROM revenue_by_hour_occurred ORDER BY hour, product")
    assert found == [
        (NOON, "news", 3, d("3"), d("0.01")),
        (NOON + HOUR, "", 0, d("0"), d("0.000001")),
        (NOON + 11 * HOUR, "music", 1, d("12.5"), d("0.00025")),
        (NOON + 22 * HOUR, "news", 1, d("1"), d("0.000000007")),
    ]


def test_revenue_by_feature_and_by_product(address: Address) -> None:
    assert rows(address, "SELECT * FROM revenue_by_feature ORDER BY feature") == [
        ("", "USD", 1, d("0.000251"), UNTIL),
        ("reader", "USD", 4, d("0.010000007"), UNTIL),
    ]
    assert rows(address, "SELECT * FROM revenue_by_product ORDER BY product") == [
        ("", "USD", 0, d("0.000001"), UNTIL),
        ("music", "USD", 1, d("0.00025"), UNTIL),
        ("news", "USD", 4, d("0.010000007"), UNTIL),
    ]


def test_revenue_by_item_by_either_time(address: Address) -> None:
    asked = "SELECT hour, item, uses, used, paid, complete_until FROM {view} WHERE item != '' ORDER BY hour, item"
    assert rows(address, asked.replace("{view}", "revenue_by_item")) == [
        (NOON, "/a", 2, d("2"), d("0.005"), UNTIL),
        (NOON + HOUR, "/a", 1, d("1"), d("0.005"), UNTIL),
        (NOON + 12 * HOUR, "song", 1, d("12.5"), d("0.00025"), UNTIL),
        (NOON + 22 * HOUR, "/a", 1, d("1"), d("0.000000007"), UNTIL),
    ]
    assert rows(address, asked.replace("{view}", "revenue_by_item_occurred")) == [
        (NOON, "/a", 3, d("3"), d("0.01"), UNTIL),
        (NOON + 11 * HOUR, "song", 1, d("12.5"), d("0.00025"), UNTIL),
        (NOON + 22 * HOUR, "/a", 1, d("1"), d("0.000000007"), UNTIL),
    ]


def test_earnings_by_day_by_either_time(address: Address) -> None:
    asked = "SELECT * FROM {view} ORDER BY day, account"
    first = [
        (TODAY, "creator:ana", "USD", 3, d("0.01"), d("0.009"), UNTIL),
        (TODAY, "platform", "USD", 3, d("0.010001"), d("0.001001"), UNTIL),
    ]
    assert rows(address, asked.replace("{view}", "earnings_by_day")) == [
        *first,
        (TOMORROW, "creator:ana", "USD", 1, d("0.000000007"), d("0.000000007"), UNTIL),
        (TOMORROW, "creator:bob", "USD", 1, d("0.00025"), d("0.0001875"), UNTIL),
        (TOMORROW, "party:label", "USD", 1, d("0.00025"), d("0.0000375"), UNTIL),
        (TOMORROW, "platform", "USD", 2, d("0.000250007"), d("0.000025"), UNTIL),
    ]
    assert rows(address, asked.replace("{view}", "earnings_by_day_occurred"))[:4] == [
        first[0],
        (TODAY, "creator:bob", "USD", 1, d("0.00025"), d("0.0001875"), UNTIL),
        (TODAY, "party:label", "USD", 1, d("0.00025"), d("0.0000375"), UNTIL),
        (TODAY, "platform", "USD", 4, d("0.010251"), d("0.001026"), UNTIL),
    ]


def test_an_account_with_shares_in_two_lines_counts_the_use_once(clickhouse: ClickHouseAddress, database: str) -> None:
    migrate(clickhouse.native, database)
    address = Address(clickhouse.native, database, http=clickhouse.http)
    lines = [line(10, [share("creator:ana", 4), share("platform", 6)]), line(5, [share("creator:ana", 5)])]
    sink(address, "charges", [("Charge", charge(0, lines))])
    assert rows(address, "SELECT account, uses, gross, earned FROM earnings_by_day ORDER BY account") == [
        ("creator:ana", 1, d("0.000000015"), d("0.000000009")),
        ("platform", 1, d("0.000000015"), d("0.000000006")),
    ]
    with asking(address) as ask:
        assert ask.earnings("creator:ana").days == (EarningDay(TODAY, "USD", 1, d("0.000000015"), d("0.000000009")),)


def test_outcomes_by_hour_product_and_reason(address: Address) -> None:
    assert rows(address, "SELECT * FROM outcomes ORDER BY hour, outcome, product, reason") == [
        (NOON, "news", "charged", "", 2, 1, UNTIL),
        (NOON, "news", "refused", "max_price", 1, 0, UNTIL),
        (NOON, "", "rejected", "future", 1, 0, UNTIL),
        (NOON, "", "rejected", "malformed", 1, 0, UNTIL),
        (NOON, "news", "unpriced", "unknown_meter", 1, 0, UNTIL),
        (NOON + HOUR, "news", "charged", "", 1, 0, UNTIL),
        (NOON + HOUR, "", "due", "minimum", 1, 0, UNTIL),
        (NOON + 12 * HOUR, "music", "charged", "", 1, 0, UNTIL),
        (NOON + 22 * HOUR, "news", "charged", "", 1, 0, UNTIL),
        (NOON + 24 * HOUR, "", "duplicate", "", 2, 0, UNTIL),
    ]


def test_unpriced_uses_are_left_until_they_are_redriven(clickhouse: ClickHouseAddress, database: str) -> None:
    migrate(clickhouse.native, database)
    address = Address(clickhouse.native, database, http=clickhouse.http)
    unpriced = {"outcome": "unpriced", "reason": "no_rule", "currency": ""}
    refused = {"outcome": "refused", "reason": "max_price", "flags": "redrive:2"}
    records: list[Record] = [("Charge", charge(n, event=event(n), **unpriced)) for n in range(5)]
    records += [
        ("Charge", charge(5, [page()], event=event(0), flags="late_version redrive:0", recorded_at=NOON_US + HOUR_US)),
        ("Charge", charge(6, event=event(2), **refused)),
        ("Charge", charge(7, [page()], event=event(31), flags="redrive:31")),  # of another partition's, were it one
        ("Chunk", chunk(next_offset=8, counts={"unpriced": 5, "charged": 2, "refused": 1, "redriven": 3})),
    ]
    sink(address, "charges", records)
    left = "SELECT charge, payer, product, meter, reason, used FROM unpriced_left ORDER BY charge"
    assert rows(address, left) == [
        (name, "p-1", "news", "page.view", "no_rule", d("1")) for name in ("0-1", "0-3", "0-4")
    ]
    history = {"partition": 0, "reason": "unpriced", "to_partition": 0, "to_offset": 9, "event_id": "e", "at": NOON_US}
    sink(
        address,
        "redrives",
        [
            ("Redrive", history | {"offset": 3, "mended": True}),  # another use was made of it
            ("Redrive", history | {"offset": 4, "mended": False}),  # its control may still be on the way
        ],
    )
    assert [row[0] for row in rows(address, left)] == ["0-1", "0-4"]
    asked = "SELECT charge, before, outcome, reason, redriven_at, paid FROM redriven_uses ORDER BY charge"
    assert rows(address, asked)[:2] == [
        ("0-5", "0-0", "charged", "", NOON + HOUR, d("0.005")),
        ("0-6", "0-2", "refused", "max_price", NOON + timedelta(seconds=2, milliseconds=50), d("0")),
    ]
    assert rows(address, "SELECT sum(uses), sum(paid) FROM revenue_by_hour") == [(2, d("0.01"))]
    with asking(address) as ask:
        assert ledger_sums(ask.clickhouse, 0, 8).counts["redriven"] == 3


@pytest.mark.parametrize(
    ("note", "tariffs", "first", "left"),
    [
        ("moved from 'narrow.'", 0, 0, ["0-1", "0-2", "0-3"]),  # 0-0 was carried over
        ("settings alone", 0, 0, ["0-0", "0-1", "0-2", "0-3"]),  # a person's: it waits for the first tariff
        ("moved from 'narrow.'", 1, 0, ["0-0", "0-1", "0-2", "0-3"]),  # it has a tariff: none that `migrate` made
        ("moved from 'narrow.'", 0, 1, ["0-0", "0-1", "0-2", "0-3"]),  # nor is one that is not the first
    ],
)
def test_uses_that_were_carried_over_are_not_left(
    clickhouse: ClickHouseAddress, database: str, note: str, tariffs: int, first: int, left: list[str]
) -> None:
    migrate(clickhouse.native, database)
    address = Address(clickhouse.native, database, http=clickhouse.http)
    book = rule_book()
    carrying = ("RuleBook", {**book, "note": note, "tariffs": book["tariffs"][:tariffs]})
    sink(address, "books", [("RuleBook", {**book, "tariffs": []})] * first + [carrying, ("RuleBook", book)])
    no_tariff = {"outcome": "unpriced", "reason": "no_tariff", "currency": ""}
    records: list[Record] = [
        ("Charge", charge(0, event=event(0), book_number=first, **no_tariff)),
        ("Charge", charge(1, event=event(1), book_number=first + 1, **no_tariff)),  # of a product without a tariff
        ("Charge", charge(2, event=event(2), book_number=first, **{**no_tariff, "reason": "unknown_meter"})),
        ("Charge", charge(3, event=event(3), book_number=-1, **no_tariff)),
        ("Chunk", chunk(next_offset=4, counts={"unpriced": 4})),
    ]
    sink(address, "charges", records)
    assert [name for (name,) in rows(address, "SELECT charge FROM unpriced_left ORDER BY charge")] == left
    assert rows(address, "SELECT sum(records) FROM rejects_left") == [(len(left),)]
    reverse(clickhouse.native, database, 6)  # the views as they were
    assert len(rows(address, "SELECT charge FROM unpriced_left")) == 4
    assert rows(address, "SELECT sum(records) FROM rejects_left") == [(4,)]


def test_top_items_and_creators(address: Address) -> None:
    assert rows(address, "SELECT * FROM top_items ORDER BY rank") == [
        (1, "/a", "news", "USD", 4, d("0.010000007"), UNTIL),
        (2, "song", "music", "USD", 1, d("0.00025"), UNTIL),
    ]
    assert rows(address, "SELECT * FROM top_creators ORDER BY rank") == [
        (1, "ana", "USD", 4, d("0.010000007"), d("0.009000007"), UNTIL),
        (2, "bob", "USD", 1, d("0.00025"), d("0.0001875"), UNTIL),
    ]


def test_late_events_tell_how_late_and_where_they_were_booked(address: Address) -> None:
    asked = "SELECT charge, payer, late_s, other_hour, other_day, paid, complete_until FROM late_events ORDER BY charge"
    assert rows(address, asked) == [
        ("0-2", "p-1", d("1"), 1, 0, d("0.005"), UNTIL),
        ("1-7-1", "p-2", d("0.5"), 1, 1, d("0.00025"), UNTIL),
    ]


def test_payer_statements_closed_and_open(address: Address) -> None:
    closed = (DAY, DAY + timedelta(days=1))
    assert rows(address, "SELECT * FROM payer_statements ORDER BY payer, state") == [
        ("p-1", "closed", "day", *closed, "USD", 3, d("0.01"), "0123456789abcdef0123456789abcdef", UNTIL),
        ("p-1", "open", "", closed[1], None, "USD", 1, d("0.000000007"), "", UNTIL),
        ("p-2", "open", "", None, None, "USD", 1, d("0.000251"), "", UNTIL),
    ]


def test_payer_statement_lines_sum_to_the_statements(address: Address) -> None:
    columns = "payer, state, product, meter, uses, used, paid"
    asked = f"SELECT {columns} FROM payer_statement_lines ORDER BY payer, state, product"
    assert rows(address, asked) == [
        ("p-1", "closed", "news", "page.view", 3, d("3"), d("0.01")),
        ("p-1", "open", "news", "page.view", 1, d("1"), d("0.000000007")),
        ("p-2", "open", "", "", 0, d("0"), d("0.000001")),
        ("p-2", "open", "music", "play", 1, d("12.5"), d("0.00025")),
    ]


def test_every_view_reads_sums_not_uses(clickhouse_of: ClickHouse) -> None:
    for view, projection in {
        "revenue_by_hour": "by_hour",
        "revenue_by_hour_occurred": "by_hour",
        "revenue_by_feature": "by_hour",
        "revenue_by_product": "by_hour",
        "revenue_by_item": "by_item",
        "revenue_by_item_occurred": "by_item",
        "top_items": "by_item",
        "earnings_by_day": "by_accounts",
        "earnings_by_day_occurred": "by_accounts",
        "top_creators": "by_accounts",
        "outcomes": "by_hour",
        "completeness": "newest",
    }.items():
        plan = "\n".join(step for (step,) in clickhouse_of.query(f"EXPLAIN SELECT * FROM {view}"))
        assert f"ReadFromMergeTree ({projection})" in plan, view


def documented_queries() -> list[str]:
    return re.findall(r"```sql\n(.*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(documented_queries())))
def test_every_query_in_the_documentation_is_answered(address: Address, number: int) -> None:
    query = documented_queries()[number]
    assert rows(address, query) or "INTERVAL 7 DAY" in query


def test_money_by_rule_as_documented(address: Address) -> None:
    (query,) = (query for query in documented_queries() if "lines.rule AS rule" in query)
    assert rows(address, query) == [
        ("media", 3, "article", 5, d("0.010001007")),
        ("media", 3, "song", 1, d("0.00025")),
    ]


# ---- completeness ----


def test_completeness_is_the_least_of_all_partitions(address: Address, clickhouse: ClickHouseAddress) -> None:
    found = dict(rows(address, "SELECT * FROM completeness"))
    assert found == {
        "charges": UNTIL,  # partition 1 is 5 us behind partition 0
        "payer_tallies": NOON + 12 * HOUR,
        "statements": NOON + 12 * HOUR,
        "account_tallies": None,  # its stage has not heard of every source
        "payouts": None,
    }


def test_nothing_is_complete_before_every_partition_was_heard(clickhouse: ClickHouseAddress, database: str) -> None:
    migrate(clickhouse.native, database)
    address = Address(clickhouse.native, database, http=clickhouse.http)
    sink(address, "charges", FIRST, partitions=2)
    assert rows(address, "SELECT complete_until FROM completeness WHERE topic = 'charges'") == [(None,)]
    sink(address, "charges", [("Chunk", chunk(input_partition=1, watermark_us=LONG_AGO))], partition=1, partitions=2)
    assert rows(address, "SELECT complete_until FROM completeness WHERE topic = 'charges'") == [(None,)]
    sink(address, "charges", SECOND, first=1, partition=1, partitions=2)
    assert rows(address, "SELECT complete_until FROM completeness WHERE topic = 'charges'") == [(UNTIL,)]


def test_statements_that_have_not_arrived_are_not_called_complete(clickhouse: ClickHouseAddress, database: str) -> None:
    """The chunk record promises two; with one of them there, all that end before its end are there."""
    migrate(clickhouse.native, database)
    address = Address(clickhouse.native, database, http=clickhouse.http)
    promised = chunk(
        watermark_us=NOON_US + 3 * DAY_US, closed_to_us=MIDNIGHT_US + DAY_US, counts={"rows.statements": 2}
    )
    sink(address, "charges", [("Chunk", promised)])
    sink(address, "statements", [])
    asked = "SELECT complete_until FROM completeness WHERE topic = 'statements'"
    assert rows(address, asked) in ([(None,)], [])
    later = statement(period_start=MIDNIGHT_US, period_end=MIDNIGHT_US + DAY_US)
    both: list[Record] = [("Statement", statement()), ("Statement", later)]
    sink(address, "statements", both[:1])
    assert rows(address, asked) == [(NOON + 12 * HOUR - timedelta(microseconds=1),)]
    sink(address, "statements", both)
    assert rows(address, asked) == [(NOON + 36 * HOUR,)]


# ---- what commands ask ----


def test_a_statement_has_periods_and_lines(ask: Queries) -> None:
    found = ask.statement("p-1")
    day = (DAY, DAY + timedelta(days=1))
    assert found.complete_until == UNTIL
    assert found.periods == (
        Period("closed", "day", *day, "USD", 3, d("0.01"), "0123456789abcdef0123456789abcdef"),
        Period("open", None, day[1], None, "USD", 1, d("0.000000007"), None),
    )
    assert found.lines == (
        StatementLine("closed", *day, "news", "page.view", "USD", 3, d("3"), d("0.01")),
        StatementLine("open", day[1], None, "news", "page.view", "USD", 1, d("1"), d("0.000000007")),
    )
    assert ask.statement("nobody' OR 1=1 --").periods == ()


def test_earnings_of_one_account(ask: Queries) -> None:
    day = (DAY, DAY + timedelta(days=1))
    paid = PayoutRow(payout()["payout_id"], "day", *day, "USD", 2, d("0.001"), d("0.009"), d("0"), d("0.01"))
    assert ask.earnings("creator:ana") == AccountEarnings(
        "creator:ana",
        (
            EarningDay(TODAY, "USD", 3, d("0.01"), d("0.009")),
            EarningDay(TOMORROW, "USD", 1, d("0.000000007"), d("0.000000007")),
        ),
        (paid,),
        UNTIL,
    )
    assert ask.earnings("party:label").days == (EarningDay(TOMORROW, "USD", 1, d("0.00025"), d("0.0000375")),)
    assert isinstance(ask.earnings("platform").days[0].day, date)


def test_top_lists_end_at_the_limit(ask: Queries) -> None:
    assert ask.top_creators(1) == (TopCreator(1, "ana", "USD", 4, d("0.010000007"), d("0.009000007")),)
    assert ask.top_items(1) == (TopItem(1, "/a", "news", "USD", 4, d("0.010000007")),)


def test_outcomes_count_every_record(ask: Queries) -> None:
    assert ask.outcomes() == (
        Outcome("charged", "", 5, 1),
        Outcome("due", "minimum", 1, 0),
        Outcome("duplicate", "", 2, 0),
        Outcome("refused", "max_price", 1, 0),
        Outcome("rejected", "future", 1, 0),
        Outcome("rejected", "malformed", 1, 0),
        Outcome("unpriced", "unknown_meter", 1, 0),
    )
    assert ask.late_events() == (2, 2, d("1"))


def test_a_tariff_is_found_by_the_hash_that_a_charge_has(ask: Queries) -> None:
    found = ask.tariff("cdcdcdcdcdcdcdcd")
    assert found is not None
    assert (found.tariff, found.version, found.source) == ("media", 1, "tariff: media\n")
    assert ask.tariff("00") is None


def stored(record: dict[str, Any]) -> dict[str, Any]:
    """What ClickHouse keeps of a Charge record: all but the hashes."""
    kept = {name: value for name, value in record.items() if name != "content_hash"}
    kept["lines"] = [{name: v for name, v in part.items() if "_key_" not in name} for part in record["lines"]]
    return kept


def test_a_charge_comes_back_as_it_was_in_the_ledger(clickhouse_of: ClickHouse) -> None:
    assert charge_of_use(clickhouse_of, 1, 7) == [stored(MINIMUM), stored(SECOND[1][1])]
    assert charge_of_use(clickhouse_of, 1, 7, 1) == [stored(SECOND[1][1])]
    for number in range(1, 7):
        assert charge_of_use(clickhouse_of, 0, number) == [stored(FIRST[number][1])]
    assert charge_of_use(clickhouse_of, 0, 99) == []
    assert charges_of_event(clickhouse_of, "e-7") == [stored(SECOND[1][1])]
    assert charges_of_event(clickhouse_of, "' OR 1=1 --") == []


def test_sums_of_the_ledger_are_in_the_names_of_its_chunks(clickhouse_of: ClickHouse) -> None:
    assert ledger_sums(clickhouse_of, 0, 7) == Sums(
        {
            "charged": 4,
            "free": 1,
            "late": 1,
            "unpriced": 1,
            "unpriced.unknown_meter": 1,
            "refused": 1,
            "refused.max_price": 1,
            "rows.charges": 7,
        },
        {"paid.USD": 10_000_007, "lines.USD": 10_000_007, "shares.USD": 10_000_007},
    )
    assert ledger_sums(clickhouse_of, 0, 1).counts == {"charged": 1, "rows.charges": 2}
    assert ledger_sums(clickhouse_of, 1, 99).sums["paid.USD"] == 251_000


def test_sums_of_other_topics_are_in_the_names_of_chunks_too(clickhouse_of: ClickHouse) -> None:
    assert topic_sums(clickhouse_of, "payer_tallies", 0) == Sums(
        {"rows.payer_tallies": 1}, {"tallies.day.USD": 10_000_000}
    )
    assert topic_sums(clickhouse_of, "statements", 0) == Sums({"rows.statements": 1}, {"settled.USD": 10_000_000})
    assert topic_sums(clickhouse_of, "payouts", 0) == Sums(
        {"rows.payouts": 1}, {"settled.USD": 9_000_000, "paid.USD": 0, "carried.USD": 10_000_000}
    )
    assert topic_sums(clickhouse_of, "rejects", 0, first_rows=1).counts == {
        "rows.rejects": 1,
        "rejected": 1,
        "rejected.malformed": 1,
    }
    assert topic_sums(clickhouse_of, "statements", 1) == Sums()


def test_how_far_each_partition_is(clickhouse_of: ClickHouse) -> None:
    found = {(one.topic, one.partition): one for one in written(clickhouse_of)}
    first = found["charges", 0]
    assert (first.next_offset, first.records, first.chunk_offset, first.input_offset) == (8, 7, 7, 9)
    assert (first.watermark_us, first.closed_to_us) == (NOON_US + DAY_US + 5, MIDNIGHT_US)
    assert (first.counts["rows.charges"], first.sums) == (7, {"paid.USD": 10_000_007})
    assert (found["rejects", 0].next_offset, found["rejects", 0].chunk_offset, found["rejects", 0].counts) == (
        2,
        -1,
        {},
    )
    assert len(found) == 8
