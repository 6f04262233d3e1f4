-- How far everything is: which Kafka this database belongs to, and up to where each partition has been written.

-- One row for each topic, written once by the first sink; another Kafka, or a topic created anew, is refused.
CREATE TABLE IF NOT EXISTS identity
(
    topic String COMMENT 'logical name, without prefix',
    topic_id String,
    cluster_id String,
    partitions UInt16,
    claimed_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
ORDER BY topic
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- A row for each write of the sink, written after the rows it speaks of: all records of the partition before
-- next_offset are in their tables. The newest row is the sink's position. Where the write held chunk records, the last
-- one's fields are here; duplicates are those of all of them.
CREATE TABLE IF NOT EXISTS chunks
(
    topic LowCardinality(String) COMMENT 'logical name',
    kafka_partition UInt16 CODEC(T64, ZSTD(1)),
    kafka_offset Int64 COMMENT 'the last record it speaks of' CODEC(T64, ZSTD(1)),
    next_offset Int64 ALIAS kafka_offset + 1,
    records Int64 COMMENT 'records of the partition up to here, chunk records left out' CODEC(T64, ZSTD(1)),
    written_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(T64, ZSTD(1)),

    -- The chunk record; chunk_offset -1, empty and least values where the write held none. Whole numbers instead of
    -- times, since a watermark before the first use is the least of them.
    chunk_offset Int64 COMMENT 'where it is' CODEC(T64, ZSTD(1)),
    stage LowCardinality(String) COMMENT 'payers, accounts' CODEC(ZSTD(1)),
    input_partition UInt16 CODEC(T64, ZSTD(1)),
    input_offset Int64 COMMENT 'of the next input record to take' CODEC(T64, ZSTD(1)),
    input_n Int32 CODEC(T64, ZSTD(1)),
    watermark_us Int64 CODEC(T64, ZSTD(1)),
    closed_to_us Int64 CODEC(T64, ZSTD(1)),
    cursor Nullable(String) COMMENT 'where a long close stopped' CODEC(ZSTD(1)),
    book_number Int64 CODEC(T64, ZSTD(1)),
    book_hash String CODEC(ZSTD(1)),
    input_records Int64 COMMENT 'input records taken since the beginning' CODEC(T64, ZSTD(1)),
    counts Map(LowCardinality(String), Int64) COMMENT 'running, by name' CODEC(ZSTD(1)),
    sums Map(LowCardinality(String), Decimal(38, 9)) COMMENT 'running, currency units, by name' CODEC(ZSTD(1)),
    duplicates Array(Int64) COMMENT 'usage offsets' CODEC(T64, ZSTD(1)),
    source_watermarks Map(String, Int64) CODEC(ZSTD(1)),

    -- What the view completeness asks, at any length of history. All of these only go up.
    PROJECTION newest (
        SELECT topic, kafka_partition, max(kafka_offset), max(records), max(watermark_us), max(closed_to_us),
            max(counts['rows.payer_tallies']), max(counts['rows.statements']),
            max(counts['rows.account_tallies']), max(counts['rows.payouts'])
        GROUP BY topic, kafka_partition)
)
ENGINE = MergeTree
-- Not partitioned: one insert is one block, there or not there. The position is the end of a partition's range.
ORDER BY (topic, kafka_partition, kafka_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Up to when what is booked is here, for each topic; NULL: nothing is known yet, or a partition has not been heard of.
-- * charges: the least watermark over the ledger's partitions. Nothing will be booked before it any more.
-- * tallies and settlements: all windows and periods that end by then. Where the chunk record promises more rows than
--   have arrived, what has arrived is complete up to before the last end among it, because rows come in order of ends.
CREATE OR REPLACE VIEW completeness AS
WITH
    toInt64(-9223372036854775808) AS long_ago,
    newest AS (
        SELECT topic, kafka_partition, max(records) AS arrived, max(watermark_us) AS watermark_us,
            max(closed_to_us) AS closed_to_us, max(counts['rows.payer_tallies']) AS payer_tallies,
            max(counts['rows.statements']) AS statements, max(counts['rows.account_tallies']) AS account_tallies,
            max(counts['rows.payouts']) AS payouts
        FROM chunks GROUP BY topic, kafka_partition),
    promised AS (
        SELECT 'charges' AS name, kafka_partition, toInt64(0) AS promise, watermark_us AS to_us FROM newest WHERE topic = 'charges'
        UNION ALL SELECT 'payer_tallies', kafka_partition, payer_tallies, closed_to_us FROM newest WHERE topic = 'charges'
        UNION ALL SELECT 'statements', kafka_partition, statements, closed_to_us FROM newest WHERE topic = 'charges'
        UNION ALL SELECT 'account_tallies', kafka_partition, account_tallies, closed_to_us FROM newest WHERE topic = 'account_tallies'
        UNION ALL SELECT 'payouts', kafka_partition, payouts, closed_to_us FROM newest WHERE topic = 'account_tallies'),
    last_ends AS (
        SELECT 'payer_tallies' AS name, kafka_partition, toUnixTimestamp64Micro(max(window_end)) AS last_end_us FROM payer_tallies GROUP BY kafka_partition
        UNION ALL SELECT 'statements', kafka_partition, toUnixTimestamp64Micro(max(period_end)) FROM statements GROUP BY kafka_partition
        UNION ALL SELECT 'account_tallies', kafka_partition, toUnixTimestamp64Micro(max(window_end)) FROM account_tallies GROUP BY kafka_partition
        UNION ALL SELECT 'payouts', kafka_partition, toUnixTimestamp64Micro(max(period_end)) FROM payouts GROUP BY kafka_partition),
    partitions AS (
        SELECT p.name AS name, p.kafka_partition AS kafka_partition,
            multiIf(n.arrived >= p.promise, p.to_us, l.last_end_us = 0, long_ago, least(p.to_us, l.last_end_us - 1)) AS to_us
        FROM promised AS p
        LEFT JOIN newest AS n ON n.topic = p.name AND n.kafka_partition = p.kafka_partition
        LEFT JOIN last_ends AS l ON l.name = p.name AND l.kafka_partition = p.kafka_partition)
SELECT
    i.topic AS topic,
    if(uniqExactIf(k.kafka_partition, k.to_us > long_ago) < any(i.size), NULL, fromUnixTimestamp64Micro(greatest(min(k.to_us), 0), 'UTC')) AS complete_until
FROM (SELECT topic, max(partitions) AS size FROM identity GROUP BY topic) AS i
INNER JOIN partitions AS k ON k.name = i.topic
GROUP BY i.topic;

-- reverse
DROP VIEW IF EXISTS completeness;
DROP TABLE IF EXISTS chunks SYNC;
DROP TABLE IF EXISTS identity SYNC;
