"""What the doctor says of retention: kept longer than ids are remembered, kept for good, nothing gone untaken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nanotally.sinks.tables import TABLES_BY_TOPIC
from nanotally.streams import admin, retention
from nanotally.streams.commands.positions import PayersPosition, StagePosition
from nanotally.streams.domain.tariff import RuleBook, Settings
from nanotally.streams.environment import Environment
from nanotally.streams.publisher_ledger import TopicReader, run


def horizon_us(books: Sequence[RuleBook], payers: Sequence[PayersPosition]) -> int:
    """The longest horizon, in microseconds, of the books in force somewhere and of those published since."""
    in_force = min((p.book_number for p in payers), default=-1)
    return max([book.settings.horizon_us for book in books if book.number >= in_force], default=Settings().horizon_us)


def faults(
    environment: Environment,
    horizon: int,
    payers: Sequence[PayersPosition],
    accounts: Sequence[StagePosition],
) -> list[admin.Finding]:
    """All that is wrong with how long records are kept. Raises Transient where Kafka does not answer."""
    kept = admin.retentions(environment.kafka, environment.prefix)
    oldest = run(_oldest(environment, list(kept)))
    found = retention.shorter_than_horizon(kept, horizon, environment.prefix)
    found += retention.forgotten(oldest)
    for taker, topic, positions in (("payers", "usage", payers), ("accounts", "earnings", accounts)):
        found += retention.gone_before(
            taker, topic, oldest.get(topic, {}), {p.partition: p.next_offset for p in positions}
        )
    return found


def unsunk(environment: Environment, positions: Mapping[tuple[str, int], int]) -> list[admin.Finding]:
    """Records that were deleted before the sink took them. positions: the sink's next offset by topic and partition."""
    oldest = run(_oldest(environment, list(TABLES_BY_TOPIC)))
    return [
        finding
        for topic, first in oldest.items()
        for finding in retention.gone_before(
            "sink", topic, first, {p: at for (name, p), at in positions.items() if name == topic}
        )
    ]


async def _oldest(environment: Environment, topics: Sequence[str]) -> dict[str, dict[int, int]]:
    async with TopicReader(environment.kafka, environment.prefix) as reader:
        return {topic: {p: first for p, (first, _) in (await reader.bounds(topic)).items()} for topic in topics}
