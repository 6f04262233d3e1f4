"""Compares what the columnar stage wrote with what the reference says, and tells the first difference readably."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from fractions import Fraction
from typing import Any

from nanotally.streams.domain.tariff import OPENED_SCOPES
from tests.support.reference import PayersReference
from tests.support.reference_accounts import AccountsReference
from tests.support.reference_driver import Found
from tests.support.reference_values import Charge, Line
from tests.support.scenarios import Scenario


class Difference(AssertionError):
    """Where the two sides part."""


def complain(scenario: Scenario, where: str, name: str, expected: Any, found: Any) -> None:
    raise Difference(
        f"\n  seed      {scenario.seed}, partition {scenario.partition} of {scenario.partitions}"
        f"\n  where     {where}\n  field     {name}\n  expected  {expected}\n  found     {found}"
        f"\n  replay    python -m tests.support.replay {scenario.seed}"
    )


def compare(scenario: Scenario, reference: PayersReference, found: Found) -> None:
    """Raises Difference at the first field that is not as the reference says."""
    compare_rejects(scenario, reference, found)
    compare_duplicates(scenario, reference, found)
    compare_controls(scenario, reference, found)
    compare_charges(scenario, reference, found)
    compare_closed(scenario, reference, found)
    compare_earnings(scenario, reference, found)
    compare_chunk(scenario, reference, found)


def same(scenario: Scenario, where: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        if found[name] != value:
            complain(scenario, where, name, value, found[name])


def same_places(scenario: Scenario, what: str, expected: Iterable[Any], found: Iterable[Any]) -> None:
    wanted, there = sorted(expected), sorted(found)
    if wanted != there:
        outcomes = (
            f"missing {sorted(set(wanted) - set(there))[:5]}, too many {[x for x in there if x not in wanted][:5]}"
        )
        complain(scenario, what, "which there are", f"{len(wanted)} of them", f"{len(there)}: {outcomes}")


def compare_rejects(scenario: Scenario, reference: PayersReference, found: Found) -> None:
    expected = {r.offset: r.reason for r in reference.out.rejects}
    there = {r["offset"]: r["reason"] for r in found.of("Reject")}
    for offset in sorted(expected.keys() | there.keys()):
        if expected.get(offset) != there.get(offset):
            told = reference.out.outcomes[offset]
            complain(scenario, f"offset {offset}", "reject reason", told, there.get(offset, "no reject"))
    same_places(scenario, "rejects", expected, [r["offset"] for r in found.of("Reject")])
    for record, reject in zip(
        sorted(found.of("Reject"), key=lambda r: int(r["offset"])),
        sorted(reference.out.rejects, key=lambda r: r.offset),
        strict=True,
    ):
        same(scenario, f"reject {reject.offset}", {"recorded_at": reject.recorded_at_us}, record)
        if not record["detail"]:
            complain(scenario, f"reject {reject.offset}", "detail", "a sentence", "nothing")


def compare_duplicates(scenario: Scenario, reference: PayersReference, found: Found) -> None:
    expected = [o for o, (outcome, _) in reference.out.outcomes.items() if outcome == "duplicate"]
    same_places(scenario, "duplicates", expected, [d for c in found.chunks for d in c["duplicates"]])


def compare_controls(scenario: Scenario, reference: PayersReference, found: Found) -> None:
    there = {c["usage_offset"]: c for c in found.of("ControlTaken")}
    same_places(
        scenario,
        "controls that took effect",
        [c.usage_offset for c in reference.out.controls],
        [c["usage_offset"] for c in found.of("ControlTaken")],
    )
    for control in reference.out.controls:
        expected = {
            "usage_partition": scenario.partition,
            "recorded_at": control.recorded_at_us,
            "control_id": control.control_id,
            "kind": control.kind,
            "at": control.at_us,
            "book_number": control.book_number,
            "book_hash": control.book_hash,
        }
        same(scenario, f"control {control.usage_offset}", expected, there[control.usage_offset])


def compare_charges(scenario: Scenario, reference: PayersReference, found: Found) -> None:
    there = {(c["usage_offset"], c["n"]): c for c in found.of("Charge")}
    order = [(c["usage_offset"], c["n"]) for c in found.of("Charge")]
    same_places(scenario, "charges", ((c.usage_offset, c.n) for c in reference.out.charges), order)
    keys = Pairing(scenario)
    for charge in reference.out.charges:
        record = there[charge.usage_offset, charge.n]
        where = f"offset {charge.usage_offset}, charge {charge.n}"
        same(scenario, where, charge_fields(scenario, charge), record)
        links = [line["link"] for line in record["lines"]]
        if links != [line.link for line in charge.lines]:
            complain(scenario, where, "links of its lines", [line.link for line in charge.lines], links)
        for i, (line, told) in enumerate(zip(charge.lines, record["lines"], strict=True)):
            compare_line(scenario, f"{where}, line {i}", line, told)
            start = None if line.scope in OPENED_SCOPES or line.scope == "event" else line.scope_start_us
            keys.pair(where, "scope key", (line.scope_key, start), (told["scope_key_high"], told["scope_key_low"]))
            if line.split_key:
                keys.pair(where, "split key", line.split_key, (told["split_key_high"], told["split_key_low"]))
    if order != sorted(order):
        complain(scenario, "charges", "order of writing", sorted(order), order)


def charge_fields(scenario: Scenario, charge: Charge) -> dict[str, Any]:
    return {
        "event": charge.event,
        "usage_partition": scenario.partition,
        "n": charge.n,
        "payer": charge.payer,
        "recorded_at": charge.recorded_at_us,
        "outcome": charge.outcome,
        "reason": charge.reason,
        "booked_at": charge.booked_at_us,
        "late": charge.late,
        "flags": charge.flags,
        "currency": charge.currency,
        "book_number": charge.book_number,
        "paid_nanos": charge.paid_nanos,
    }


def compare_line(scenario: Scenario, where: str, line: Line, told: Mapping[str, Any]) -> None:
    names = ["link", "tariff", "version", "tariff_hash", "rule", "variant", "scope", "minimum_nanos", "uses_before"]
    names += ["quantity_before", "quantity", "over_before", "over_after", "charged_before", "amount_nanos"]
    names += ["paid_nanos", "catalog", "split", "base_before"]
    expected = {name: getattr(line, name) for name in names}
    expected |= {"pass": line.pass_name, "scope_start": line.scope_start_us, "scope_end": line.scope_end_us}
    same(scenario, where, expected, told)
    den = told["remainder_den"]
    for when, total in (("before", line.total_before), ("after", line.total_after)):
        whole, rest = told[f"total_{when}"], told[f"remainder_{when}"]
        if not 0 <= rest < den or whole + Fraction(rest, den) != total:
            complain(scenario, where, f"total {when}", total, f"{whole} + {rest}/{den}")
    shares = [(s.account, s.fraction.numerator, s.fraction.denominator, s.nanos) for s in line.shares]
    there = [(s["account"], s["fraction_num"], s["fraction_den"], s["nanos"]) for s in told["shares"]]
    if shares != there:
        complain(scenario, where, "shares", shares, there)


class Pairing:
    """Keys of the reference and hashes of the stage must be the same thing under two names."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.hash_of: dict[Any, Any] = {}
        self.key_of: dict[Any, Any] = {}

    def pair(self, where: str, what: str, key: Any, hashed: Any) -> None:
        known, other = self.hash_of.setdefault((what, key), hashed), self.key_of.setdefault((what, hashed), key)
        if known != hashed:
            complain(self.scenario, where, what, f"{known} as before for {key}", hashed)
        if other != key:
            complain(self.scenario, where, what, key, f"the hash of {other}")


