"""Runs one scenario again and tells what differs, with the fewest records that still differ.

Usage: python -m tests.support.replay SEED [--partition P] [--plans N] [--all]
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import replace

from tests.support.due_order import by_hash
from tests.support.reference import PayersReference
from tests.support.reference_compare import Difference, compare, compare_lasting, lasting
from tests.support.reference_driver import WHOLE, MakeLogic, Plan, payers_logic, run
from tests.support.reference_values import Control, Garbage, Record
from tests.support.scenarios import Scenario, scenario

Check = Callable[[Scenario], None]


def check_reference(made: Scenario, make: MakeLogic = payers_logic) -> None:
    """One chunk against the reference."""
    reference = PayersReference(made.partition, made.partitions, made.books, by_hash)
    reference.run(made.records)
    compare(made, reference, run(made, make=make))


def check_plans(made: Scenario, plans: int = 3, make: MakeLogic = payers_logic) -> None:
    """Single records, and random chunks, slices and rebuilds, against one chunk."""
    whole = lasting(run(made, make=make))
    r = random.Random(f"plans {made.seed} {made.partition}")
    every = dict.fromkeys(range(len(made.records)), "ledger")
    chosen = [Plan(chunks=(1,)), Plan(chunks=(7,), slice_rows=1), Plan(chunks=(WHOLE,), slice_rows=2, rebuilds=every)]
    chosen += [Plan.random(r, most) for _ in range(plans) for most in (3, 20)]
    for plan in chosen:
        compare_lasting(made, plan, whole, lasting(run(made, plan, make)))


def check(made: Scenario, make: MakeLogic = payers_logic) -> None:
    check_reference(made, make)
    check_plans(made, make=make)


def failure(made: Scenario, checked: Check) -> Exception | None:
    try:
        checked(made)
    except Exception as error:  # noqa: BLE001  # whatever goes wrong is what is looked for
        return error
    return None


def smallest(made: Scenario, checked: Check) -> Scenario:
    """Fewest records that still fail in the same way (by the type of the error), taken out block by block."""
    first = failure(made, checked)
    size = max(1, len(made.records) // 2)
    while first is not None and size:
        start, shrunk = 0, False
        while start < len(made.records):
            less = replace(made, records=made.records[:start] + made.records[start + size :])
            found = failure(less, checked) if less.records else None
            if type(found) is type(first):
                made, shrunk = less, True
            else:
                start += size
        if not shrunk or size > 1:
            size //= 2
    return made


def tell(record: Record) -> str:
    value = record.value
    head = f"  offset {record.offset} recorded {record.recorded_at_us} {record.wire}: "
    if isinstance(value, Control) and value.kind == "redrive":
        return head + f"redrive of {value.usage_offset}: {value.use}"[:200]
    if isinstance(value, Control):
        return head + f"{value.kind} at={value.at_us} book={value.book_number} hash={(value.book_hash or '')[:8]}"
    if isinstance(value, Garbage):
        return head + f"{value.reason} {value.data[:40] if value.data else value.data!r}"
    return head + ", ".join(f"{k}={v!r}"[:80] for k, v in value.items() if v is not None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--partition", type=int)
    parser.add_argument("--size", type=int, default=60)
    parser.add_argument("--all", action="store_true", help="keep all records")
    chosen = parser.parse_args()
    made = scenario(chosen.seed, chosen.size, partition=chosen.partition)
    error = failure(made, check)
    if error is None:
        print(f"seed {chosen.seed}: no difference")
        return 0
    checked = check_reference if failure(made, check_reference) is not None else check
    least = made if chosen.all else smallest(made, checked)
    reference = PayersReference(least.partition, least.partitions, least.books, by_hash)
    reference.run(least.records)
    print(f"{len(least.records)} of {len(made.records)} records:")
    for record in least.records:
        print(tell(record), "->", *reference.out.outcomes[record.offset])
    last = failure(least, checked)
    print(last if isinstance(last, Difference) else "")
    if last is not None and not isinstance(last, Difference):
        raise last
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
