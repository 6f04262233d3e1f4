"""Topics, tables and a first rule book on services that are there: what containers run before the workers.

`make up` does the same after starting the services (`prepare`). Usage: python -m infra.prepare
"""

from __future__ import annotations

from collections.abc import Callable

from infra import starter
from infra.command import run, say
from nanotally.sinks.migrate import migrate
from nanotally.streams import admin
from nanotally.streams.environment import Environment
from nanotally.streams.installation import Installation


def prepare(environment: Environment, say: Callable[[str], None], book: bool = True) -> None:
    """Make what is missing; what is there stays as it is. Without `book` no rule book is published.

    Raises Transient when a service cannot be asked, InvalidInput when topics exist with other partitions."""
    made = admin.create_topics(environment.kafka, environment.prefix, replicas=environment.replicas)
    say(f"topics made: {', '.join(made)}" if made else "topics are there")
    Installation(environment.kafka, environment.prefix).announce()
    applied = migrate(
        environment.clickhouse, environment.database, environment.clickhouse_user, environment.clickhouse_password
    )
    say(f"tables made in {environment.database}: {len(applied)} migrations" if applied else "tables are there")
    if book:
        starter.publish_if_none(environment, say)


if __name__ == "__main__":
    run(lambda: prepare(Environment.load(), say))
