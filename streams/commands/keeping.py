"""What the doctor says of what Kafka keeps: longer than ids are remembered, for good, nothing gone untaken, nothing
gone that was taken."""

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
    """All that is wrong with what Kafka keeps. Raises Transient where it does not answer."""
    kept = admin.retentions(environment.kafka, environment.prefix)
    oldest, ends = run(_bounds(environment, list(kept)))
    found = retention.shorter_than_horizon(kept, horizon, environment.prefix)
    found += retention.forgotten(oldest)
    for taker, topic, positions in (("payers", "usage", payers), ("accounts", "earnings", accounts)):
        at = {p.partition: p.next_offset for p in positions}
        found += retention.gone_before(taker, topic, oldest.get(topic, {}), at)
        found += retention.lost_after(taker, topic, ends.get(topic, {}), at)
    return found


def unsunk(environment: Environment, positions: Mapping[tuple[str, int], int]) -> list[admin.Finding]:
    """Records that were deleted before the sink took them, and rows of records that are gone. positions: the sink's
    next offset by topic and partition."""
    oldest, ends = run(_bounds(environment, list(TABLES_BY_TOPIC)))
    found: list[admin.Finding] = []
    for topic, first in oldest.items():
        at = {p: next_offset for (name, p), next_offset in positions.items() if name == topic}
        found += retention.gone_before("sink", topic, first, at)
        found += retention.lost_after("sink", topic, ends[topic], at)
    return found


ByTopic = dict[str, dict[int, int]]


async def _bounds(environment: Environment, topics: Sequence[str]) -> tuple[ByTopic, ByTopic]:
    """By topic and partition the oldest offset, and the one after the newest committed record."""
    async with TopicReader(environment.kafka, environment.prefix) as reader:
        bounds = {topic: await reader.bounds(topic) for topic in topics}
    first, end = ({t: {p: at[i] for p, at in of.items()} for t, of in bounds.items()} for i in (0, 1))
    return first, end
