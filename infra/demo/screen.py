"""The demo's last screen: what was read, what it became, the money, and what to try next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal

from infra.demo.facts import Facts
from infra.demo.publishing import Published
from nanotally.streams.environment import Environment

Print = Callable[[str], None]


def money(amount: Decimal) -> str:
    """Nine decimals, always: a price is never shown rounded."""
    return f"{amount:,.9f}"


def left_out(counts: Counter[str]) -> str:
    """'asset 5,302 · bot 2,184'."""
    return " · ".join(f"{reason} {n:,}" for reason, n in counts.most_common())


def show_input(published: Published, out: Print) -> None:
    """What was read, what was left out and why, and what was done on purpose."""
    blog, llm = published.blog, published.llm
    out(f"READ    blog log  {blog.lines:>8,} lines     -> {published.views:,} views")
    out(f"                  left out: {left_out(blog.left_out)}")
    out(f"        LLM log   {llm.lines:>8,} requests  -> {published.llm_uses:,} uses (tokens in, tokens out)")
    out(f"        on purpose  {published.repeated:,} sent twice · {published.spoiled} spoiled")


def show_outcomes(published: Published, facts: Facts, out: Print) -> bool:
    """Records in against what became of them; True where nothing is missing."""
    charged = facts.records("charged") - facts.free
    rest = {name: facts.records(name) for name in ("duplicate", "rejected", "unpriced", "refused")}
    total = charged + facts.free + sum(rest.values())
    complete = total == published.records
    words = {"duplicate": "duplicates", "rejected": "rejected"}
    parts = " + ".join(f"{n:,} {words.get(name, name)}" for name, n in rest.items())
    out(
        f"BECAME  {published.records:,} records = {charged:,} charged + {facts.free:,} free re-reads + {parts}   "
        + ("✔" if complete else f"✘ {total:,} found")
    )
    reasons = " · ".join(f"{reason} {n}" for (o, reason), n in sorted(facts.outcomes.items()) if o == "rejected")
    out(f"        rejected: {reasons}")
    return complete


def show_money(facts: Facts, out: Print) -> None:
    """Paid, to whom, paid out and carried forward."""
    share = (100 * facts.creators / facts.paid).normalize() if facts.paid else Decimal(0)
    out(f"MONEY   paid       {money(facts.paid):>16} {facts.currency}   every nano placed")
    out(
        f"        creators   {money(facts.creators):>16} ({share:.1f} %)   platform  {money(facts.platform)}"
        + (f"   others {money(facts.others)}" if facts.others else "")
    )
    out(
        f"        paid out   {money(facts.paid_out):>16} to {facts.paid_out_to} accounts   carried forward "
        f"{money(facts.carried)} (below {facts.threshold})"
    )
    out("TOP CREATORS              uses            gross            earns  ≈ per use")
    for creator, uses, gross, earned in facts.top_creators:
        per_use = (earned / uses).quantize(Decimal("1e-9"))
        out(f"        {creator:<16} {uses:>7,} {money(gross):>16} {money(earned):>16} {per_use:>14}")


def show_statement(facts: Facts, out: Print) -> None:
    """One payer's statement in lines."""
    out(f"STATEMENT  {facts.statement_of}")
    for product, meter, uses, used, paid in facts.statement:
        quantity = f"{used.normalize():,f}"
        out(f"        {product} {meter:<14} {uses:>7,} uses {quantity:>14} {money(paid):>16}")
    out(f"        {'due':<50} {money(facts.statement_due):>16} {facts.currency}")


def show_late(facts: Facts, out: Print) -> None:
    """How late the latest came."""
    if facts.late:
        out(
            f"LATE    {facts.late:,} uses came after the watermark, the latest by {facts.late_most_s:f} s; "
            f"{facts.late_other_hour:,} were booked in a later hour"
        )
    else:
        out("LATE    none came after the watermark")


def show_next(environment: Environment, command: str, facts: Facts, out: Print) -> None:
    """What to try: commands that work as they stand."""
    out(f"NEXT    why      {command} explain {facts.dearest or facts.crossing}")
    select = f"SELECT * FROM {environment.database}.top_items LIMIT 10"
    if environment.clickhouse_http:
        out(f"        ask      http://{environment.clickhouse_http}/play  in a browser:  {select}")
    else:
        out(f"        ask      {select}")
    out("        yours    make up    then publish your own events (README)")
    out("        stop     make down      forget everything  make reset")
