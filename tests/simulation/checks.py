"""What must hold when all is drained, worked out without the stages: from `usage`, books and plain arithmetic.

The payers' side is told by the plain reference over all that came to lie in `usage`; the accounts' by its own reference
over `earnings`; ClickHouse must hold each record of the topics once; and the books must balance."""

from __future__ import annotations

import bisect
from collections import Counter
from typing import Any

from tests.simulation.checks_snapshots import check_snapshots
from tests.simulation.checks_warehouse import check_warehouse
from tests.simulation.installation import COUNTS, STEPS, Installation
from tests.simulation.producers import Products
from tests.simulation.redrives import ID as LEFT_OVER
from tests.simulation.workers import ACCOUNT_PARTITIONS, PARTITIONS
from tests.simulation.world import World
from tests.simulation.written import Written, Wrong, same
from tests.support.due_order import by_hash
from tests.support.reference import PayersReference
from tests.support.reference_accounts import AccountsReference
from tests.support.reference_compare import compare, compare_accounts
from tests.support.reference_driver import Found, earned_of, mark_of
from tests.support.reference_values import Control
from tests.support.scenarios import Scenario

OUTPUTS = ("charges", "payer_tallies", "statements", "rejects")


def check(at: Installation, products: Products) -> None:
    """Raises AssertionError with the first thing that does not hold."""
    written = Written(at)
    payers = [check_payers(at.world.seed, p, products, written) for p in range(PARTITIONS)]
    accounts = [check_accounts(at.world.seed, q, products, written) for q in range(ACCOUNT_PARTITIONS)]
    check_chunks(at, written)
    check_redriven(at.world, products, written)
    check_balance(payers, accounts, written)
    check_warehouse(at, written)
    check_snapshots(at, products.books)


def check_payers(seed: int, partition: int, products: Products, written: Written) -> PayersReference:
    """Charges, controls, rejects, tallies, statements, earnings and duplicates of a partition are what `usage` and the
    books make of it, each once: invariants 1 to 7 and 9."""
    records = products.records(partition)
    made = Scenario(seed, PARTITIONS, partition, products.books, records)
    reference = PayersReference(partition, PARTITIONS, products.books, by_hash)
    reference.run(records)
    if records:
        compare(made, reference, found_of(partition, written))
    outcomes = Counter(outcome for outcome, _ in reference.out.outcomes.values())
    if sum(outcomes.values()) != len(records):
        raise Wrong(f"usage[{partition}] has {len(records)} records with {outcomes} outcomes")
    at = {r.offset: r for r in records}
    for _, offset, name, record in written.of("rejects", partition):
        told = written.keys["usage", partition, at[record["offset"]].offset]
        if name != "Reject" or (record["key"], record["value"]) != told:
            raise Wrong(f"rejects[{partition}] {offset} does not hold what was rejected: {record}")
    return reference


def found_of(partition: int, written: Written) -> Found:
    """What a partition wrote, as the comparison takes it."""
    found = Found()
    for topic in OUTPUTS:
        for _, _, name, record in written.of(topic, partition):
            if name == "Chunk":
                found.chunks.append(record)
            else:
                found.records.setdefault(name, []).append(record)
    for q in range(ACCOUNT_PARTITIONS):
        messages: list[Any] = [
            (earned_of(record) if name == "Earning" else mark_of(record), b"")
            for _, _, name, record in written.of("earnings", q)
            if record["source"] == partition
        ]
        found.messages[q] = messages
    return found


def check_accounts(seed: int, partition: int, products: Products, written: Written) -> AccountsReference:
    """Tallies and payouts are what the partition of `earnings` makes of them, each once: invariants 6 and 8."""
    told = [
        earned_of(record) if name == "Earning" else mark_of(record)
        for _, _, name, record in written.of("earnings", partition)
    ]
    reference = AccountsReference().run(told)
    rows = [
        {"type": name, **record}
        for topic in ("account_tallies", "payouts")
        for _, _, name, record in written.of(topic, partition)
        if name != "Chunk"
    ]
    compare_accounts(Scenario(seed, PARTITIONS, partition, products.books, ()), reference, rows)
    return reference


