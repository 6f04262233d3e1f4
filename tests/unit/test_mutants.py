"""The planted bugs can still be planted; `python -m tests.support.mutants` sees whether the scenarios find them."""

from __future__ import annotations

import pytest

from tests.support.mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_the_text_that_a_planted_bug_replaces_stands_once_in_its_module(mutant: Mutant) -> None:
    compile(mutant.source(), mutant.module, "exec")
