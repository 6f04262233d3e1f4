-- What the stages write beside the charges, one table for each topic (books: two), a row for each record.
--
-- kafka_partition, kafka_offset say where the record is in its topic and are the key of exactly once; by_offset finds
-- them (see charges). Sums may exceed 64 bits, so they are Decimal(38, 9) in currency units: exact to 10^29 units.

-- Closed windows of payers. Asked by payer and size over time, hence the order.
CREATE TABLE IF NOT EXISTS payer_tallies
(
    payer String CODEC(ZSTD(1)),
    account String ALIAS concat('payer:', payer),
    size LowCardinality(String) COMMENT 'minute, hour, day, month' CODEC(ZSTD(1)),
    window_start DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    window_end DateTime64(6, 'UTC') COMMENT 'first instant after the window' CODEC(T64, ZSTD(1)),
    product LowCardinality(String) CODEC(ZSTD(1)),
    meter LowCardinality(String) CODEC(ZSTD(1)),
    scale UInt8 CODEC(ZSTD(1)),
    currency LowCardinality(String) CODEC(ZSTD(1)),
    uses Int64 CODEC(T64, ZSTD(1)),
    quantity Decimal(38, 0) COMMENT 'unscaled' CODEC(ZSTD(1)),
    used Decimal(76, 18) ALIAS reinterpret(toInt256(quantity) * toInt256(intExp10(18 - scale)), 'Decimal(76, 18)'),
    amount Decimal(38, 9) COMMENT 'paid, currency units' CODEC(ZSTD(1)),
    kafka_partition UInt16 CODEC(T64, ZSTD(1)),
    kafka_offset Int64 CODEC(Delta(8), ZSTD(1)),
    PROJECTION by_offset (SELECT kafka_partition, kafka_offset ORDER BY kafka_partition, kafka_offset),
    -- How far they are complete (view completeness): the last end in each partition, without reading the table.
    PROJECTION by_end (SELECT kafka_partition, max(window_end) GROUP BY kafka_partition)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (payer, size, window_start)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, lightweight_mutation_projection_mode = 'rebuild';

-- Closed windows of accounts that earn. The order is that of payer_tallies, for the same reason.
CREATE TABLE IF NOT EXISTS account_tallies
(
    account String COMMENT 'creator:ana, party:label, platform' CODEC(ZSTD(1)),
    size LowCardinality(String) COMMENT 'minute, hour, day, month' CODEC(ZSTD(1)),
    window_start DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    window_end DateTime64(6, 'UTC') COMMENT 'first instant after the window' CODEC(T64, ZSTD(1)),
    product LowCardinality(String) CODEC(ZSTD(1)),
    meter LowCardinality(String) CODEC(ZSTD(1)),
    scale UInt8 CODEC(ZSTD(1)),
    currency LowCardinality(String) CODEC(ZSTD(1)),
    uses Int64 CODEC(T64, ZSTD(1)),
    quantity Decimal(38, 0) COMMENT 'unscaled' CODEC(ZSTD(1)),
    used Decimal(76, 18) ALIAS reinterpret(toInt256(quantity) * toInt256(intExp10(18 - scale)), 'Decimal(76, 18)'),
    amount Decimal(38, 9) COMMENT 'earned, currency units' CODEC(ZSTD(1)),
    kafka_partition UInt16 CODEC(T64, ZSTD(1)),
    kafka_offset Int64 CODEC(Delta(8), ZSTD(1)),
    PROJECTION by_offset (SELECT kafka_partition, kafka_offset ORDER BY kafka_partition, kafka_offset),
    PROJECTION by_end (SELECT kafka_partition, max(window_end) GROUP BY kafka_partition)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(window_start)
ORDER BY (account, size, window_start)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, lightweight_mutation_projection_mode = 'rebuild';

-- What each payer owes for each closed period: a payer's statements in order of time.
CREATE TABLE IF NOT EXISTS statements
(
    statement_id String CODEC(ZSTD(1)),
    payer String CODEC(ZSTD(1)),
    account String ALIAS concat('payer:', payer),
    period LowCardinality(String) COMMENT 'hour, day, month' CODEC(ZSTD(1)),
    period_start DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    period_end DateTime64(6, 'UTC') COMMENT 'first instant after the period' CODEC(T64, ZSTD(1)),
    currency LowCardinality(String) CODEC(ZSTD(1)),
    uses Int64 CODEC(T64, ZSTD(1)),
    due Decimal(38, 9) COMMENT 'currency units' CODEC(ZSTD(1)),
    kafka_partition UInt16 CODEC(T64, ZSTD(1)),
    kafka_offset Int64 CODEC(Delta(8), ZSTD(1)),
    PROJECTION by_offset (SELECT kafka_partition, kafka_offset ORDER BY kafka_partition, kafka_offset),
    PROJECTION by_end (SELECT kafka_partition, max(period_end) GROUP BY kafka_partition)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(period_start)
ORDER BY (payer, period_start)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, lightweight_mutation_projection_mode = 'rebuild';

-- What each account gets for each closed period: an account's payouts in order of time.
CREATE TABLE IF NOT EXISTS payouts
(
    payout_id String CODEC(ZSTD(1)),
    account String CODEC(ZSTD(1)),
    period LowCardinality(String) COMMENT 'hour, day, month' CODEC(ZSTD(1)),
    period_start DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    period_end DateTime64(6, 'UTC') COMMENT 'first instant after the period' CODEC(T64, ZSTD(1)),
    currency LowCardinality(String) CODEC(ZSTD(1)),
    uses Int64 CODEC(T64, ZSTD(1)),
    brought Decimal(38, 9) COMMENT 'carried forward from earlier periods' CODEC(ZSTD(1)),
    earned Decimal(38, 9) COMMENT 'in this period' CODEC(ZSTD(1)),
    paid Decimal(38, 9) COMMENT 'paid out: brought + earned, where that reaches the threshold' CODEC(ZSTD(1)),
    carried Decimal(38, 9) COMMENT 'carried forward to the next period' CODEC(ZSTD(1)),
    kafka_partition UInt16 CODEC(T64, ZSTD(1)),
    kafka_offset Int64 CODEC(Delta(8), ZSTD(1)),
    CONSTRAINT nothing_lost CHECK brought + earned = paid + carried,
    PROJECTION by_offset (SELECT kafka_partition, kafka_offset ORDER BY kafka_partition, kafka_offset),
    PROJECTION by_end (SELECT kafka_partition, max(period_end) GROUP BY kafka_partition)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(period_start)
ORDER BY (account, period_start)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, lightweight_mutation_projection_mode = 'rebuild';

-- Inputs that could not be used, with their bytes. Asked by time ("what broke since noon"), then by reason.
CREATE TABLE IF NOT EXISTS rejects
(
    recorded_at DateTime64(6, 'UTC') COMMENT 'the broker''s time of the input' CODEC(T64, ZSTD(1)),
    reason LowCardinality(String) CODEC(ZSTD(1)),
    detail String COMMENT 'what, where and how to mend it' CODEC(ZSTD(1)),
    input_topic LowCardinality(String) CODEC(ZSTD(1)),
    input_partition UInt16 CODEC(T64, ZSTD(1)),
    input_offset Int64 CODEC(T64, ZSTD(1)),
    fingerprint LowCardinality(String) COMMENT 'of the schema it claims; empty: no header' CODEC(ZSTD(1)),
    key Nullable(String) COMMENT 'bytes as they came' CODEC(ZSTD(1)),
    value Nullable(String) COMMENT 'bytes as they came' CODEC(ZSTD(3)),  -- seldom read: rather small than fast
    kafka_partition UInt16 CODEC(T64, ZSTD(1)),
    kafka_offset Int64 CODEC(Delta(8), ZSTD(1)),
    PROJECTION by_offset (SELECT kafka_partition, kafka_offset ORDER BY kafka_partition, kafka_offset)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (recorded_at, reason)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, lightweight_mutation_projection_mode = 'rebuild';

-- Controls that took effect (topic charges). Few; in the order in which the stage met them.
CREATE TABLE IF NOT EXISTS controls
(
    usage_partition UInt16 CODEC(T64, ZSTD(1)),
    usage_offset Int64 CODEC(T64, ZSTD(1)),
    recorded_at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    control_id String CODEC(ZSTD(1)),
    kind LowCardinality(String) COMMENT 'activate, tick, close' CODEC(ZSTD(1)),
    at Nullable(DateTime64(6, 'UTC')) COMMENT 'close, tick: the time it brought' CODEC(ZSTD(1)),
    book_number Nullable(Int64) COMMENT 'activate: which book' CODEC(ZSTD(1)),
    book_hash Nullable(String) CODEC(ZSTD(1)),
    kafka_partition UInt16 CODEC(T64, ZSTD(1)),
    kafka_offset Int64 CODEC(Delta(8), ZSTD(1)),
    PROJECTION by_offset (SELECT kafka_partition, kafka_offset ORDER BY kafka_partition, kafka_offset)
)
ENGINE = MergeTree
ORDER BY (usage_partition, usage_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Rule books, and the tariff versions that each of them lists, with what is rated by and what its owner wrote. Few rows,
-- read by number and by name; a version in several books is there several times, which ZSTD makes nothing of.
CREATE TABLE IF NOT EXISTS books
(
    book_number Int64 COMMENT 'offset in topic books',
    book_hash String,
    published_at DateTime64(6, 'UTC'),
    note String,
    settings String COMMENT 'canonical JSON' CODEC(ZSTD(1)),
    kafka_partition UInt16,
    kafka_offset Int64,
    PROJECTION by_offset (SELECT kafka_partition, kafka_offset ORDER BY kafka_partition, kafka_offset)
)
ENGINE = MergeTree
ORDER BY book_number
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS tariffs
(
    tariff String,
    version Int32,
    book_number Int64 COMMENT 'of the book that lists it',
    effective_from DateTime64(6, 'UTC'),
    content_hash String COMMENT 'SHA-256 of document, hex',
    document String COMMENT 'canonical JSON: what is rated by' CODEC(ZSTD(3)),
    source String COMMENT 'the file as its owner wrote it' CODEC(ZSTD(3)),
    kafka_partition UInt16,
    kafka_offset Int64,
    PROJECTION by_offset (SELECT kafka_partition, kafka_offset ORDER BY kafka_partition, kafka_offset)
)
ENGINE = MergeTree
ORDER BY (tariff, version, book_number)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- The same of the catalogs of items; view catalog_items has their items in rows.
CREATE TABLE IF NOT EXISTS catalogs
(
    catalog String,
    version Int32,
    book_number Int64 COMMENT 'of the book that lists it',
    effective_from DateTime64(6, 'UTC'),
    content_hash String COMMENT 'SHA-256 of document, hex',
    document String COMMENT 'canonical JSON: what is rated by' CODEC(ZSTD(3)),
    source String COMMENT 'the file as its owner wrote it' CODEC(ZSTD(3)),
    kafka_partition UInt16,
    kafka_offset Int64,
    PROJECTION by_offset (SELECT kafka_partition, kafka_offset ORDER BY kafka_partition, kafka_offset)
)
ENGINE = MergeTree
ORDER BY (catalog, version, book_number)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- reverse
DROP TABLE IF EXISTS catalogs SYNC;
DROP TABLE IF EXISTS tariffs SYNC;
DROP TABLE IF EXISTS books SYNC;
DROP TABLE IF EXISTS controls SYNC;
DROP TABLE IF EXISTS rejects SYNC;
DROP TABLE IF EXISTS payouts SYNC;
DROP TABLE IF EXISTS statements SYNC;
DROP TABLE IF EXISTS account_tallies SYNC;
DROP TABLE IF EXISTS payer_tallies SYNC;
