"""What the same use is to two versions of nanotally: the same content, whatever fields the later one has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.next_version import next_version

HASHES = """
import numpy as np, pyarrow as pa
from nanotally.schemas import catalog, codec
from nanotally.streams.domain.uses import Uses

def hashes(attributes, **more):
    event = {"event_id": "e", "occurred_at": 5, "product": "p", "payer": "a", "creator": None, "item": "i",
             "meter": "m", "quantity": 1, "scale": 0, "attributes": attributes, **more}
    values = [codec.encode_one("UsageEvent", event)]
    decoded = codec.decode("UsageEvent", values)
    here = np.zeros(1, dtype=np.int64)
    return int(Uses(decoded.batch, here, here, codec.event_datums(values, decoded)).content_hash[0])

print(hashes({}), hashes({"a": "1"}), hashes({"a": "1", "b": "2"}), hashes({"b": "2", "a": "1"}))
if len(catalog.writers("UsageEvent")) > 1:
    print(hashes({}, news="x"), hashes({}, news="y"), hashes({"a": "1", "b": "2"}, news="x"), hashes({}, news_number=0))
"""


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return next_version(tmp_path_factory.mktemp("next"))


def said(script: str, path: Path | None = None) -> list[str]:
    environ = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    told = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    return told.stdout.splitlines()


def test_a_use_has_the_same_content_in_the_next_version_unless_it_says_something_new(later: Path) -> None:
    (now,) = said(HASHES)
    then, with_news = said(HASHES, later)
    assert then == now
    plain, news = now.split(), with_news.split()
    assert plain[2] == plain[3]  # attributes in another order are no other content
    assert len({*plain, *news}) == len(set(plain)) + len(news)
