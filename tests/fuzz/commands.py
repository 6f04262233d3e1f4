"""Target `commands`: files and values given to commands. A command says what is wrong and ends with a code for it; it
never shows a traceback, and never takes it for a broken invariant."""

# ruff: noqa: E501

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from nanotally.streams.commands import app
from nanotally.streams.environment import Environment
from nanotally.streams.errors import ExitCode, InvalidInput
from nanotally.streams.pipeline.knobs import Knobs
from tests.fuzz.files import TEXTS, samples
from tests.support.tariff_texts import FILE

USES = [
    {
        "event_id": f"e{i}", "occurred_at": f"2026-12-02T{i:02d}:00:00Z", "product": "news", "payer": f"p{i % 3}",
        "creator": "ana", "item": f"/{i}", "meter": ("page.view", "play", "token.input")[i % 3],
        "quantity": ("1", "12.5", 300)[i % 3], "session": "s", "attributes": {"segment": "school"},
    }
    for i in range(8)
]  # fmt: skip
CODES = {
    int(ExitCode.OK),
    int(ExitCode.DIFFERENCE),
    int(ExitCode.USAGE),
    int(ExitCode.INVALID),
    int(ExitCode.NOT_FOUND),
}
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**30, 1.5, 1e308, [], [1], {}, {"a": None}, {"a": {"b": [1]}},
    "", "x" * 300, "é\ud800", "\u0000", "NaN", "1e999999", "-1", "9" * 400, "2026-12-02", "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999+14:00", "tariff", "charge", "catalog", "rule", "pass",
)  # fmt: skip
VARIABLES = (
    "NANOTALLY_KAFKA", "NANOTALLY_CLICKHOUSE", "NANOTALLY_CLICKHOUSE_HTTP", "NANOTALLY_CLICKHOUSE_USER",
    "NANOTALLY_CLICKHOUSE_PASSWORD", "NANOTALLY_DATABASE", "NANOTALLY_PREFIX", "NANOTALLY_STATE", "NANOTALLY_WEB_PORT",
    "NANOTALLY_REJECTS_PER_MINUTE", "NANOTALLY_TICKS", "NANOTALLY_STUCK_SECONDS", "NANOTALLY_WEB_BIND",
)  # fmt: skip


def case(random_: random.Random) -> Counter[str]:
    """One call."""
    kind = random_.choice(["usage", "usage", "verify", "verify", "option", "environment", "environment"])
    if kind == "environment":
        return _environment(random_)
    with tempfile.TemporaryDirectory(prefix="nanotally-fuzz-") as folder:
        return Counter({f"{kind} {_call(kind, Path(folder), random_)}": 1})


def _call(kind: str, folder: Path, random_: random.Random) -> str:
    tariff, usage = folder / "t.yaml", folder / random_.choice(["u.jsonl", "u.csv", "u", "u.jsonl.gz"])
    tariff.write_text(FILE, encoding="utf-8")
    if kind == "verify":
        usage.write_bytes(_spoilt_lines(proven(), random_))
        code = call("explain", "--verify", str(usage), *random_.choice([[], ["--json"]]))
    elif kind == "usage":
        usage.write_bytes(_usage(random_))
        code = call("price", "--tariff", str(tariff), "--usage", str(usage), *_close(random_))
    else:
        usage.write_bytes(_json_lines(USES))
        code = call(*_options(folder, tariff, usage, random_))
    return ExitCode(code).name.lower()


def call(*arguments: str) -> int:
    """The exit code of a command."""
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in CODES, (arguments, result.exit_code, result.output[-500:])
    return result.exit_code


def _close(random_: random.Random) -> list[str]:
    times = ["2027-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2199-12-31T23:59:59Z", "x", ""]
    return [] if random_.random() < 0.6 else ["--close", random_.choice(times)]


