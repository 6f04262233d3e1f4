"""Breaks the columnar payers' stage in one place at a time and looks how many scenarios it takes to see it.

Usage: python -m tests.support.mutants [--seeds N] [NAME...]    exit code 1 where a bug goes unseen

Each mutant is a text replaced in one module, loaded in its place in a process of its own; nothing on disk changes.
"""

# ruff: noqa: E501
from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "nanotally.streams.domain"
# Modules that prices alone see: asked first of random stories of one rule, which are quick.
RATING = ("prices", "price_columns", "rating", "rating_columns", "exact")
FOLDER = ROOT / "streams" / "domain"


@dataclass(frozen=True)
class Mutant:
    """`old` stands once in the module and becomes `new`."""

    name: str
    module: str
    old: str
    new: str

    def source(self) -> str:
        """The broken module. Raises ValueError where the text is not there, or not once."""
        text = (FOLDER / f"{self.module}.py").read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.module}.py has {self.old!r} {text.count(self.old)} times")
        return text.replace(self.old, self.new)


MUTANTS = (
    Mutant("cap ignored in columns", "rating_columns", "else np.minimum(total, price.rule.cap_nanos)", "else total"),
    Mutant("remainder lost between runs", "pricing", "remainder=rated.remainder_after[last]", "remainder=0 * rated.remainder_after[last]"),
    Mutant("remainder lost in the rebuild", "state_fold", 'remainder=number["remainder_after"][last]', 'remainder=0 * number["remainder_after"][last]'),
    Mutant("what was charged lost in the rebuild", "state_fold", 'charged=number["charged_before"][last] + number["amount_nanos"][last]', 'charged=number["charged_before"][last]'),
    Mutant("bases not moved", "splitting", "self.base[splits] = after[groups.starts + sizes - 1]", "pass"),
    Mutant("accounts of a split not in order", "parties", "others = sorted((account, fraction) for account, fraction in shares.items() if account != last)", "others = [(account, fraction) for account, fraction in shares.items() if account != last]"),
    Mutant("an absent creator earns all the same", "parties", 'return f"creator:{creator}" if creator else PLATFORM', 'return f"creator:{creator}"'),
    Mutant("too old a microsecond early", "admission", "verdict[easy & (occurred_at < oldest)]", "verdict[easy & (occurred_at <= oldest)]"),
    Mutant("an id forgotten a microsecond early", "admission", "known_as[1] >= oldest", "known_as[1] > oldest"),
    Mutant("a longer horizon brings ids back", "state", "self.forgotten_us = max(self.forgotten_us, self.watermark_us - self.settings.horizon_us)", "pass"),
    Mutant("a conflict taken for a duplicate", "admission", 'DUPLICATE if known_as[0] == content else CODE["conflict"]', "DUPLICATE"),
    Mutant("content without attributes", "uses", "mix(head + attributes[several])", "mix(head)"),
    Mutant("rejects move the watermark", "admission", "np.where(easy & (later == 0), occurred_at", "np.where(easy, occurred_at"),
    Mutant("booked by occurred_at", "runs", "np.maximum(uses.occurred_at_us, watermark)", "np.maximum(uses.occurred_at_us, uses.occurred_at_us)"),
    Mutant("a window closed too late by one use", "runs", "start : start + LOOK_AHEAD] >= open_before", "start : start + LOOK_AHEAD] > open_before"),
    Mutant("refused and unpriced ids free again", "runs", "self._remember(uses, rows)", "self._remember(uses, rows[rule[rows] >= 0])"),
    Mutant("a version in force only after its first instant", "matching", 'side="right") - 1', 'side="left") - 1'),
    Mutant("conditions of absent fields hold", "conditions", "result = pc.fill_null(reduce(pc.or_, fits), False)", "result = pc.fill_null(reduce(pc.or_, fits), True)"),
    Mutant("an absent value of per is the empty one", "scope_keys", "if column.null_count:  # an absent value is not the empty one", "if False:"),
    Mutant("one scope for all uses that stand alone", "scope_keys", 'start if rule.scope != "event" else (uses.offsets if whole else uses.offsets[every])', "start"),
    Mutant("earnings by occurred_at", "earnings", "minute = booked_at - booked_at % MINUTE_US", "minute = uses.occurred_at_us[rows] - uses.occurred_at_us[rows] % MINUTE_US"),
    Mutant("scopes thrown away while open", "scopes", "np.flatnonzero(ends > closed_to_us)", "np.flatnonzero(ends > closed_to_us + 3_600_000_000)"),
    Mutant("a tick without lateness", "controls", "else recorded_at - settings.lateness_us", "else recorded_at"),
    Mutant("the book in force again is taken again", "controls", "if number <= book_number:", "if number < book_number:"),
    Mutant("max_price compared without the cap", "exact", "asked = min(asked, Fraction(max(0, rule.cap_nanos - self.charged)))", "pass"),
    Mutant("a price that is just met refused", "exact", "return self.asks(price, after) > most", "return self.asks(price, after) >= most"),
    Mutant("ids of characters, not bytes, measured wrongly", "validation", "ID_BYTES_MAX = 256", "ID_BYTES_MAX = 257"),
    Mutant("the cursor of a cut close not kept", "payers", "state.cursor = closed.cursor", "pass"),
    Mutant("snapshots without bases", "state", 'self.splits.put(bases["high"], bases["low"], bases["base"])', "pass"),
    Mutant("a use under another version rated by the first one's price", "rating", "which = np.array([number[price] for price in prices], dtype=np.int64)", "which = np.zeros(len(prices), dtype=np.int64)"),
    Mutant("denominators of two versions not brought together", "rating", "slow[groups.codes[den[groups.codes] % of_row != 0]] = True", "pass"),
    Mutant("an allowance after rounding taken off before it", "price_columns", "quantity, by_scope = self._rounded(quantity), False", "pass"),
    Mutant("an allowance taken off the rounded quantity", "prices", "return self._rounded(max(0, quantity - free))", "return max(0, self._rounded(quantity) - free)"),
    Mutant("the fee of a tier at its border already", "price_columns", 'entered = np.searchsorted(self._lower, billable, side="left")', 'entered = np.searchsorted(self._lower, billable, side="right")'),
    Mutant("a volume tier without its border", "price_columns", 'place = np.searchsorted(self._lower[1:], billable, side="left")', 'place = np.searchsorted(self._lower[1:], billable, side="right")'),
    Mutant("half a step rounded down", "price_columns", 'half = rounding.step if rounding.mode == "half_up" else 0', 'half = rounding.step - 1 if rounding.mode == "half_up" else 0'),
    Mutant("steps paid for before are paid for again", "prices", "step, over_after = self._walk(start + over, end)", "step, over_after = self._walk(start, end)"),
    Mutant("connecting costs with each use", "price_columns", "self.price.connect * ((quantity == 0) & (counted > 0))", "self.price.connect * (counted > 0)"),
    Mutant("one free use too many", "prices", "index < free.events", "index <= free.events"),
    Mutant("bounds of a use before its fee", "prices", "step += int(each.fee * self.den)", "step = max(step, 0)"),
    Mutant("all of a total multiplied where it is above a commitment", "prices", "return overage.above + (total - overage.above) * overage.factor", "return total * overage.factor"),
    Mutant("a limit that is reached refuses", "exact", "self.quantity + counted > rule.limit", "self.quantity + counted >= rule.limit"),
    Mutant("a use a gap after the last one still in the session", "opened", "begins = np.where(booked_at >= before,", "begins = np.where(booked_at > before,"),
    Mutant("a session that does not go on", "opened", "np.maximum(booked_at + gap_us, newest.end[of_row])", "np.maximum(np.where(newest.end[of_row] > booked_at, 0, booked_at + gap_us), newest.end[of_row])"),
    Mutant("after midnight a band belongs to the new day", "bands", "_begins_on(band, day - 1)", "_begins_on(band, day)"),
    Mutant("a band still holds at its end", "bands", "(time >= band.begin) & (time < band.end) &", "(time >= band.begin) & (time <= band.end) &"),
    Mutant("uses are not cut where a version begins", "cutting", 'cuts[mine] = starts[np.searchsorted(starts, at_us[mine], side="right")]', "pass"),
    Mutant("pieces rounded one by one", "cutting", "q * (stop_us - begin_us) // lasts - q * (start_us - begin_us) // lasts", "q * (stop_us - start_us) // lasts"),
    Mutant("a later piece counts as a use", "careful", "begins[1:] = ordered[1:] != ordered[:-1]", "begins[1:] = True"),
    Mutant("a refused use extends its session", "careful", "good, bad = taken & (rows < first[payer]), rows == first[payer]", "good, bad = taken, rows == first[payer]"),
    Mutant("passes shared out before minimums", "dues", "MINIMUMS, SHARINGS = 0, 1", "MINIMUMS, SHARINGS = 1, 0"),
    Mutant("a minimum divided by the last use alone", "dues", "_weigh(due, line.resolved, line.amount + (line.before if fresh else 0))", "due.weights = {line.resolved: 1}"),
    Mutant("dues booked at the end itself", "falling_due", "return FallenDue(due.payer, REASONS[due.kind], currency, due.end_us - 1,", "return FallenDue(due.payer, REASONS[due.kind], currency, due.end_us,"),
    Mutant("what a pass covers is paid twice", "careful", 'lines.paid = np.where(lines.covering >= 0, 0, lines.numbers["amount"])', 'lines.paid = lines.numbers["amount"]'),
    Mutant("pieces count as uses in the rebuild", "state_fold", "self._first_of_use()[last]", "1"),
    Mutant("what a party gets beyond its cap is lost to the rest", "parties", "beyond[party.overflow] += share - most", "pass"),
    Mutant("redriven twice in a chunk", "redrive_runs", "taken.add(offset)", "pass"),
    Mutant("redriven twice in two chunks", "redrive_runs", "self.state.redriven.add(self.from_offsets[row])", "pass"),
    Mutant("redriven twice after a rebuild", "state_fold", "self.state.redriven.add(offset)", "pass"),
    Mutant("redriven twice after a snapshot", "state", 'Redriven(unpack(parts["redriven"])["offsets"])', "Redriven()"),
    Mutant("the id of a redriven use is used anew", "redrive_runs", "def _remember(self", "def _forget(self"),
    Mutant("the id of a redriven use is used anew in the rebuild", "state_fold", "return np.flatnonzero(redriven < 0)", "return np.arange(len(redriven))"),
    Mutant("a redrive without a price is taken all the same", "redrive_runs", "later[(later == 0) & (rule < 0)] = CODE[STILL_UNPRICED]", "pass"),
    Mutant("a redrive with a piece without a price is taken all the same", "redrive_runs", "self._cut(uses, (static == 0) & (later == 0), rule)", "pass"),
    Mutant("redriven uses do not move the watermark", "redrive_runs", "np.where(verdict == TAKEN, uses.occurred_at_us - state.settings.lateness_us, LONG_AGO)", "np.full(len(uses), LONG_AGO)"),
    Mutant("what follows redrives that a long close cut is skipped", "payers", "return reached, reached == end", "return end, True"),
    Mutant("a range without its upper end", "conditions", "(high is None or value <= high)", "(high is None or value < high)"),
)  # fmt: skip