TALLY = ("account", "size", "window_start", "window_end", "product", "meter", "scale", "currency", "count", "quantity",
         "amount_nanos")  # fmt: skip
STATEMENT = ("statement_id", "account", "period", "period_start", "period_end", "currency", "count", "due_nanos")
PAYOUT = ("payout_id", "account", "period", "period_start", "period_end", "currency", "count", "brought_nanos",
          "earned_nanos", "paid_nanos", "carried_nanos")  # fmt: skip


def compare_closed(scenario: Scenario, reference: PayersReference, found: Found) -> None:
    tallies = [told(t, texts=2) for t in reference.out.tallies]
    same_rows(scenario, "closed windows", tallies, [tuple(t[n] for n in TALLY) for t in found.of("Tally")])
    statements = [told(s, texts=1) for s in reference.out.statements]
    there = [tuple(s[n] for n in STATEMENT) for s in found.of("Statement")]
    same_rows(scenario, "statements", statements, there)


def compare_accounts(scenario: Scenario, reference: AccountsReference, written: list[dict[str, Any]]) -> None:
    """Tallies and payouts of the columnar accounts' stage."""
    tallies = [tuple(t[n] for n in TALLY) for t in written if t["type"] == "Tally"]
    same_rows(scenario, "closed windows of accounts", [told(t, texts=2) for t in reference.tallies], tallies)
    payouts = [tuple(p[n] for n in PAYOUT) for p in written if p["type"] == "Payout"]
    same_rows(scenario, "payouts", [told(p, texts=4) for p in reference.payouts], payouts)


