"""Files of charges are checked offline, and proofs by a script that knows nothing of nanotally; tampering shows."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nanotally.streams import verify_proof
from nanotally.streams.commands import app
from nanotally.streams.commands.explain_proof import proof, script
from nanotally.streams.domain.explaining import explain
from nanotally.streams.domain.tariff import from_document

TARIFF = """
tariff: media
version: 1
effective_from: 2020-01-01T00:00:00Z
currency: USD
meters:
  page.view: {unit: page}
  token.input: {unit: token}
splits:
  standard: {platform: 10%, creator: rest}
rules:
  - rule: article
    when: {meter: page.view}
    price: 0.005 per page
    count: {per: [payer, item], over: day, at_most: 1 page}
    split: standard
  - rule: tokens-in
    when: {meter: token.input}
    graduated: {to 10M: 0.50 per 1M, above: 0.40 per 3M}
    count: {per: [payer, item], over: month}
    split: standard
"""
USES = [("page.view", "1"), ("page.view", "1"), ("token.input", "9999810"), ("token.input", "758"), ("nothing", "1")]
Entry = dict[str, Any]


@pytest.fixture
def charges(tmp_path: Path) -> Path:
    """A file of five charges: 0.005, 0 (read again), 4.999905, 0.000095 + 568 * 0.4 / 3M rounded down, unpriced."""
    (tmp_path / "tariff.yaml").write_text(TARIFF)
    path = tmp_path / "charges.jsonl"
    uses = [
        {
            "event_id": f"e-{number}",
            "occurred_at": "2023-11-16T18:43:32Z",
            "product": "any",
            "payer": "p",
            "creator": "ana",
            "item": "i",
            "meter": meter,
            "quantity": quantity,
        }
        for number, (meter, quantity) in enumerate(USES)
    ]
    arguments = ["price", "--tariff", str(tmp_path / "tariff.yaml"), "--usage", "-", "--export", str(path)]
    result = CliRunner().invoke(app, arguments, input="\n".join(json.dumps(use) for use in uses))
    assert result.exit_code == 0, result.output
    return path


def entries(path: Path) -> list[Entry]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def verify(path: Path, *more: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["explain", "--verify", str(path), *more])
    return result.exit_code, result.stdout, result.stderr


def tamper(path: Path, line: int, change: Callable[[Entry], Any]) -> None:
    read = entries(path)
    change(read[line - 1])
    path.write_text("".join(json.dumps(entry) + "\n" for entry in read))


def test_a_file_has_each_tariff_before_the_charges_that_it_rated(charges: Path) -> None:
    assert [entry["kind"] for entry in entries(charges)] == ["tariff", *["charge"] * 5]


def test_a_file_of_charges_is_worked_out_again(charges: Path) -> None:
    # 0.005 + 4.999905 + 0.000095 + 0.000075733 1/3
    assert verify(charges) == (0, "5 charges of 5.005075733 USD by media v1: all are what their tariffs give\n", "")


def amount(entry: Entry) -> None:
    entry["charge"]["lines"][0]["amount_nanos"] += 1


def test_what_differs_is_told_with_file_line_charge_and_field(charges: Path) -> None:
    tamper(charges, 5, amount)
    code, out, err = verify(charges)
    assert code == 1 and out.endswith("1 difference\n")
    said = "line 0, amount_nanos: worked out again it is 170733, the charge has 170734"
    assert err == f"{charges}:5: charge 0-4: {said}\n"
    code, out, _ = verify(charges, "--json")
    told = json.loads(out)
    assert code == 1 and not told["ok"] and told["charges"] == 5 and told["paid_nanos"]["USD"] == 5_005_075_733
    assert told["differences"] == [
        {"file": str(charges), "line": 5, "charge": "0-4", "field": "line 0, amount_nanos",
         "problem": said}
    ]  # fmt: skip


def test_a_changed_tariff_is_found_out_by_its_hash(charges: Path) -> None:
    tamper(charges, 1, lambda entry: entry["document"]["rules"][0]["tiers"][0].update(price="4"))
    code, _, err = verify(charges)
    assert code == 1
    assert f"{charges}:1: content_hash: the document's own is" in err
    assert f"{charges}:2: charge 0-1: tariff_hash: no tariff above in the file has content" in err


@pytest.mark.parametrize("text", ["{", "[]", '{"kind": "tariff"}', '{"kind": "charge", "charge": {}}', '{"charge": 1}'])
def test_a_line_of_another_kind_is_told_by_its_number(charges: Path, text: str) -> None:
    charges.write_text(charges.read_text() + text + "\n")
    code, _, err = verify(charges)
    assert code == 3 and f"{charges}:7: " in err and "docs/proofs.md" in err


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert verify(tmp_path / "none")[0] == 4


def test_a_charge_or_a_file_must_be_named_and_not_both(charges: Path) -> None:
    assert CliRunner().invoke(app, ["explain"]).exit_code == 2
    assert CliRunner().invoke(app, ["explain", "1-2", "--verify", str(charges)]).exit_code == 2


JUNK: tuple[Any, ...] = (None, "", "x", -1, 0, 10**30, 1.5, True, [], {}, [1], {"a": 1}, "9" * 40)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_a_file_holds_it_is_told_and_nothing_breaks(charges: Path, seed: int) -> None:
    r = random.Random(seed)
    for _ in range(8):
        read = entries(charges)
        spoil(r, r.choice(read))
        changed = charges.with_name("changed.jsonl")
        changed.write_text("".join(json.dumps(entry) + "\n" for entry in read))
        result = CliRunner().invoke(app, ["explain", "--verify", str(changed)])
        assert result.exit_code in (0, 1, 3), result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)


def spoil(r: random.Random, entry: Any) -> None:
    """Puts something else somewhere into a document."""
    while True:
        places = list(entry) if isinstance(entry, dict) else list(range(len(entry)))
        place = r.choice(places)
        inner = entry[place]
        if not isinstance(inner, dict | list) or not inner or r.random() < 0.1:
            entry[place] = r.choice(JUNK)
            return
        entry = inner


# ---- proofs ----


def proof_of(path: Path, line: int) -> Entry:
    read = entries(path)
    charge = read[line - 1]["charge"]
    made: Entry = json.loads(json.dumps(proof(charge, explain(charge, from_document(read[0]["document"])))))
    return made


@pytest.mark.parametrize("line", [2, 3, 4, 5, 6])
def test_a_proof_is_verified_by_the_script_that_is_shipped(charges: Path, tmp_path: Path, line: int) -> None:
    (tmp_path / "verify_proof.py").write_text(script())
    (tmp_path / "proof.json").write_text(json.dumps(proof_of(charges, line)))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "verify_proof.py", "proof.json"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"OK: charge 0-\d, \d+ nanos (USD)?\n", done.stdout)


def test_the_script_says_what_differs_and_ends_with_1(charges: Path, tmp_path: Path) -> None:
    (tmp_path / "verify_proof.py").write_text(script())
    changed = proof_of(charges, 5)
    changed["lines"][0]["shares"][0]["nanos"] += 1
    (tmp_path / "proof.json").write_text(json.dumps(changed))
    done = subprocess.run(
        [sys.executable, "verify_proof.py", "proof.json"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "line 0, shares: worked out again it is {'platform': 17073, 'creator:ana': 153660}" in done.stdout


def test_the_script_is_printed_to_be_given_away() -> None:
    result = CliRunner().invoke(app, ["explain", "--proof-script"])
    assert result.exit_code == 0 and result.stdout == script()


PLACES = [
    ("quantity_before", 1),
    ("quantity", 1),
    ("charged_before", 1),
    ("amount_nanos", 1),
    ("paid_nanos", 1),
    ("total_before", "1"),
    ("total_after", "5"),
    ("base_before", 7),
]


@pytest.mark.parametrize(("name", "value"), PLACES)
def test_no_number_that_decides_can_be_changed_unseen(charges: Path, name: str, value: Any) -> None:
    changed = proof_of(charges, 5)
    line = changed["lines"][0]
    line[name] = value if isinstance(value, str) else line[name] + value
    assert verify_proof.verify(changed)


def test_the_tariff_in_a_proof_cannot_be_changed_unseen(charges: Path) -> None:
    changed = proof_of(charges, 2)
    document = next(iter(changed["tariffs"].values()))
    document["currency"] = "EUR"
    (said,) = verify_proof.verify(changed)
    assert said.startswith("hash of media v1: worked out again it is")
