"""The pages of a worker asked what nobody should ask: a short run; longer ones by `python -m tests.fuzz pages`."""

from __future__ import annotations

from tests.fuzz.pages import case
from tests.fuzz.runner import run


def test_no_request_gets_an_error_of_ours_or_ends_the_server() -> None:
    tried = run("pages", case, 1_500, seed=5)
    for status in ("200", "400", "404", "503"):
        assert tried.verdicts[status] > 5, tried.row()
