"""nanotally price: usage and tariff files in, charges out, worked by hand here; no service is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nanotally.streams.commands import app

TARIFF = """
tariff: media
version: 1
effective_from: 2020-01-01T00:00:00Z
currency: USD
calendar: UTC
meters:
  page.view: {unit: page}
  play: {unit: second, scale: 3, needs: session}
  token.input: {unit: token}
splits:
  standard: {platform: 10%, creator: rest}
rules:
  - rule: article
    when: {meter: page.view}
    price: 0.005 per page
    count: {per: [payer, item], over: day, at_most: 1 page}
    split: standard
  - rule: song
    when: {meter: play}
    price: 0.00002 per second
    count: {per: [payer, session], over: day}
    split: standard
  - rule: tokens-in
    when: {meter: token.input}
    graduated: {to 10M: 0.50 per 1M, above: 0.40 per 1M}
    count: {per: [payer, item], over: month}
    split: standard
"""


@pytest.fixture
def tariff(tmp_path: Path) -> Path:
    path = tmp_path / "tariff.yaml"
    path.write_text(TARIFF)
    return path


def use(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": f"e-{number}",
        "occurred_at": "2023-11-16T18:43:32Z",
        "product": "any",
        "payer": "p",
        "creator": "ana",
        "item": "i",
        "meter": "page.view",
        "quantity": "1",
    } | fields


def price(tariff: Path, uses: list[dict[str, Any]] | str, *more: str) -> tuple[int, list[dict[str, Any]], str]:
    text = uses if isinstance(uses, str) else "\n".join(json.dumps(u) for u in uses)
    result = CliRunner().invoke(app, ["price", "--tariff", str(tariff), "--usage", "-", *more], input=text)
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()], result.stderr


def test_each_use_is_priced_split_and_named_in_the_order_of_the_input(tariff: Path) -> None:
    code, (first, again, other), err = price(tariff, [use(1), use(2), use(3, item="j")])
    assert (code, err) == (0, "")
    assert first | {"tariff_hash": ""} == {
        "line": 1,
        "event_id": "e-1",
        "outcome": "charged",
        "reason": "",
        "rule": "article",
        "amount": "0.005",
        "currency": "USD",
        "shares": {"platform": "0.0005", "creator:ana": "0.0045"},
        "payer": "p",
        "booked_at": "2023-11-16T18:43:32Z",
        "late": False,
        "tariff": "media",
        "version": 1,
        "tariff_hash": "",
        "scope": "day",
        "scope_start": "2023-11-16T00:00:00Z",
        "scope_end": "2023-11-17T00:00:00Z",
        "quantity_before": "0",
        "quantity": "1",
        "split": "standard",
    }
    assert (again["amount"], again["quantity_before"], other["amount"]) == ("0", "1", "0.005")


def test_a_use_over_a_tier_border_is_priced_on_both_sides(tariff: Path) -> None:
    # 190 tokens at 0.50 per million and 568 at 0.40: 0.000095 + 0.0002272
    uses = [use(1, meter="token.input", quantity="9999810"), use(2, meter="token.input", quantity="758")]
    _, (_, over), _ = price(tariff, uses)
    assert (over["amount"], over["shares"]["creator:ana"]) == ("0.0003222", "0.00028998")


def test_a_quantity_is_exact_to_the_meters_scale(tariff: Path) -> None:
    _, (play,), _ = price(tariff, [use(1, meter="play", quantity="12.5", session="s")])
    assert (play["amount"], play["quantity"]) == ("0.00025", "12.5")


def test_missing_optional_fields_are_absent(tariff: Path) -> None:
    bare = {k: v for k, v in use(1).items() if k not in ("creator", "event_id")}
    _, (out,), _ = price(tariff, [bare])
    assert (out["shares"], out["event_id"]) == ({"platform": "0.005"}, None)


@pytest.mark.parametrize(
    ("fields", "outcome", "reason"),
    [
        ({"event_id": "e-0"}, "duplicate", ""),
        ({"event_id": "e-0", "item": "j"}, "rejected", "conflict"),
        ({"meter": "page.veiw"}, "unpriced", "unknown_meter"),
        ({"attributes": {"max_price": "0.001"}, "item": "j"}, "refused", "max_price"),
        ({"attributes": {"max_price": "cheap"}}, "rejected", "bad_price"),
        ({"quantity": "0.5"}, "rejected", "wrong_scale"),
        ({"quantity": "-1"}, "rejected", "negative"),
        ({"quantity": "1e16"}, "rejected", "absurd"),
        ({"quantity": "one"}, "rejected", "malformed"),
        ({"meter": "play"}, "rejected", "no_session"),
        ({"payer": ""}, "rejected", "invalid_id"),
        ({"item": "i" * 2000}, "rejected", "invalid_id"),
        ({"occurred_at": "2023-11-01T00:00:00Z"}, "rejected", "too_old"),
        ({"occurred_at": "1970-01-01T00:00:00Z"}, "rejected", "malformed"),
        ({"occurred_at": "2023-11-16T00:00:00"}, "rejected", "malformed"),
        ({"payer": None}, "rejected", "malformed"),
        ({"quantiy": "1"}, "rejected", "malformed"),
    ],
)
def test_every_outcome_of_the_worker_is_told(tariff: Path, fields: dict[str, Any], outcome: str, reason: str) -> None:
    code, (_, out), err = price(tariff, [use(0), use(1, **fields)])
    assert (out["outcome"], out["reason"], out["amount"], out["shares"]) == (outcome, reason, "0", {})
    assert code == (3 if outcome == "rejected" else 0)
    assert err.startswith(f"-:2: {out['field']}: ") if outcome == "rejected" else err == ""


def test_a_line_that_is_no_json_becomes_a_rejected_one_and_stops_nothing(tariff: Path) -> None:
    code, (bad, good), err = price(tariff, '{"event_id"\n' + json.dumps(use(1)))
    assert (bad["outcome"], bad["reason"], bad["event_id"], good["amount"]) == ("rejected", "malformed", None, "0.005")
    assert code == 3 and err.startswith("-:1: line: not JSON")


def test_bad_fields_are_named(tariff: Path) -> None:
    _, outs, _ = price(tariff, [use(1, payer=""), use(2, quantity="0.5"), use(3, occurred_at="x"), use(4, item=None)])
    assert [out["field"] for out in outs] == ["payer", "quantity", "occurred_at", "item"]


def test_settings_change_the_result(tariff: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("horizon: 30d\n")
    uses = [use(0), use(1, occurred_at="2023-11-01T00:00:00Z")]
    code, (_, out), _ = price(tariff, uses, "--settings", str(tmp_path / "settings.yaml"))
    assert (code, out["outcome"], out["late"]) == (0, "charged", True)


def test_closing_the_books_adds_what_falls_due(tariff: Path) -> None:
    code, outs, _ = price(tariff, [use(0)], "--close", "2023-11-17T00:00:00Z")
    assert (code, len(outs)) == (0, 1)  # no rule of this tariff has anything that falls due
    assert price(tariff, [use(0)], "--close", "tomorrow")[0] == 2


def test_several_tariff_files_make_one_book(tariff: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.yaml"
    second.write_text(
        TARIFF.replace("version: 1", "version: 2").replace("2020-01-01", "2023-01-01").replace("0.005", "0.006")
    )
    for arguments in (("--tariff", str(second)), (str(second),)):
        _, (out,), _ = price(tariff, [use(0)], *arguments)
        assert (out["version"], out["amount"]) == (2, "0.006")


def test_a_tariff_that_cannot_be_used_is_told_with_its_place(tariff: Path) -> None:
    tariff.write_text(TARIFF.replace("0.005 per page", "cheap"))
    code, outs, err = price(tariff, [use(0)])
    assert (code, outs) == (3, []) and f"{tariff}:" in err