def check_redriven(world: World, products: Products, written: Written) -> None:
    """What stood at an offset is taken once more at most once; where somebody redrove what the ledger calls unpriced,
    it is the same use that is charged or refused, or there is a reject that says why not."""
    for p in range(PARTITIONS):
        told = [c for _, _, name, c in written.of("charges", p) if name == "Charge"]
        charges = {c["usage_offset"]: c for c in told if c["event"]}  # not what fell due there
        rejects = {r["offset"] for _, _, _, r in written.of("rejects", p)}
        again: dict[int, list[int]] = {}
        for offset, charge in charges.items():
            for flag in charge["flags"].split():
                if flag.startswith("redrive:"):
                    again.setdefault(int(flag.removeprefix("redrive:")), []).append(offset)
        twice = {first: offsets for first, offsets in again.items() if len(offsets) > 1}
        if twice:
            raise Wrong(f"uses of usage[{p}] were redriven twice: {twice}")
        for record in products.records(p):
            control = record.value
            if not isinstance(control, Control) or control.control_id != LEFT_OVER or control.usage_offset is None:
                continue
            first, taken = charges[control.usage_offset], charges.get(record.offset)
            if first["outcome"] != "unpriced" or first["event"] != control.use:
                raise Wrong(f"usage[{p}] {control.usage_offset} was not unpriced, or another use")
            if taken and (taken["event"] != first["event"] or taken["outcome"] == "unpriced"):
                raise Wrong(f"usage[{p}] {record.offset} is {taken['outcome']}, another use, or unpriced again")
            if taken:
                world.effect("redriven use taken", "world")
            elif control.usage_offset not in again and record.offset not in rejects:
                raise Wrong(f"usage[{p}] {record.offset} is a redrive with no outcome")


def check_chunks(at: Installation, written: Written) -> None:
    """Each transaction goes on where the one before it ended, and took as many records as lie there; running counts of
    rows are those of the topics."""
    outputs_of = {"charges": OUTPUTS, "account_tallies": ("account_tallies", "payouts")}
    for (source, topic), outputs in ((step, outputs_of[step[1]]) for step in STEPS):
        for p in range(COUNTS[topic]):
            chunks = [record for _, _, name, record in written.of(topic, p) if name == "Chunk"]
            places = [(c["next_offset"], c["records"]) for c in chunks]
            if places != sorted(places):
                raise Wrong(f"chunk records of {topic}[{p}] go back: {places}")
            there = [e.offset for e in at.kafka.logs[source, p].archive if e.state == "committed"]
            for next_offset, records in places:
                if bisect.bisect_left(there, next_offset) != records:
                    raise Wrong(f"chunk record of {topic}[{p}] at {source} offset {next_offset} has {records} records")
            for output in outputs:
                rows = sum(name != "Chunk" for _, _, name, _ in written.of(output, p))
                told = chunks[-1]["counts"].get(f"rows.{output}", 0) if chunks else 0
                if told != rows:
                    raise Wrong(f"{output}[{p}] has {rows} records, the last chunk record says {told}")


def check_balance(payers: list[PayersReference], accounts: list[AccountsReference], written: Written) -> None:
    """Debits are credits, what was earned is what was charged, and what is settled or still open is all of it."""
    paid: Counter[str] = Counter()
    earned: Counter[str] = Counter()
    for _, _, name, charge in written.of("charges"):
        if name != "Charge":
            continue
        shared = sum(share["nanos"] for line in charge["lines"] for share in line["shares"])
        if shared != charge["paid_nanos"]:
            raise Wrong(f"charge {charge['usage_offset']} has {charge['paid_nanos']} paid and {shared} shared")
        paid[charge["currency"]] += charge["paid_nanos"]
    for _, _, name, record in written.of("earnings"):
        if name == "Earning":
            earned[record["currency"]] += record["amount_nanos"]
    same("earnings and charges", +earned, +paid)
    owed: Counter[str] = Counter()
    for _, _, _, statement in written.of("statements"):
        owed[statement["currency"]] += int(statement["due_nanos"])
    for reference in payers:
        for key, sums in reference.periods.items():
            owed[key[3]] += sums.amount_nanos
    same("statements with open periods and charges", +owed, +paid)
    given: Counter[str] = Counter()
    for _, _, _, payout in written.of("payouts"):
        given[payout["currency"]] += int(payout["earned_nanos"])
    for told in accounts:
        for one in told.waiting:
            given[one.key.currency] += one.amount_nanos
    same("payouts with open periods and charges", +given, +paid)
