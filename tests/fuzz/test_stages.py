"""A short run of the targets that need bytes alone; longer ones by `python -m tests.fuzz`."""

from __future__ import annotations

from tests.fuzz.datums import case as codec_case
from tests.fuzz.runner import run
from tests.fuzz.stage import case as stage_case


def test_no_datum_is_accepted_wrongly_and_none_crashes_the_codec() -> None:
    tried = run("codec", codec_case, 12_000, seed=5)
    assert min(tried.verdicts["accepted"], tried.verdicts["refused"]) > 2_000  # else nothing was tried


def test_any_bytes_in_any_order_have_one_outcome_each_however_they_come() -> None:
    tried = run("stage", stage_case, 2_000, seed=5)
    for outcome in ("charged", "duplicate", "rejected", "unpriced", "control"):
        assert tried.verdicts[outcome] > 20, tried.row()
