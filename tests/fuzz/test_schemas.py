"""Schemas that nobody should tell: a short run."""

from __future__ import annotations

from tests.fuzz.runner import run
from tests.fuzz.schemas import case


def test_a_schema_that_is_told_is_read_rightly_or_refused() -> None:
    tried = run("schemas", case, 800, seed=7)
    for verdict in ("learned", "known", "refused"):
        assert tried.verdicts[verdict] > 5, tried.row()
