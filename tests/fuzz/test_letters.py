"""Dead letters and corrections that nobody should write: a short run."""

from __future__ import annotations

from tests.fuzz.letters import case
from tests.fuzz.runner import run


def test_what_is_put_in_again_can_be_used_and_the_rest_is_refused_by_name() -> None:
    tried = run("letters", case, 3000, seed=5)
    for verdict in ("again accepted", "again refused", "mend accepted", "mend refused"):
        assert tried.verdicts[verdict] > 50, tried.row()
