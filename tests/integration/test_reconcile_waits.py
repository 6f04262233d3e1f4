"""What a reconciliation waits for on a real broker."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from nanotally.streams import admin
from nanotally.streams.commands.reconcile_reading import decided
from nanotally.streams.publisher_ledger import TopicReader


async def _open_and_end(kafka: str, prefix: str, end: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"{prefix}open")
    await producer.start()
    try:
        async with TopicReader(kafka, prefix) as reader:
            asked, bounds = asyncio.Event(), reader.bounds

            async def and_tell(topic: str) -> dict[int, tuple[int, int]]:
                found = await bounds(topic)
                asked.set()
                return found

            reader.bounds = and_tell  # type: ignore[method-assign]
            loop = asyncio.get_running_loop()
            await producer.begin_transaction()
            await producer.send_and_wait(f"{prefix}earnings", b"one", partition=0)
            assert (await reader.written("earnings"))[0] == 1
            assert (await bounds("earnings"))[0] == (0, 0)
            await decided(reader, "earnings", loop.time())  # the time is up: it does not wait for ever
            asked.clear()
            waits = asyncio.create_task(decided(reader, "earnings", loop.time() + 120))
            await asked.wait()
            asked.clear()
            await asked.wait()  # it asks again, since it saw that something is open
            assert not waits.done()
            await (producer.commit_transaction() if end == "commit" else producer.abort_transaction())
            await waits
            assert (await bounds("earnings"))[0][1] >= 1
    finally:
        await producer.stop()


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_what_is_written_but_not_decided_is_waited_for(kafka: str, prefix: str, end: str) -> None:
    admin.create_topics(kafka, prefix, partitions=2, account_partitions=1)
    asyncio.run(_open_and_end(kafka, prefix, end))
