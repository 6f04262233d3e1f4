"""How many brokers keep each record: as many as there are, three at most; an acknowledged one is then on two disks."""

from __future__ import annotations

from nanotally.streams.errors import InvalidInput

REPLICAS, IN_SYNC = 3, 2


def replicas_wanted(brokers: int, asked: int = 0) -> int:
    """Replicas of each partition on so many brokers. asked: NANOTALLY_REPLICAS, 0 for as many as is good.

    Raises InvalidInput where more are asked for than there are brokers."""
    if asked > brokers:
        running = "1 broker of Kafka runs" if brokers == 1 else f"{brokers} brokers of Kafka run"
        raise InvalidInput(
            f"NANOTALLY_REPLICAS asks for {asked} replicas, but {running}; start the others, or ask for fewer"
        )
    return asked or min(REPLICAS, brokers)


def in_sync_min(replicas: int) -> int:
    """On how many brokers a record must be before Kafka acknowledges it: two of three or more, so that any one may be
    lost; one where there are fewer, since two of two would stop everything whenever one is away."""
    return IN_SYNC if replicas >= REPLICAS else 1


def replica_settings(replicas: int) -> dict[str, str]:
    """Kafka's settings of a topic with so many replicas: none that lags behind may ever become the truth."""
    return {"min.insync.replicas": str(in_sync_min(replicas)), "unclean.leader.election.enable": "false"}
