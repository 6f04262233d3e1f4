"""Versions of one major version work side by side on one database: a migration must not disturb those before it."""

from __future__ import annotations

import re

import pytest

from nanotally.sinks.migrate import migrations

ADDS = (
    r"CREATE TABLE IF NOT EXISTS \w+\s",
    r"CREATE OR REPLACE VIEW \w+ AS\s",
    r"ALTER TABLE \w+ ADD COLUMN IF NOT EXISTS \w+ .+ DEFAULT .+",
    r"ALTER TABLE \w+ ADD (INDEX|PROJECTION) IF NOT EXISTS \w+ .+",
)


def only_adds(statement: str) -> bool:
    """Whether a version that has never heard of the statement goes on as before once it has run."""
    bare = "\n".join(line for line in statement.splitlines() if not line.lstrip().startswith("--")).lstrip()
    return any(re.match(one, bare, re.DOTALL) for one in ADDS)


def test_migrations_add_and_change_nothing_that_was_there() -> None:
    others = [(str(one), said) for one in migrations() for said in one.forward if not only_adds(said)]
    assert others == []


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE charges ADD COLUMN IF NOT EXISTS more String",  # older rows get a value that nobody chose
        "ALTER TABLE charges DROP COLUMN item",
        "ALTER TABLE charges MODIFY COLUMN n UInt64",
        "ALTER TABLE charges RENAME COLUMN n TO m",
        "DROP TABLE chunks",
        "RENAME TABLE chunks TO positions",
    ],
)
def test_what_changes_something_would_be_seen(statement: str) -> None:
    assert not only_adds(statement)
