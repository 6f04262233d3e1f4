"""Kafka and ClickHouse as local processes: fetched once, started, watched over, stopped."""
