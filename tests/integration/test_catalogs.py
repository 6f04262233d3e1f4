"""Catalogs on a real broker: published alone, in force for what comes after, told by explain, proofs and exports."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nanotally.streams import Publisher, admin, verify_proof
from nanotally.streams.commands import app
from nanotally.streams.errors import ExitCode
from tests.integration.test_publisher_kafka import PARTITIONS, WITHIN_S, rate

TARIFF = """
tariff: music
version: 1
effective_from: 2020-01-01T00:00:00Z
currency: USD
meters: {play: {unit: play}}
splits: {all: {platform: 10%, creator: rest}}
rules:
  - rule: play
    when: {meter: play}
    price: {from: catalog, at_most: 0.01, otherwise: refuse}
    split: all
"""
CATALOG = """
catalog: songs
version: 1
effective_from: 2020-01-01T00:00:00Z
items:
  duet: {creator: ana, writers: {ana: 60%, bob: 40%}, price: 0.003}
  dear: {creator: eve, price: 0.02}
"""


def test_a_catalog_is_published_alone_and_what_it_says_can_be_checked(
    kafka: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOTALLY_KAFKA", kafka)
    monkeypatch.setenv("NANOTALLY_PREFIX", prefix)
    admin.create_topics(kafka, prefix, partitions=PARTITIONS, account_partitions=1)
    tariff, songs = tmp_path / "music.yaml", tmp_path / "songs.yaml"
    tariff.write_text(TARIFF)
    songs.write_text(CATALOG)

    def run(*arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, arguments)
        return result.exit_code, result.stdout, result.stderr

    assert run("catalog", "show")[0] == ExitCode.NOT_FOUND
    assert run("tariff", "publish", str(tariff))[0] == 0
    with Publisher(kafka, product="music", prefix=prefix) as nano:
        before = nano.use("play", payer="p", item="duet")
        nano.flush()
        code, _, told = run("catalog", "publish", str(songs))
        assert code == ExitCode.INVALID and "songs version 1 would be in force from 2020-01-01T00:00:00Z" in told
        code, out, _ = run("catalog", "publish", str(songs), "--backdated", "--note", "songs")
        assert code == 0 and " holds catalogs songs 1  (hash " in out
        duet, dear = (nano.use("play", payer="p", item=item) for item in ("duet", "dear"))
        nano.flush()
        asyncio.run(rate(kafka, prefix))
        refused = "the tariff refuses such a use, or the price that came with it is none or out of its bounds"
        assert str(nano.charge(before, WITHIN_S)) == f"not charged: refused · price · {refused}"
        assert str(nano.charge(duet, WITHIN_S)) == "0.003 USD · play v1 · ana 0.00162 · bob 0.00108 · platform 0.0003"
        names = [nano.charge(use, WITHIN_S).name for use in (before, duet, dear)]

    document = json.loads(run("catalog", "show", "songs", "--item", "duet", "--json")[1])
    assert document["catalogs"][0]["items"][0]["price"] == "0.003"
    assert run("catalog", "show", "songs", "--source")[1] == CATALOG + "\n"
    assert "songs" in run("catalog", "show")[1]
    assert "no item 'duett'; did you mean 'duet'?" in run("catalog", "show", "--item", "duett")[2]

    said: list[str] = [run("explain", name, "--ledger")[1] for name in names]
    assert "refused: rule play: the catalog gives no price" in said[0]
    assert "the price comes from catalog songs v1" in said[1] and "creator:bob" in said[1]
    assert "refused: rule play: the catalog gives 0.02, the tariff takes 0 to 0.01" in said[2]
    proof: dict[str, Any] = json.loads(run("explain", names[1], "--ledger", "--proof")[1])
    assert verify_proof.verify(proof) == []

    exported = tmp_path / "charges.jsonl"
    assert run("export", "--payer", "p", "--out", str(exported))[0] == 0
    assert run("export", "--payer", "nobody")[1] == ""
    code, out, _ = run("explain", "--verify", str(exported))
    assert (code, out) == (
        0,
        "3 charges of 0.003000000 USD by music v1, songs v1: all are what their tariffs give\n",
    )
    only = [json.loads(line) for line in run("export", "--creator", "bob")[1].splitlines()]
    assert [entry["kind"] for entry in only] == ["catalog", "tariff", "charge"]
    assert run("export", "--until", "2020-01-01T00:00:00Z")[1] == ""
