"""What commands ask ClickHouse, with typed answers.

Money is Decimal in currency units, or whole nanos where the name ends in `_nanos`; never a float. Times are datetime
in UTC. `complete_until`: everything booked before it is in; None where that is not known yet. Whatever comes from
people is a parameter of the query, never part of its text. Raises as module client says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

from nanotally.sinks.answers import (
    AccountEarnings,
    EarningDay,
    Outcome,
    PayerStatement,
    PayoutRow,
    Period,
    StatementLine,
    TariffText,
    TopCreator,
    TopItem,
)
from nanotally.sinks.client import Address, ClickHouse


class Queries:
    """Questions over one connection, for one thread at a time. Use as `with asking(address) as ask:`."""

    def __init__(self, address: Address) -> None:
        self.clickhouse = ClickHouse(address)

    def close(self) -> None:
        """Gives the connection up."""
        self.clickhouse.close()

    def statement(self, payer: str) -> PayerStatement:
        """A payer's statements, closed and open; without periods for one who never used anything."""
        periods = self._rows(
            "SELECT state, period, period_start, period_end, currency, uses, due, statement_id FROM payer_statements "
            "WHERE payer = {payer:String} ORDER BY state, period_start, currency",
            payer=payer,
        )
        lines = self._rows(
            "SELECT state, period_start, period_end, product, meter, currency, uses, used, paid "
            "FROM payer_statement_lines WHERE payer = {payer:String} "
            "ORDER BY state, period_start, currency, product, meter",
            payer=payer,
        )
        return PayerStatement(
            payer,
            tuple(Period(s, p or None, a, b, c, uses, due, i or None) for s, p, a, b, c, uses, due, i in periods),
            tuple(StatementLine(*row) for row in lines),
            self.complete_until(),
        )

    def earnings(self, account: str) -> AccountEarnings:
        """What an account ('creator:ana', 'platform', 'party:label') earned and was paid."""
        # By `has` on the list of accounts, so that other accounts' groups are not taken apart first.
        days = self._rows(
            "SELECT toDate(hour) AS day, currency, sumIf(records, outcome = 'charged'), sum(money), "
            "reinterpret(sum(arraySum(arrayFilter((n, a) -> a = {account:String}, nanos, accounts))), "
            "'Decimal(38, 9)') "
            "FROM (SELECT toStartOfHour(booked_at) AS hour, currency, outcome, shares.account AS accounts, "
            "sumForEach(CAST(shares.nanos, 'Array(Int128)')) AS nanos, count() AS records, sum(paid) AS money "
            "FROM charges WHERE has(shares.account, {account:String}) "
            "GROUP BY toStartOfHour(booked_at), currency, outcome, shares.account) "
            "GROUP BY day, currency ORDER BY day, currency",
            account=account,
        )
        payouts = self._rows(
            "SELECT payout_id, period, period_start, period_end, currency, uses, brought, earned, paid, carried "
            "FROM payouts WHERE account = {account:String} ORDER BY period_start, currency",
            account=account,
        )
        return AccountEarnings(
            account,
            tuple(EarningDay(*row) for row in days),
            tuple(PayoutRow(*row) for row in payouts),
            self.complete_until(),
        )

    def top_creators(self, limit: int = 10) -> tuple[TopCreator, ...]:
        """The creators who earned most in each currency."""
        rows = self._rows(
            "SELECT rank, creator, currency, uses, gross, earned FROM top_creators WHERE rank <= {limit:UInt64} "
            "ORDER BY currency, rank",
            limit=limit,
        )
        return tuple(TopCreator(*row) for row in rows)

    def top_items(self, limit: int = 10) -> tuple[TopItem, ...]:
        """The items that brought most in each currency."""
        rows = self._rows(
            "SELECT rank, item, product, currency, uses, paid FROM top_items WHERE rank <= {limit:UInt64} "
            "ORDER BY currency, rank",
            limit=limit,
        )
        return tuple(TopItem(*row) for row in rows)

    def outcomes(self) -> tuple[Outcome, ...]:
        """What became of all records, rejects and duplicates included, by outcome and reason."""
        rows = self._rows(
            "SELECT outcome, reason, sum(records), sum(free) FROM outcomes GROUP BY outcome, reason ORDER BY 1, 2"
        )
        return tuple(Outcome(*row) for row in rows)

    def late_events(self) -> tuple[int, int, Decimal]:
        """Number of late uses, how many of them were booked in another hour, and the greatest lateness in seconds."""
        ((count, moved, most),) = self._rows("SELECT count(), sum(other_hour), max(late_s) FROM late_events")
        return count, moved, most

    def complete_until(self, topic: str = "charges") -> datetime | None:
        """Up to when the tables of a topic are complete."""
        rows = self._rows("SELECT complete_until FROM completeness WHERE topic = {topic:String}", topic=topic)
        return rows[0][0] if rows else None

    def tariff(self, tariff_hash: str) -> TariffText | None:
        """A version by its content hash or the first digits of it, as a charge's line has them."""
        rows = self._rows(
            "SELECT tariff, version, content_hash, effective_from, document, source FROM tariffs "
            "WHERE startsWith(content_hash, {hash:String}) ORDER BY book_number LIMIT 1",
            hash=tariff_hash,
        )
        return TariffText(*rows[0]) if rows else None

    def _rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return self.clickhouse.query(sql, parameters)


@contextmanager
def asking(address: Address) -> Iterator[Queries]:
    """A connection for some questions, given up at the end."""
    queries = Queries(address)
    try:
        yield queries
    finally:
        queries.close()