def told(row: Any, texts: int) -> tuple[Any, ...]:
    """A row as the contract has it: the last `texts` numbers are decimal digits, since they may exceed 64 bits."""
    values = astuple(row)
    return (*values[:-texts], *(str(v) for v in values[-texts:]))


def same_rows(scenario: Scenario, what: str, expected: list[Any], found: list[Any]) -> None:
    wanted, there = sorted(expected), sorted(found)
    if wanted != there:
        missing, more = [r for r in wanted if r not in there], [r for r in there if r not in wanted]
        complain(scenario, what, "rows", missing[:3] or "each once", more[:3] or f"{len(there)} for {len(wanted)}")


def compare_earnings(scenario: Scenario, reference: PayersReference, found: Found) -> None:
    expected, there = reference.out.earnings, found.earnings()
    for key in sorted(expected.keys() | there.keys()):
        if expected.get(key) != there.get(key):
            complain(scenario, f"earnings {key}", "count, quantity, nanos", expected.get(key), there.get(key))


def compare_chunk(scenario: Scenario, reference: PayersReference, found: Found) -> None:
    chunk = found.chunks[-1]
    expected = {
        "watermark_us": reference.watermark,
        "closed_to_us": reference.closed_to,
        "cursor": None,
        "next_n": 0,
        "book_number": reference.book.number if reference.book else -1,
        "book_hash": reference.book.book_hash if reference.book else "",
        "next_offset": scenario.records[-1].offset + 1,
    }
    same(scenario, "last chunk", expected, chunk)
    counts = {k: v for k, v in chunk["counts"].items() if not k.startswith("rows.") and v}
    named_counts = {k: v for k, v in reference.out.counts.items() if v}
    same(scenario, "last chunk", {"counts": named_counts}, {"counts": counts})
    sums = {k: int(v) for k, v in chunk["sums"].items() if int(v)}
    same(scenario, "last chunk", {"sums": {k: v for k, v in reference.out.sums.items() if v}}, {"sums": sums})


def lasting(found: Found) -> dict[str, Any]:
    """What no chunking, slicing and rebuilding may change, comparable by ==."""
    chunk = dict(found.chunks[-1])
    chunk.pop("duplicates")
    chunk["counts"] = {k: v for k, v in chunk["counts"].items() if not k.startswith("rows.earnings")}
    names = ("Charge", "Reject", "ControlTaken", "Tally", "Statement")
    return {
        **{name: sorted(map(canonical, found.of(name))) for name in names},
        "earnings": {k: (s.count, s.quantity, s.amount_nanos) for k, s in sorted(found.earnings().items())},
        "duplicates": sorted(d for c in found.chunks for d in c["duplicates"]),
        "chunk": canonical(chunk),
    }


def canonical(record: Mapping[str, Any]) -> str:
    return json.dumps(record, sort_keys=True, default=repr)


def compare_lasting(scenario: Scenario, plan: Any, expected: dict[str, Any], found: dict[str, Any]) -> None:
    for name, value in expected.items():
        if found[name] == value:
            continue
        if isinstance(value, list):
            missing, more = [x for x in value if x not in found[name]], [x for x in found[name] if x not in value]
            complain(scenario, f"{name} under {plan}", "rows", missing[:1] or "each once", more[:1] or "some repeated")
        complain(scenario, f"{name} under {plan}", "value", value, found[name])
