"""The JSON Schema for editors: every example fits it, slips do not, and it names what the reader knows."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from nanotally.streams.commands import app
from nanotally.streams.tariffs.bands import TIME_KEYS
from nanotally.streams.tariffs.counting import COUNT_KEYS
from nanotally.streams.tariffs.extras import COMMITMENT_KEYS, EACH_KEYS, EXTRA_KEYS, FREE_KEYS
from nanotally.streams.tariffs.meters import METER_KEYS
from nanotally.streams.tariffs.passes import PASS_KEYS
from nanotally.streams.tariffs.price_from import FROM_KEYS
from nanotally.streams.tariffs.prices import PRICE_FUNCTIONS
from nanotally.streams.tariffs.reader import TARIFF_KEYS
from nanotally.streams.tariffs.rules import RULE_KEYS
from nanotally.streams.tariffs.schema import tariff_schema
from tests.support.json_schema import faults
from tests.support.tariff_texts import FILE, changed
from tests.unit import test_tariff_docs as page

ROOT = Path(__file__).resolve().parents[2]
FILES = [*sorted((ROOT / "docs" / "examples").glob("*.yaml")), ROOT / "infra" / "demo" / "media-and-ai.yaml"]
TEXTS = [path.read_text(encoding="utf-8") for path in FILES] + [page.WHOLE] + [page.around(text) for text in page.RULES]


def told(text: str) -> list[str]:
    """What an editor would mark in the file."""
    return faults(plain(yaml.safe_load(text)), tariff_schema(), tariff_schema())


def plain(value: Any) -> Any:
    """Values as an editor has them: YAML 1.2 knows no dates, and all names are texts."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, datetime) else value


@pytest.mark.parametrize(
    "text", TEXTS, ids=[p.stem for p in FILES] + [f"page{i}" for i in range(len(TEXTS) - len(FILES))]
)
def test_every_example_fits_the_schema(text: str) -> None:
    assert told(text) == []


def test_parts_of_the_page_fit_it_too() -> None:
    splits, passes = page.block("yaml splits"), page.block("yaml passes")
    assert told(page.around(page.RULES[0], splits, f"passes:\n{passes}")) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("tariff: t\n", "", ".tariff is missing"),
        ("tariff: t\n", "tarif: t\n", "unknown 'tarif'"),
        ("{unit: page}", "{}", ".meters.page.view.unit is missing"),
        ("cap: 0.004", "capp: 0.004", ".rules[1]: unknown 'capp'"),
        ("price: 0.00002 per second", "price: [1]", ".rules[1].price: fits none"),
        ("to 10M:", "10M:", "unknown '10M'"),
        ("{meter: play}", "{product: x}", ".rules[1].when.meter is missing"),
        ("over: month", "ovr: month", ".rules[2].count: unknown 'ovr'"),
        ("cap: 0.004", "reprice: up", "'up' is none of ['down', 'never']"),
        ("cap: 0.004", "each: 0.30", "is no object"),
        ("cap: 0.004", "bands: []", "an empty list"),
        ("cap: 0.004", "bands: [{days: mon}]", ".rules[1].bands[0]: fits none"),
    ],
)
def test_a_slip_does_not_fit(old: str, new: str, fault: str) -> None:
    assert told(FILE) == []
    assert fault in " / ".join(told(changed(old, new)))


def test_the_schema_names_what_the_reader_knows_and_nothing_else() -> None:
    top = tariff_schema()
    rule, pass_, defs = top["properties"]["rules"]["items"], top["properties"]["passes"]["items"], top["$defs"]
    band, otherwise = rule["properties"]["bands"]["items"]["anyOf"]
    body = {*PRICE_FUNCTIONS, "multiply", *EXTRA_KEYS}
    free = rule["properties"]["free"]["anyOf"][1]
    for schema, names in (
        (top, TARIFF_KEYS),
        (rule, RULE_KEYS),
        (pass_, PASS_KEYS),
        (pass_["properties"]["count"], COUNT_KEYS.keys() - {"at_most"}),
        (rule["properties"]["count"], COUNT_KEYS),
        (rule["properties"]["each"], EACH_KEYS),
        (rule["properties"]["commitment"], COMMITMENT_KEYS),
        (free, FREE_KEYS),
        (band, {*TIME_KEYS, *body}),
        (otherwise["properties"]["otherwise"]["anyOf"][1], body),
        (top["properties"]["meters"]["additionalProperties"], METER_KEYS),
        (defs["priceFrom"], FROM_KEYS),
    ):
        assert set(schema["properties"]) == set(names)


def test_the_command_prints_it() -> None:
    result = CliRunner().invoke(app, ["tariff", "schema"])
    assert json.loads(result.stdout) == tariff_schema()
