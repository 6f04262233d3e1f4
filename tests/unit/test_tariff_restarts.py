"""What begins to count anew from one version of a tariff to the next, as `tariff check --against` tells it."""

# One case a line reads best.
# ruff: noqa: E501

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nanotally.streams.commands import app, tariff_check
from nanotally.streams.commands.tariff_sources import Named
from nanotally.streams.domain.matching import CompiledBook, NumberedRule
from nanotally.streams.domain.tariff import RuleBook, Settings, TariffVersion
from nanotally.streams.errors import ExitCode
from nanotally.streams.tariffs.reader import read_tariff
from nanotally.streams.tariffs.restarts import restarts

FILE = """\
tariff: t
version: 1
effective_from: 2026-12-01T00:00:00Z
currency: USD
meters: {page.view: {unit: page}, play: {unit: second}, read: {unit: page}}
splits: {s: {creator: rest}}
passes: [{pass: day, covers: [song], count: {over: day}, cap: 1}]
rules:
- {rule: article, when: {meter: page.view}, price: 0.005, count: {per: [payer, item], over: day}, split: s}
- {rule: song, when: {meter: play}, price: 1, count: {over: session, ends_after: 30m}, split: s}
- {rule: reading, when: {meter: read}, price: 1, split: s}
"""


def changed(*changes: tuple[str, str]) -> str:
    text = FILE.replace("version: 1\n", "version: 2\n")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("over: day}, split", "over: month}, split", "rule 'article' begins to count anew: over month instead of day"),
        ("[payer, item]", "[payer]", "rule 'article' begins to count anew: per payer instead of payer and item"),
        ("ends_after: 30m", "ends_after: 1h", "rule 'song' begins to count anew: over session that ends after 1h instead of session that ends after 30m"),
        ("over: session, ends_after: 30m", "over: 24h from first paid", "rule 'song' begins to count anew: over 24h from the first use instead of session that ends after 30m"),
        ("rule: article", "rule: page", "rule 'article' is called 'page' now, and counts from zero: what was counted is kept under the name, so call it 'article' as before to go on"),
        ("- {rule: reading, when: {meter: read}, price: 1, split: s}\n", "", "rule 'reading' is gone: what it has counted ends with it"),
        ("count: {over: day}, cap", "count: {over: month}, cap", "pass 'day' begins to count anew: over month instead of day"),
        ("pass: day", "pass: daily", "pass 'day' is called 'daily' now, and counts from zero: what was counted is kept under the name, so call it 'day' as before to go on"),
        ("currency: USD", "currency: USD\ncalendar: Europe/Berlin", "calendar Europe/Berlin instead of UTC: the hours, days, months and years that rules count over begin at other times, so those that are open begin anew"),
        ("tariff: t", "tariff: u", "tariff 'u' counts for itself, apart from all that 't' has counted"),
    ],
)  # fmt: skip
def test_what_begins_anew_is_told(old: str, new: str, told: str) -> None:
    before, after = read_tariff(FILE), read_tariff(changed((old, new)))
    assert restarts(before, after) == [told]
    # and it does so in the engine too: no rule of the name has the scopes that it had
    if "rule '" in told:
        name = told.split("'")[1]
        assert {s for s in stems(before) if name in s} & set(stems(after)) == set()


def stems(version: TariffVersion) -> list[tuple[str, ...]]:
    book = CompiledBook(RuleBook(0, Settings(), (version,)))
    return [numbered.stem for numbered in book.links if isinstance(numbered, NumberedRule)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("price: 0.005", "price: 0.006"),
        ("splits: {s: {creator: rest}}", "splits: {s: {platform: 5%, creator: rest}}"),
        ("when: {meter: page.view}", "when: {meter: page.view, item: x}"),
        ("cap: 1", "cap: 2"),
        ("rules:", "rules:\n- {rule: new, when: {meter: read, item: x}, price: 1, split: s}"),
    ],
)
def test_another_price_goes_on_counting(old: str, new: str) -> None:
    before, after = read_tariff(FILE), read_tariff(changed((old, new)))
    assert restarts(before, after) == []
    assert set(stems(before)) <= set(stems(after))


def test_check_tells_it_against_a_file(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(FILE, encoding="utf-8")
    new.write_text(changed(("rule: article", "rule: page")), encoding="utf-8")
    result = CliRunner().invoke(app, ["tariff", "check", str(new), "--against", str(old)])
    assert result.exit_code == ExitCode.OK
    assert f"against t version 1 ({old}):\n  rule 'article' is called 'page' now" in result.stdout
    told = json.loads(CliRunner().invoke(app, ["tariff", "check", str(new), "--against", str(old), "--json"]).stdout)
    assert told["against"][0]["with"] == "t version 1"
    assert told["against"][0]["restarts"][0].startswith("rule 'article' is called 'page' now")
    same = CliRunner().invoke(app, ["tariff", "check", str(old), "--against", str(old)])
    assert f"against t version 1 ({old}): nothing begins to count anew" in same.stdout


def test_check_tells_it_against_what_is_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def version_of(name: str) -> Named:
        asked.append(name)
        return Named(read_tariff(FILE), "live")

    monkeypatch.setattr(tariff_check, "version_of", version_of)
    new = tmp_path / "new.yaml"
    new.write_text(changed(("over: day}, split", "over: month}, split")), encoding="utf-8")
    result = CliRunner().invoke(app, ["tariff", "check", str(new), "--against", "live"])
    assert asked == ["t"]
    assert (
        "against t version 1 (live):\n  rule 'article' begins to count anew: over month instead of day" in result.stdout
    )


def test_what_may_never_change_is_an_error_against_the_version_before(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(FILE, encoding="utf-8")
    new.write_text(changed(("play: {unit: second}", "play: {unit: second, scale: 3}")), encoding="utf-8")
    result = CliRunner().invoke(app, ["tariff", "check", str(new), "--against", str(old)])
    assert result.exit_code == ExitCode.INVALID
    assert "t version 2: meter 'play' counts second at scale 3, in version 1 second at scale 0" in result.stderr
