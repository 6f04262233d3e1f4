"""The next version of nanotally, in a folder: this tree's packages with more fields, recorded as a release would.

With PYTHONPATH on the folder, a process runs that version instead of the installed one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
VERSION = "0.2.0"
PACKAGES = ("schemas", "streams", "sinks")
GROWN = ("usage_event", "charge", "chunk", "control_taken", "earning", "source_mark", "tally", "statement", "payout")
ADDED = {"name": "news", "type": ["null", "string"], "default": None, "doc": "What the next version adds."}
NUMBER = {"name": "news_number", "type": ["null", "long"], "default": None, "doc": "And a number."}
# The next version's code knows its fields: columns it has no news for are null, and each charge of one line has some.
CHANGES = {
    "streams/publisher_bulk.py": ("[record[name] for record in records]", "[record.get(name) for record in records]"),
    "schemas/fitting.py": (
        "        if place < 0:\n",
        "        if place < 0 and field.name in ('news', 'news_number'):\n"
        "            columns.append(pa.nulls(len(batch), kind))\n"
        "            continue\n"
        "        if place < 0:\n",
    ),
    "schemas/charges.py": (
        "    leaves = _leaves(shares)\n    first = ",
        "    alike = {'news': '0.2.0', 'news_number': 2, **alike}\n    leaves = _leaves(shares)\n    first = ",
    ),
}
# Its sink says of each charge who wrote the row, in a column that its migration adds.
MIGRATION = f"""\
ALTER TABLE charges ADD COLUMN IF NOT EXISTS sunk_by LowCardinality(String) DEFAULT 'before {VERSION}' CODEC(ZSTD(1));

CREATE TABLE IF NOT EXISTS news (at DateTime64(6, 'UTC'), text String) ENGINE = MergeTree ORDER BY at;

CREATE OR REPLACE VIEW charges_by_sink AS SELECT sunk_by, count() AS charges FROM charges GROUP BY sunk_by;

-- reverse
DROP VIEW IF EXISTS charges_by_sink;
DROP TABLE IF EXISTS news SYNC;
ALTER TABLE charges DROP COLUMN IF EXISTS sunk_by;
"""
SUNK_BY = (
    "    columns |= _lines(",
    f"    columns['sunk_by'] = pa.array(['{VERSION}'] * n)\n    columns |= _lines(",
)


def next_version(folder: Path, migration: str = "") -> Path:
    """Makes it below the folder; gives what PYTHONPATH must be. migration: it brings MIGRATION, in a file so named."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, folder / "nanotally" / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
    about = folder / f"nanotally-{VERSION}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: nanotally\nVersion: {VERSION}\n")
    changes = CHANGES | ({"sinks/charge_rows.py": SUNK_BY} if migration else {})
    if migration:
        (folder / "nanotally" / "sinks" / "migrations" / f"{migration}.sql").write_text(MIGRATION)
    for file, (old, new) in changes.items():
        path = folder / "nanotally" / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file} no longer has {old!r}"
        path.write_text(text.replace(old, new))
    for name in GROWN:
        path = folder / "nanotally" / "schemas" / "avsc" / f"{name}.avsc"
        document = json.loads(path.read_text())
        _grow(document, everywhere=name == "charge")
        path.write_text(json.dumps(document, indent=1))
    recorded = subprocess.run(
        [sys.executable, "-m", "nanotally.schemas.compatibility", "--record"],
        env=os.environ | {"PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert recorded.returncode == 0, recorded.stdout + recorded.stderr
    return folder


def _grow(document: dict[str, Any], *, everywhere: bool) -> None:
    """New fields at two places of the record; in a charge, of its use as well, as the use itself has them."""
    fields = document["fields"]
    if everywhere:
        _grow(next(field for field in fields if field["name"] == "event")["type"][1], everywhere=False)
    fields.insert(1, ADDED)
    fields.insert(len(fields) - 1, NUMBER)  # a charge ends with its use
