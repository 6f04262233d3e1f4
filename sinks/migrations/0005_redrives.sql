-- What was put in once more in place of a reject or of a use without a price, and what is left of these.

-- The history of dead letters, from topic redrives: a row for each old record. Asked by the old record's place.
CREATE TABLE IF NOT EXISTS redrives
(
    input_partition UInt16 COMMENT 'of the old record in usage, as in rejects' CODEC(T64, ZSTD(1)),
    input_offset Int64 CODEC(T64, ZSTD(1)),
    reason LowCardinality(String) COMMENT 'of the reject, or unpriced' CODEC(ZSTD(1)),
    to_partition UInt16 COMMENT 'of the new record in usage' CODEC(T64, ZSTD(1)),
    to_offset Int64 CODEC(T64, ZSTD(1)),
    event_id String COMMENT 'of the use in the new record' CODEC(ZSTD(1)),
    mended Bool COMMENT 'whether a person wrote the new use' CODEC(ZSTD(1)),
    at DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
    note String COMMENT 'why' CODEC(ZSTD(1)),
    kafka_partition UInt16 CODEC(T64, ZSTD(1)),
    kafka_offset Int64 CODEC(Delta(8), ZSTD(1)),
    PROJECTION by_offset (SELECT kafka_partition, kafka_offset ORDER BY kafka_partition, kafka_offset)
)
ENGINE = MergeTree
ORDER BY (input_partition, input_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE rejects ADD COLUMN IF NOT EXISTS product LowCardinality(String) DEFAULT '' COMMENT 'as far as the bytes tell it; empty for rows written before this column was' CODEC(ZSTD(1)) AFTER fingerprint;

-- Rejects that nobody mended or redrove, and uses without a price that nobody redrove or mended, by reason and product.
-- Rejected controls are left out, since nothing of them is to be redriven.
CREATE OR REPLACE VIEW rejects_left AS
SELECT reason, product, count() AS records, min(at) AS oldest, max(at) AS newest
FROM (
    SELECT reason, product, recorded_at AS at FROM rejects
    WHERE reason NOT IN ('bad_control', 'bad_book')
        AND (input_partition, input_offset) NOT IN (SELECT input_partition, input_offset FROM redrives)
    UNION ALL
    SELECT 'unpriced', product, recorded_at FROM charges
    WHERE outcome = 'unpriced'
        AND (usage_partition, usage_offset) NOT IN (SELECT input_partition, input_offset FROM redrives))
GROUP BY reason, product;

-- reverse
DROP VIEW IF EXISTS rejects_left;
ALTER TABLE rejects DROP COLUMN IF EXISTS product;
DROP TABLE IF EXISTS redrives SYNC;