def _options(folder: Path, tariff: Path, usage: Path, random_: random.Random) -> list[str]:
    """Options with values that they do not take."""
    text = random_.choice([t for t in TEXTS if "\0" not in t and "\ud800" not in t])
    other = folder / "other"
    other.write_bytes(random_.choice([b"", b"\xff", text.encode(), random_.choice(samples()).encode()]))
    path = random_.choice([str(other), str(folder), str(folder / "none"), text, "/proc/self/mem", "/dev/null"])
    price = ["price", "--tariff", str(tariff), "--usage", str(usage)]
    return random_.choice(
        [
            ["price", "--tariff", path, "--usage", str(usage)],
            ["price", "--tariff", str(tariff), "--usage", path],
            [*price, "--settings", path],
            [*price, "--catalog", path],
            [*price, "--close", text],
            [*price, "--export", str(folder / "none" / "x")],
            ["publish", str(usage), "--format", text],
            ["publish", str(usage), "--pseudonym-key-file", str(folder / "none")],
            ["explain", "--verify", path],
            ["tariff", "check", path],
            ["catalog", "check", path],
            [text],
            ["price", text],
        ]
    )


def _environment(random_: random.Random) -> Counter[str]:
    values = (
        *TEXTS,
        "localhost:9092",
        "a:1,b:2",
        "[::1]:9092",
        "host:0",
        "host:65536",
        "10",
        "off",
        "0.5",
        "1" * 400,
        "٣",
    )
    environ = {name: random_.choice(values) for name in random_.sample(VARIABLES, random_.randrange(1, 4))}
    verdicts: Counter[str] = Counter()
    for load in (Environment.load, Knobs.load):
        try:
            load(environ)
            verdicts["environment ok"] += 1
        except InvalidInput as e:
            assert any(name in str(e) for name in environ), str(e)
            verdicts["environment invalid"] += 1
    return verdicts


# ---- files ----


@cache
def proven() -> bytes:
    """What `price --export` writes of the uses."""
    with tempfile.TemporaryDirectory(prefix="nanotally-fuzz-") as folder:
        tariff, usage, export = (Path(folder) / name for name in ("t.yaml", "u.jsonl", "x.jsonl"))
        tariff.write_text(FILE, encoding="utf-8")
        usage.write_bytes(_json_lines(USES))
        assert call("price", "--tariff", str(tariff), "--usage", str(usage), "--export", str(export)) == ExitCode.OK
        return export.read_bytes()


def _json_lines(records: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def _usage(random_: random.Random) -> bytes:
    if random_.random() < 0.4:
        names = [name for name in USES[0] if name != "attributes"] + ["attributes.segment"]
        rows = [",".join(names), *(",".join(str(use.get(name, "school")) for name in names) for use in USES)]
        return _spoilt_bytes("\n".join(rows).encode(), random_)
    return _spoilt_lines(_json_lines(USES), random_)


def _spoilt_lines(content: bytes, random_: random.Random) -> bytes:
    """JSON lines with values, names or bytes changed."""
    if random_.random() < 0.3:
        return _spoilt_bytes(content, random_)
    lines = [json.loads(line) for line in content.splitlines()]
    for _ in range(random_.randrange(1, 4)):
        at = random_.randrange(len(lines))
        lines[at] = spoilt(lines[at], random_)
    if random_.random() < 0.2:
        random_.shuffle(lines)
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def spoilt(value: Any, random_: random.Random) -> Any:
    """A JSON value with a part of it changed, gone or somewhere else."""
    if isinstance(value, dict) and value and random_.random() < 0.9:
        key = random_.choice(list(value))
        kind = random_.random()
        if kind < 0.7:
            return {**value, key: spoilt(value[key], random_)}
        if kind < 0.85:
            return {k: v for k, v in value.items() if k != key}
        return {**value, random_.choice(["x", "", "event_id", "lines", "é"]): value[key]}
    if isinstance(value, list) and value and random_.random() < 0.8:
        at = random_.randrange(len(value))
        if random_.random() < 0.8:
            return [*value[:at], spoilt(value[at], random_), *value[at + 1 :]]
        return value[:at] + value[at + 1 :] if random_.random() < 0.5 else [*value, value[at]]
    if isinstance(value, int) and random_.random() < 0.4:
        return value + random_.choice([1, -1, 1000])
    return random_.choice(VALUES)


def _spoilt_bytes(content: bytes, random_: random.Random) -> bytes:
    junk = [
        b"\xff",
        b"\x00",
        b'"',
        b",",
        b"\n",
        b"{",
        b"[" * 5_000,
        b"9" * 5_000,
        b"\xef\xbb\xbf",
        b"\r",
        b"\xed\xa0\x80",
        b"a" * 70_000,
    ]
    for _ in range(random_.randrange(1, 5)):
        at = random_.randrange(len(content) + 1)
        content = content[:at] + random_.choice(junk) + content[at + random_.randrange(4) :]
    return content
