"""The stages there are, put together from logic, broker, store and books."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable

from nanotally.streams.domain.records import PartitionLogic
from nanotally.streams.environment import Environment
from nanotally.streams.errors import BrokenInvariant, NotFound
from nanotally.streams.pipeline.added import AddedPartition, Width
from nanotally.streams.pipeline.app import group_of
from nanotally.streams.pipeline.books import Books
from nanotally.streams.pipeline.broker import Broker
from nanotally.streams.pipeline.checkpoints import checkpointed
from nanotally.streams.pipeline.clock import SystemClock
from nanotally.streams.pipeline.kafka_broker import KafkaBroker
from nanotally.streams.pipeline.knobs import Knobs
from nanotally.streams.pipeline.leaving import leave
from nanotally.streams.pipeline.limit import RejectLimit
from nanotally.streams.pipeline.partition import StagePartition
from nanotally.streams.pipeline.rocks_store import RocksStore
from nanotally.streams.pipeline.stage import LiveAnswers, PartitionWorker, Stage
from nanotally.streams.pipeline.store import Slot

log = logging.getLogger(__name__)

PAYERS_OUTPUTS = ("charges", "payer_tallies", "statements", "rejects")  # partitioned as the input is
ACCOUNTS_OUTPUTS = ("account_tallies", "payouts")

MakeLogic = Callable[[Broker, int], Awaitable[PartitionLogic]]


def stage_of(name: str, environment: Environment, knobs: Knobs, slot: Slot) -> Stage:
    """The stage of that name. Raises NotFound for another name than payers, accounts, sink."""
    if name == "payers":
        answers = LiveAnswers("payers", "payer:", "usage")
        return logic_stage(name, "usage", _payers, answers, environment, knobs, slot)
    if name == "accounts":
        answers = LiveAnswers("accounts", "", "earnings")
        return logic_stage(name, "earnings", _accounts, answers, environment, knobs, slot)
    if name == "sink":
        from nanotally.sinks.sink import sink_stage  # only this stage needs ClickHouse's client

        return sink_stage(environment)
    raise NotFound(f"there is no worker {name!r}; there are payers, accounts and sink")


def logic_stage(
    name: str,
    topic: str,
    make_logic: MakeLogic,
    answers: LiveAnswers | None,
    environment: Environment,
    knobs: Knobs,
    slot: Slot,
) -> Stage:
    """A stage on one input topic whose partitions are decided by a `PartitionLogic`."""
    clock = SystemClock()
    broker = KafkaBroker(environment.kafka, prefix=environment.prefix, group=group_of(name, environment))
    books = Books(broker, clock)
    rejects = RejectLimit(knobs.rejects_per_minute, clock)
    width = Width(
        broker,
        environment,
        leave_aside=knobs.leave_added,
        leave=functools.partial(leave, supervised=knobs.supervised),
    )

    async def make_worker(topic: str, partition: int) -> PartitionWorker:
        if await width.is_added(topic, partition):
            return AddedPartition(broker, topic, partition)
        logic = await make_logic(broker, partition)
        local = RocksStore(slot.folder / str(partition))
        store = checkpointed(local, knobs.checkpoints, f"{environment.prefix}{name}", partition)
        return StagePartition(logic, partition, broker=broker, store=store, books=books, rejects=rejects, clock=clock)

    async def close() -> None:
        await width.close()
        await broker.close()

    return Stage(name, (topic,), make_worker, answers, close)


async def _payers(broker: Broker, partition: int) -> PartitionLogic:
    from nanotally.streams.domain.payers import PayersLogic

    partitions = await _same_partitions(broker, "usage", PAYERS_OUTPUTS)
    account_partitions = (await broker.describe("earnings")).partitions
    return PayersLogic(partition, partitions, account_partitions)


async def _accounts(broker: Broker, partition: int) -> PartitionLogic:
    from nanotally.streams.domain.accounts import AccountsLogic

    await _same_partitions(broker, "earnings", ACCOUNTS_OUTPUTS)
    return AccountsLogic(partition)


async def _same_partitions(broker: Broker, topic: str, outputs: tuple[str, ...]) -> int:
    """Partitions of the input, which its outputs must have too: a ledger is never divided anew."""
    partitions = (await broker.describe(topic)).partitions
    for output in outputs:
        found = (await broker.describe(output)).partitions
        if found != partitions:
            raise BrokenInvariant(
                f"topic {topic} has {partitions} partitions, {output} has {found}: their number is fixed when they are "
                f"created and must be the same"
            )
    return partitions
