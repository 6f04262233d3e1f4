"""The rule book of the runs: the starter's tariff, the examples of the documentation, and one with a minimum."""

from __future__ import annotations

import time
from pathlib import Path

from infra import starter
from nanotally.streams.environment import Environment
from nanotally.streams.tariffs.publishing import Publication, activate, publish_book
from nanotally.streams.tariffs.reader import examine_tariff
from nanotally.streams.tariffs.settings import read_settings

FOLDER = Path(__file__).parent
EXAMPLES = FOLDER.parents[1] / "docs" / "examples"
# article.yaml and ad-free.yaml are of product news as well, which belongs to one tariff.
NAMES = ("appliance", "car", "day-pass", "features", "game", "song", "tokens", "tutor")
TO_COME, IN_FORCE = "effective_from: 2026-12-01", "effective_from: 2020-01-01"


def publish(environment: Environment, folder: Path) -> None:
    """Publishes and activates it; folder: where the examples are written to as in force already."""
    files = [starter.TARIFF, FOLDER / "phone.yaml"]
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        files.append(folder / f"{name}.yaml")
        text = (EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8")
        if TO_COME not in text:
            raise ValueError(f"{name}.yaml is not effective from 2026-12-01 any more: mend tests/chaos/books.py")
        files[-1].write_text(text.replace(TO_COME, IN_FORCE), encoding="utf-8")
    read = [examine_tariff(file) for file in files]
    publication = Publication(
        versions=[one.version for one in read],
        settings=read_settings(FOLDER / "settings.yaml"),
        note="all kinds of prices",
        sources={(one.version.tariff, one.version.version): one.source for one in read},
        lead_us=None,
    )
    book = publish_book(environment.kafka, environment.prefix, publication, time.time_ns() // 1000)
    activate(environment.kafka, environment.prefix, book)
