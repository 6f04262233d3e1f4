"""The page on catalogs says what happens: its files are read, its table is priced, its output is the command's own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nanotally.streams.commands import app

PAGE = (Path(__file__).parents[2] / "docs" / "catalogs.md").read_text(encoding="utf-8")
CATALOG, TARIFF = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
ROWS = re.findall(r"^\| `([\w-]+)` \| ([\d.]+) \| ([\d.]+) \|(.*?)\|(.*?)\|$", PAGE, re.MULTILINE)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "songs.yaml").write_text(CATALOG)
    (tmp_path / "music.yaml").write_text(TARIFF)
    return tmp_path / "songs.yaml", tmp_path / "music.yaml"


def price(files: tuple[Path, Path], *more: str, **fields: str) -> dict[str, Any]:
    use = {
        "event_id": "e",
        "occurred_at": "2026-12-01T12:00:00Z",
        "product": "music",
        "payer": "p",
        "meter": "play",
        "quantity": "1",
    }
    arguments = ["price", "--tariff", str(files[1]), "--catalog", str(files[0]), "--usage", "-", *more]
    result = CliRunner().invoke(app, arguments, input=json.dumps(use | fields))
    assert result.exit_code == 0, result.output
    out: dict[str, Any] = json.loads(result.stdout)
    return out


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_table_is_what_plays_cost(files: tuple[Path, Path], row: tuple[str, ...]) -> None:
    item, amount, platform, label, creators = (cell.strip() for cell in row)
    expected = {"platform": platform}
    expected |= {f"party:{name}": nanos for name, nanos in re.findall(r"(\w+) ([\d.]+)", label)}
    expected |= {f"creator:{name}": nanos for name, nanos in re.findall(r"(\w+) ([\d.]+)", creators)}
    out = price(files, item=item)
    assert (out["amount"], out["shares"]) == (amount, expected)


def test_all_rows_are_tried() -> None:
    assert [row[0] for row in ROWS] == ["night-train", "duet", "old-tune", "new-tune"]


def test_a_price_outside_the_tariffs_bounds_is_refused(files: tuple[Path, Path]) -> None:
    files[0].write_text(CATALOG.replace("0.002", "0.02"))
    out = price(files, item="night-train")
    assert (out["outcome"], out["reason"]) == ("refused", "price")


def test_the_creator_of_a_use_goes_before_writers(files: tuple[Path, Path]) -> None:
    # 0.003: the platform has 10 % and the absent label's 15 %
    assert price(files, item="duet", creator="zoe")["shares"] == {"platform": "0.00075", "creator:zoe": "0.00225"}


def test_what_is_charged_by_catalogs_is_repeated_from_a_file(files: tuple[Path, Path], tmp_path: Path) -> None:
    price(files, "--export", str(tmp_path / "charges.jsonl"), item="duet")
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "charges.jsonl").read_text().splitlines()]
    assert kinds == ["catalog", "tariff", "charge"]
    result = CliRunner().invoke(app, ["explain", "--verify", str(tmp_path / "charges.jsonl")])
    said = "1 charge of 0.003000000 USD by music v1, songs v1: all are what their tariffs give\n"
    assert (result.exit_code, result.stdout) == (0, said)


def test_the_output_of_check_is_the_commands_own(files: tuple[Path, Path]) -> None:
    result = CliRunner().invoke(app, ["catalog", "check", str(files[0])])
    shown = PAGE.split("$ nanotally catalog check songs.yaml\n")[1].split("$ nanotally catalog publish")[0]
    assert result.stdout.rstrip() == shown.rstrip()


def test_the_error_that_is_shown_is_at_that_place(files: tuple[Path, Path]) -> None:
    files[0].write_text(CATALOG.replace("0.002", "cheap"))
    result = CliRunner().invoke(app, ["catalog", "check", str(files[0])])
    shown = re.search(r"songs\.yaml:(\d+:\d+: error: items\.night-train\.price: 'cheap' is no price)", PAGE)
    assert shown is not None and shown[1] in result.stderr
