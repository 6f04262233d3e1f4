"""A short chaos run: real faults on real processes, then reconcile and the auditor. `make chaos` is the long one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support import children

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.timeout(2400)
def test_a_short_chaos_run_ends_clean() -> None:
    """Its own services, whatever the environment gives; what it found is printed where it fails."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("NANOTALLY_") or name == "NANOTALLY_CACHE"
    }
    ran = children.run([sys.executable, "-m", "tests.chaos", "--short"], cwd=ROOT, env=variables)
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-4000:]
    assert ran.stdout.splitlines()[-1].startswith("CLEAN: ")
