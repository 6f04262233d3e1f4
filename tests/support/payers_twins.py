"""The same input through several benches: in one chunk, one by one, in slices, rebuilt at every chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.tariff import RuleBook
from tests.support.payers_bench import PayersBench

LASTING = ("Charge", "Tally", "Statement", "Reject", "ControlTaken")


def alike(
    rule_book: RuleBook, *values: bytes, slices: Sequence[int] = (1, 2), later: Sequence[RuleBook] = ()
) -> PayersBench:
    """A bench that took the values in one chunk; asserts that all other ways to take them write the same. later: books
    that the values activate."""

    def new_bench(slice_rows: int = 20_000) -> PayersBench:
        bench = PayersBench(rule_book, slice_rows=slice_rows)
        bench.books |= {known.number: known for known in later}
        return bench

    whole = new_bench().take(*values)
    for slice_rows in (20_000, slices[0]):
        bench = new_bench(slice_rows)
        for place, value in enumerate(values):
            bench.take(value)
            rebuilt(bench, "snapshot" if place % 2 else "ledger")
        assert lasting(bench) == lasting(whole), f"one by one, slices of {slice_rows}"
    for slice_rows in slices:
        sliced = new_bench(slice_rows).take(*values)
        assert lasting(sliced) == lasting(whole), f"slices of {slice_rows}"
        rebuilt(sliced, "ledger")
    balanced(whole)
    return whole


def rebuilt(bench: PayersBench, how: str) -> None:
    """Throws the state away and makes it anew from the ledger or a snapshot; asserts that it is the same."""
    old = bench.logic
    new = PayersLogic(0, old.partitions, 2, old.slice_rows)
    for known in bench.books.values():
        new.learn(known)
    if how == "ledger":
        new.evolve(bench.ledger, 0)
        chunks = bench.of("Chunk")
        assert new.resume(chunks[-1] if chunks else None) == old.state.next_offset
    else:
        new.restore(old.snapshot())
    assert new.metrics() == old.metrics()
    assert told(new) == told(old), how
    bench.logic = new


def told(logic: PayersLogic) -> dict[str, Any]:
    """What the state knows of scopes, dues and bases, in any order."""
    state = logic.state
    arrays = state.scopes.arrays()
    scopes = sorted(zip(*(arrays[name].tolist() for name in sorted(arrays)), strict=True))
    dues = sorted(
        (
            d.order,
            d.payer,
            d.name,
            d.minimum,
            d.charged,
            sorted((repr(state.splits.parties[n]), w) for n, w in d.weights.items()),
        )
        for d in state.dues._known.values()
    )
    bases = state.splits.bases()
    moved = {(h, w): b for h, w, b in zip(*(bases[n].tolist() for n in ("high", "low", "base")), strict=True) if b}
    redriven = state.redriven.offsets().tolist()
    return {
        "scopes": scopes, "dues": dues, "bases": moved, "next_n": state.next_n, "redriven": redriven, "ids": ids(logic)
    }  # fmt: skip


def ids(logic: PayersLogic) -> dict[tuple[int, int], tuple[int, int]]:
    """Ids that are not forgotten yet: content and time of the use, by key."""
    state, known = logic.state, logic.state.seen.arrays()
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for i in range(sum(name.endswith(".high") for name in known)):
        high, low, content, at = (known[f"{i}.{part}"].tolist() for part in ("high", "low", "content", "at"))
        found |= dict(zip(zip(high, low, strict=True), zip(content, at, strict=True), strict=True))
    oldest = max(state.forgotten_us, state.watermark_us - state.settings.horizon_us)
    return {key: value for key, value in found.items() if value[1] >= oldest}


def lasting(bench: PayersBench) -> list[tuple[str, Mapping[str, Any]]]:
    """All records that do not depend on chunks, by type and in order."""
    kept = [(kind, record) for _, kind, record in bench.records if kind in LASTING]
    return sorted(kept, key=lambda pair: LASTING.index(pair[0]))


def balanced(bench: PayersBench) -> None:
    """Shares sum to what is paid, line by line and at every chunk; the last chunk counts what was written."""
    for charge in bench.of("Charge"):
        assert charge["paid_nanos"] == sum(line["paid_nanos"] for line in charge["lines"])
        for line in charge["lines"]:
            assert sum(share["nanos"] for share in line["shares"]) == line["paid_nanos"], line
    for chunk in bench.of("Chunk"):
        for name, nanos in chunk["sums"].items():
            if name.startswith("paid."):
                assert chunk["sums"].get(f"shares.{name[5:]}", "0") == nanos
    charges, last = bench.of("Charge"), bench.of("Chunk")[-1]
    paid = sum(charge["paid_nanos"] for charge in charges)
    assert paid == sum(int(nanos) for name, nanos in last["sums"].items() if name.startswith("paid."))
    assert last["counts"].get("due", 0) == sum(charge["outcome"] == "due" for charge in charges)
    assert last["counts"]["rows.charges"] == len(charges) + len(bench.of("ControlTaken"))
    earned: dict[str, int] = {}
    for earning in bench.of("Earning"):
        earned[earning["account"]] = earned.get(earning["account"], 0) + earning["amount_nanos"]
    assert {a: n for a, n in earned.items() if n} == {a: n for a, n in accounts(bench).items() if n}


def accounts(bench: PayersBench) -> dict[str, int]:
    """Nanos by account over all charges."""
    sums: dict[str, int] = {}
    for charge in bench.of("Charge"):
        for line in charge["lines"]:
            for share in line["shares"]:
                sums[share["account"]] = sums.get(share["account"], 0) + share["nanos"]
    return sums
