"""What the demo's screen tells, asked of ClickHouse once everything has arrived."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from clickhouse_driver import Client

from nanotally.streams.environment import Environment

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Facts:
    """Figures of one run. Money in currency units, exact."""

    outcomes: dict[tuple[str, str], int]  # (outcome, reason) -> records
    free: int
    currency: str
    paid: Decimal
    creators: Decimal
    platform: Decimal
    others: Decimal
    paid_out: Decimal
    paid_out_to: int
    carried: Decimal
    threshold: str
    top_creators: list[Row]  # creator, uses, gross, earned
    statement: list[Row]  # payer, product, meter, uses, used, paid
    statement_due: Decimal
    statement_of: str
    crossing: str  # name of the charge that crossed a tier
    dearest: str
    late: int
    late_most_s: Decimal
    late_other_hour: int

    def records(self, outcome: str) -> int:
        """Records with an outcome, whatever the reason."""
        return sum(n for (name, _), n in self.outcomes.items() if name == outcome)


def client_of(environment: Environment) -> Client:
    """A connection to the demo's database."""
    host, port = environment.clickhouse_address
    return Client(
        host,
        port=port,
        database=environment.database,
        user=environment.clickhouse_user,
        password=environment.clickhouse_password,
    )


def gather(environment: Environment, payer: str, threshold: str) -> Facts:
    """Asks everything the screen shows. payer: whose statement."""
    client = client_of(environment)
    try:
        return _gather(client, payer, threshold)
    finally:
        client.disconnect()


def _gather(client: Client, payer: str, threshold: str) -> Facts:
    def ask(query: str, **values: Any) -> list[Row]:
        rows: list[Row] = client.execute(query, values)
        return rows

    outcomes = {
        (outcome, reason): n
        for outcome, reason, n in ask("SELECT outcome, reason, sum(records) FROM outcomes GROUP BY outcome, reason")
    }
    ((currency, paid, free),) = ask(
        "SELECT any(currency), sum(paid), countIf(paid_nanos = 0) FROM charges WHERE outcome = 'charged'"
    )
    earned: dict[str, Decimal] = dict(
        ask(
            "SELECT multiIf(account = 'platform', 'platform', startsWith(account, 'creator:'), 'creators', 'others'), "
            "sum(earned) FROM earnings_by_day GROUP BY 1"
        )
    )
    ((paid_out, paid_to),) = ask("SELECT sum(paid), uniqExactIf(account, paid > 0) FROM payouts")
    ((carried,),) = ask("SELECT sum(c) FROM (SELECT argMax(carried, period_end) AS c FROM payouts GROUP BY account)")
    ((late, most, other_hour),) = ask("SELECT count(), max(late_s), countIf(other_hour) FROM late_events")
    statement = ask(
        "SELECT product, meter, sum(uses), sum(used), sum(paid) FROM payer_statement_lines WHERE payer = %(payer)s "
        "GROUP BY product, meter ORDER BY product, meter",
        payer=payer,
    )
    ((due,),) = ask("SELECT sum(due) FROM statements WHERE payer = %(payer)s", payer=payer)
    name = "concat(toString(usage_partition), '-', toString(usage_offset))"
    crossing = ask(
        f"SELECT {name} FROM charges WHERE outcome = 'charged' AND lines.quantity_before[1] < 10000000 "
        "AND lines.quantity_before[1] + quantity > 10000000 AND payer = %(payer)s ORDER BY booked_at LIMIT 1",
        payer=payer,
    )
    dearest = ask(f"SELECT {name} FROM charges WHERE outcome = 'charged' ORDER BY paid_nanos DESC, booked_at LIMIT 1")
    return Facts(
        outcomes=outcomes,
        free=free,
        currency=currency,
        paid=paid,
        creators=earned.get("creators", Decimal(0)),
        platform=earned.get("platform", Decimal(0)),
        others=earned.get("others", Decimal(0)),
        paid_out=paid_out,
        paid_out_to=paid_to,
        carried=carried,
        threshold=threshold,
        top_creators=ask("SELECT creator, uses, gross, earned FROM top_creators ORDER BY rank LIMIT 5"),
        statement=statement,
        statement_due=due,
        statement_of=payer,
        crossing=crossing[0][0] if crossing else "",
        dearest=dearest[0][0] if dearest else "",
        late=late,
        late_most_s=most if late else Decimal(0),
        late_other_hour=other_hour,
    )


def arrived(client: Client) -> tuple[int, int]:
    """Records of usage rated and in ClickHouse so far, and those rejected or repeated: for the live display."""
    rows = client.execute(
        "SELECT sum(records) FROM (SELECT max(input_records) AS records FROM chunks WHERE topic = 'charges' "
        "AND chunk_offset >= 0 GROUP BY kafka_partition)"
    )
    charges = client.execute("SELECT count() FROM charges")
    return int(rows[0][0] or 0), int(charges[0][0])
