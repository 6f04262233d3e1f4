"""Files of usage: each line by itself; one that cannot be used says place and field and stops nothing."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nanotally.streams import Publisher
from nanotally.streams.commands import app, publish
from nanotally.streams.errors import InvalidInput, NotFound
from nanotally.streams.publisher_files import Line, open_usage, read_usage
from tests.support.publishing import MemoryBroker

GOOD = {"event_id": "e-1", "occurred_at": "2026-12-01T12:00:00Z", "payer": "p", "item": "i", "meter": "page.view"}


def lines(text: str | bytes, name: str = "uses.jsonl") -> list[Line]:
    raw = text.encode() if isinstance(text, str) else text
    return list(read_usage(name, io.BytesIO(raw)))


def error_of(use: dict[str, Any]) -> str:
    (line,) = lines(json.dumps(GOOD | use))
    return str(line.error)


def test_json_lines_give_uses_with_exact_quantities_and_times() -> None:
    text = json.dumps(GOOD | {"quantity": "12.5", "attributes": {"segment": "school"}}) + "\n\n"
    text += '{"payer":"q","quantity":0.1,"occurred_at":1764590400000001}\r\n'
    first, second = lines(text)
    assert first.error is None and first.number == 1
    assert first.use["quantity"] == "12.5" and first.use["attributes"] == {"segment": "school"}
    assert first.use["occurred_at"] == datetime(2026, 12, 1, 12, tzinfo=UTC)
    assert second.number == 3 and second.use["quantity"] == Decimal("0.1")
    assert second.use["occurred_at"] == datetime(2025, 12, 1, 12, 0, 0, 1, tzinfo=UTC)


def test_csv_gives_uses_without_its_empty_cells() -> None:
    text = "\ufeffevent_id,payer,item,creator,quantity,attributes.segment,attributes.item.label\r\n"
    text += 'e-1,p,"a ""b"", c",,12.5,school,\r\n'
    (line,) = lines(text, "uses.csv")
    assert line.use == {
        "event_id": "e-1",
        "payer": "p",
        "item": 'a "b", c',
        "quantity": "12.5",
        "attributes": {"segment": "school"},
    }
    assert (line.number, line.error) == (2, None)


def test_the_form_is_told_by_name_or_else_by_content() -> None:
    assert lines('{"payer": "p"}', "-")[0].use == {"payer": "p"}
    assert lines("payer\np\n", "-")[0].use == {"payer": "p"}
    assert lines("", "-") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"payer": "p"', "not JSON"),
        ("[" * 100_000, "a JSON array"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("17", "not a JSON object"),
        ('{"payer": "p", "payer": "q"}', "'payer' is there twice"),
        ('{"quantity": NaN}', "NaN is no JSON number"),
        ('{"quantiy": "1"}', "'quantiy' is no field of a use; did you mean 'quantity'?"),
        ('{"zzz": "1"}', "'zzz' is no field of a use; an attribute is written"),
        (b'{"payer": "\xff"}', "byte 12 is not UTF-8"),
    ],
)
def test_a_line_that_is_no_use_says_what_is_wrong(text: str | bytes, said: str) -> None:
    try:
        (line,) = lines(text, "-.jsonl")
        assert said in str(line.error)
    except InvalidInput as e:
        assert said in str(e)


def test_a_field_that_cannot_be_read_says_how_to_write_it() -> None:
    assert "occurred_at 'yesterday' is no ISO 8601 time; write it as in" in error_of({"occurred_at": "yesterday"})
    assert "occurred_at 1.5" not in error_of({"occurred_at": True}) and "ISO" in error_of({"occurred_at": True})
    assert "it counts microseconds" in error_of({"occurred_at": 10**30})
    assert "duration_us -1 is no whole number from 0" in error_of({"duration_us": -1})
    assert "scale 'x' is no whole number" in error_of({"scale": "x"})
    assert "attributes is not a JSON object" in error_of({"attributes": ["a"]})


def test_a_csv_row_of_another_length_and_one_that_is_no_csv_are_told_and_the_next_is_read() -> None:
    text = "payer,item\np\np,i,x\n" + 'p,"i" x\n' + "p,i\n"
    found = lines(text, "uses.csv")
    assert [(line.number, str(line.error)) for line in found[:2]] == [
        (2, "1 cells, and the header has 2"),
        (3, "3 cells, and the header has 2"),
    ]
    assert "not CSV" in str(found[2].error)
    assert found[3].use == {"payer": "p", "item": "i"}


def test_a_csv_cell_over_several_lines_is_told_by_its_last_line() -> None:
    first, second = lines('payer,item\n"p\nq",i\nr,j\n', "uses.csv")
    assert (first.number, first.use["payer"], second.number) == (3, "p\nq", 4)


def test_a_csv_header_that_cannot_be_used_stops_before_the_first_row() -> None:
    with pytest.raises(InvalidInput, match=r"uses\.csv:1: column 2: 'itm' is no field of a use; did you mean 'item'\?"):
        lines("payer,itm\np,i\n", "uses.csv")
    with pytest.raises(InvalidInput, match="column 2: 'payer' is there twice"):
        lines("payer,payer\np,i\n", "uses.csv")


def test_a_packed_file_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "uses.csv.gz"
    path.write_bytes(gzip.compress(b"payer\np\n"))
    with open_usage(str(path), io.BytesIO()) as file:
        assert [line.use for line in read_usage(str(path), file)] == [{"payer": "p"}]


def test_a_missing_file_and_one_that_is_not_packed_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no file nowhere\.csv"), open_usage("nowhere.csv", io.BytesIO()):
        pass
    (tmp_path / "a.gz").write_bytes(b"plain")
    with pytest.raises(InvalidInput, match="cannot be read"), open_usage(str(tmp_path / "a.gz"), io.BytesIO()) as file:
        list(file)


# ---- the command ----


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    memory = MemoryBroker()
    monkeypatch.setattr(publish, "Publisher", lambda *a, **k: Publisher("nowhere:1", connect=memory, **k))
    return memory


def run(*arguments: str, text: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["publish", *arguments], input=text)
    return result.exit_code, result.stdout, result.stderr


def use(number: int, **more: Any) -> str:
    return json.dumps(GOOD | {"event_id": f"e-{number}", "product": "news"} | more)


def test_lines_that_cannot_be_used_are_counted_and_the_others_arrive(broker: MemoryBroker, tmp_path: Path) -> None:
    file, kept = tmp_path / "uses.jsonl", tmp_path / "refused.jsonl"
    bad = use(2, quantity="0.5")
    file.write_text("\n".join([use(1), bad, "{", use(3, meter="page.veiw"), use(4, item=None), use(5)]))
    code, out, err = run(str(file), "--reject-file", str(kept))
    assert code == 3
    assert [broker.event(i)["event_id"] for i in range(len(broker.sent))] == ["e-1", "e-5"]
    assert f"{file}:2: quantity: 0.5 page is finer than meter page.view allows (no places)" in err
    assert f"{file}:3: not JSON" in err
    assert f"{file}:4: meter: 'page.veiw' is no meter of any tariff in force; did you mean 'page.view'?" in err
    assert f"{file}:5: item: item is missing" in err
    assert "published 2 uses" in out and "4 lines refused" in out
    refused = [json.loads(line) for line in kept.read_text().splitlines()]
    assert refused[0] == {
        "file": str(file),
        "line": 2,
        "field": "quantity",
        "problem": "0.5 page is finer than meter page.view allows (no places)",
        "text": bad,
    }
    assert len(refused) == 4


def test_standard_input_is_read_and_a_product_given_for_all(broker: MemoryBroker) -> None:
    code, out, _ = run("-", "--product", "news", "--json", text=json.dumps(GOOD) + "\n")
    assert (code, json.loads(out)["published"], json.loads(out)["refused"]) == (0, 1, 0)
    assert broker.event()["product"] == "news"


def test_a_line_without_id_is_refused_unless_ids_are_to_be_made(broker: MemoryBroker, tmp_path: Path) -> None:
    file = tmp_path / "uses.jsonl"
    file.write_text(json.dumps({"payer": "p", "item": "i", "meter": "page.view", "product": "news"}))
    code, _, err = run(str(file))
    assert code == 3 and "event_id: event_id is missing" in err and "--make-ids" in err
    assert run(str(file), "--make-ids")[0] == 0
    assert broker.event()["event_id"] == "uses.jsonl:1"


def test_payers_become_pseudonyms_by_a_key_from_a_file(broker: MemoryBroker, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"0123456789abcdef\n")
    code, _, _ = run("-", "--pseudonym-key-file", str(tmp_path / "key"), text=use(1))
    assert code == 0 and len(broker.event()["payer"]) == 32


def test_many_refused_lines_are_shown_in_part(broker: MemoryBroker) -> None:
    code, out, err = run("-", text="\n".join(use(i, quantity="0.5") for i in range(50)))
    assert code == 3 and err.count("quantity: 0.5 page") == 20
    assert "and 30 more" in err and "50 lines refused" in out