class _Loader(importlib.abc.Loader):
    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.mutant.source(), f"<{self.mutant.name}>", "exec"), module.__dict__)


class Planted(importlib.abc.MetaPathFinder):
    """Gives the broken module in place of the sound one."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != f"{PACKAGE}.{self.mutant.module}":
            return None
        return importlib.util.spec_from_loader(fullname, _Loader(self.mutant))


def hunt(mutant: Mutant, seeds: int) -> int:
    """In a process of its own: prints the seed that sees the bug; 1 where none does."""
    assert f"{PACKAGE}.{mutant.module}" not in sys.modules, "the sound module was loaded before"
    sys.meta_path.insert(0, Planted(mutant))
    from tests.support.replay import check_plans, check_reference
    from tests.support.scenarios import scenario

    if mutant.module in RATING:
        from tests.property import test_rating_reference as stories

        for first in range(0, 600, 10):
            try:
                stories.test_columns_and_reference_agree_on_every_price(first)
            except Exception as error:  # noqa: BLE001  # a bug may show in any way
                print(f"seen after {first + 10} stories: {type(error).__name__}")
                return 0
    for seed in range(seeds):
        made = scenario(seed)
        for check in (check_reference, check_plans):
            try:
                check(made)
            except Exception as error:  # noqa: BLE001  # a bug may show in any way
                told = str(error).strip().splitlines() or [""]
                field = next((line.strip() for line in told if line.strip().startswith("field")), told[0][:80])
                print(f"seen after {seed + 1} scenarios: {type(error).__name__} {field}")
                return 0
    print(f"NOT SEEN in {seeds} scenarios")
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--hunt", action="store_true", help="in this process; for one mutant")
    chosen = parser.parse_args()
    mutants = [m for m in MUTANTS if not chosen.names or m.name in chosen.names]
    if chosen.hunt:
        return hunt(mutants[0], chosen.seeds)
    unseen = 0
    for mutant in mutants:
        mutant.source()
        command = [sys.executable, "-m", "tests.support.mutants", mutant.name, "--hunt", "--seeds", str(chosen.seeds)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        unseen += done.returncode != 0
        print(f"{mutant.name:58} {done.stdout.strip() or done.stderr.strip()[-300:]}", flush=True)
    return 1 if unseen else 0


if __name__ == "__main__":
    raise SystemExit(main())
