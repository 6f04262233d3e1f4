"""What the topics say, exactly once, in ClickHouse."""
