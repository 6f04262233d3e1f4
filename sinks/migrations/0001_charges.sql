-- The charges: one row for each Charge record of the ledger, whatever its outcome. A row is never changed.
--
-- Rows come from several connections that may die at any time. What is asked of the layout (figures: docs/clickhouse.md):
-- * a row exactly once: the writer leaves out the offsets that are there, so it must find them fast (by_offset);
-- * a payer's uses of a period, a charge by its name or event id, money by hour, item or account: each without
--   reading everything;
-- * exact sums: nanos are whole numbers in Int64; to add them up take the Decimal(38, 9) beside them, because the sum
--   of an Int64 wraps without a word at 9.2e18 nanos.
--
-- Codecs: T64 crops whole numbers to the bits that a block needs, which for times and amounts beats Delta; ZSTD(1)
-- afterwards. Strings that take a handful of values are LowCardinality where they are grouped by, plain in arrays:
-- there the dictionaries cost 4 us a row to write, and ZSTD makes as little of the repeats.
CREATE TABLE IF NOT EXISTS charges
(
    -- The use as it was published. For what fell due there is none: empty strings, 0, occurred_at = booked_at.
    event_id String COMMENT 'id of the use, unique per payer and product' CODEC(ZSTD(1)),
    occurred_at DateTime64(6, 'UTC') COMMENT 'when the use happened' CODEC(T64, ZSTD(1)),
    product LowCardinality(String) CODEC(ZSTD(1)),
    payer String COMMENT 'who owes' CODEC(ZSTD(1)),
    creator String COMMENT 'who earns by the use; empty: nobody but the platform' CODEC(ZSTD(1)),
    item String CODEC(ZSTD(1)),
    meter LowCardinality(String) CODEC(ZSTD(1)),
    quantity Int64 COMMENT 'unscaled: the quantity times ten to the power of scale' CODEC(T64, ZSTD(1)),
    scale UInt8 COMMENT 'decimal places of quantity' CODEC(ZSTD(1)),
    session String COMMENT 'empty: none' CODEC(ZSTD(1)),
    duration_us Nullable(Int64) COMMENT 'microseconds' CODEC(T64, ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    feature LowCardinality(String) MATERIALIZED attributes['feature'] COMMENT 'attribute feature; empty: none' CODEC(ZSTD(1)),
    used Decimal(76, 18) ALIAS reinterpret(toInt256(quantity) * toInt256(intExp10(18 - scale)), 'Decimal(76, 18)') COMMENT 'the quantity as a decimal',

    -- What became of it.
    recorded_at DateTime64(6, 'UTC') COMMENT 'the broker''s time of the use' CODEC(T64, ZSTD(1)),
    booked_at DateTime64(6, 'UTC') COMMENT 'whose windows, scopes and settlement it belongs to' CODEC(T64, ZSTD(1)),
    late Bool COMMENT 'booked_at is after occurred_at' CODEC(ZSTD(1)),
    flags LowCardinality(String) COMMENT 'remarks, separated by spaces' CODEC(ZSTD(1)),
    outcome LowCardinality(String) COMMENT 'charged, refused, unpriced, due' CODEC(ZSTD(1)),
    reason LowCardinality(String) COMMENT 'why refused, unpriced or due' CODEC(ZSTD(1)),
    currency LowCardinality(String) COMMENT 'ISO 4217; empty where unpriced' CODEC(ZSTD(1)),
    paid_nanos Int64 COMMENT 'what the payer owes, nanos' CODEC(T64, ZSTD(1)),
    paid Decimal(38, 9) ALIAS reinterpret(toInt128(paid_nanos), 'Decimal(38, 9)') COMMENT 'what the payer owes, currency units: sum this one',
    book_number Int64 COMMENT 'rule book in force; -1: none' CODEC(T64, ZSTD(1)),

    -- The links of the chain that priced it, as arrays of equal length: position 1 is line 0. Two arrays take less room
    -- than an array of tuples. The hashed keys of scope and split are left to the ledger: they do not compress.
    `lines.link` Array(String) COMMENT 'rule, pass, minimum, sharing' CODEC(ZSTD(1)),
    `lines.tariff` Array(String) CODEC(ZSTD(1)),
    `lines.version` Array(Int32) CODEC(T64, ZSTD(1)),
    `lines.tariff_hash` Array(String) COMMENT 'first 16 hex digits of tariffs.content_hash' CODEC(ZSTD(1)),
    `lines.rule` Array(String) CODEC(ZSTD(1)),
    `lines.variant` Array(String) COMMENT 'which of the rule''s prices; empty: it has one' CODEC(ZSTD(1)),
    `lines.scope` Array(String) COMMENT 'event, session, hour, day, month, year, life, anchored' CODEC(ZSTD(1)),
    `lines.scope_start` Array(DateTime64(6, 'UTC')) CODEC(T64, ZSTD(1)),
    `lines.scope_end` Array(DateTime64(6, 'UTC')) COMMENT '2200-01-01: never' CODEC(T64, ZSTD(1)),
    `lines.uses_before` Array(Int64) COMMENT 'uses of the scope before' CODEC(T64, ZSTD(1)),
    `lines.quantity_before` Array(Int64) COMMENT 'used in the scope before, unscaled' CODEC(T64, ZSTD(1)),
    `lines.quantity` Array(Int64) CODEC(T64, ZSTD(1)),
    `lines.over_before` Array(Int64) COMMENT 'paid by started steps beyond what was used, unscaled' CODEC(T64, ZSTD(1)),
    `lines.over_after` Array(Int64) CODEC(T64, ZSTD(1)),
    `lines.total_before` Array(Int64) COMMENT 'exact total of the scope before, whole nanos' CODEC(T64, ZSTD(1)),
    `lines.remainder_before` Array(Int64) COMMENT 'what it has beyond, in parts of remainder_den' CODEC(T64, ZSTD(1)),
    `lines.total_after` Array(Int64) CODEC(T64, ZSTD(1)),
    `lines.remainder_after` Array(Int64) CODEC(T64, ZSTD(1)),
    `lines.remainder_den` Array(Int64) CODEC(T64, ZSTD(1)),
    `lines.charged_before` Array(Int64) COMMENT 'nanos charged in the scope before' CODEC(T64, ZSTD(1)),
    `lines.minimum_nanos` Array(Int64) COMMENT 'due at the scope''s end; 0: none' CODEC(T64, ZSTD(1)),
    `lines.amount_nanos` Array(Int64) COMMENT 'what the link asks' CODEC(T64, ZSTD(1)),
    `lines.paid_nanos` Array(Int64) COMMENT 'what the payer owes by it' CODEC(T64, ZSTD(1)),
    `lines.pass` Array(String) COMMENT 'empty: none' CODEC(ZSTD(1)),
    `lines.catalog` Array(String) COMMENT 'catalog and version that was asked; empty: none' CODEC(ZSTD(1)),
    `lines.split` Array(String) CODEC(ZSTD(1)),
    `lines.base_before` Array(Int64) COMMENT 'nanos divided by this resolved split before' CODEC(T64, ZSTD(1)),

    -- Who gets what: the shares of all lines, again as arrays of equal length.
    `shares.line` Array(UInt16) COMMENT 'of which line, from 0' CODEC(T64, ZSTD(1)),
    `shares.account` Array(String) COMMENT 'creator:ana, party:label, platform, pool:day' CODEC(ZSTD(1)),
    `shares.fraction_num` Array(Int64) CODEC(T64, ZSTD(1)),
    `shares.fraction_den` Array(Int64) CODEC(T64, ZSTD(1)),
    `shares.nanos` Array(Int64) CODEC(T64, ZSTD(1)),

    -- Row key: (usage_partition, usage_offset, n). The public name of a charge is PARTITION-OFFSET[-N].
    usage_partition UInt16 CODEC(T64, ZSTD(1)),
    usage_offset Int64 CODEC(T64, ZSTD(1)),
    n UInt32 COMMENT 'number among the charges written at this usage offset' CODEC(T64, ZSTD(1)),
    -- Where the record is in Kafka (topic charges): the key of exactly once. Sorted in by_offset, where Delta gives 1s.
    kafka_partition UInt16 CODEC(T64, ZSTD(1)),
    kafka_offset Int64 CODEC(Delta(8), ZSTD(1)),

    -- Money neither comes into being nor is lost on the way here.
    CONSTRAINT shares_sum CHECK arraySum(shares.nanos) = paid_nanos,
    CONSTRAINT lines_sum CHECK arraySum(lines.paid_nanos) = paid_nanos,

    -- "What became of event X": a bloom filter at 2 bytes a row. A projection sorted by event id would store the ids,
    -- a quarter of the table, a second time.
    INDEX by_event_id event_id TYPE bloom_filter(0.001) GRANULARITY 1,

    -- For the writer and for reconcile: which offsets are here. A min-max index is useless once parts are merged.
    PROJECTION by_offset (SELECT kafka_partition, kafka_offset ORDER BY kafka_partition, kafka_offset),
    -- "Why was charge 2-1047 charged": place of the row in its part, so that only its granule is read.
    PROJECTION by_use (SELECT usage_partition, usage_offset, n, _part_offset ORDER BY usage_partition, usage_offset, n),
    -- Revenue and outcomes, by booked_at or by occurred_at or both: the two hours differ only for late uses, so that
    -- having both costs no more groups than one.
    PROJECTION by_hour (
        SELECT toStartOfHour(booked_at), toStartOfHour(occurred_at), product, feature, meter, scale, currency, outcome, reason, late, paid_nanos = 0,
            count(), sum(toInt128(quantity)), sum(paid)
        GROUP BY toStartOfHour(booked_at), toStartOfHour(occurred_at), product, feature, meter, scale, currency, outcome, reason, late, paid_nanos = 0),
    -- Revenue by item: by itself, because items are many.
    PROJECTION by_item (
        SELECT toStartOfHour(booked_at), toStartOfHour(occurred_at), item, product, meter, scale, currency, outcome,
            count(), sum(toInt128(quantity)), sum(paid)
        GROUP BY toStartOfHour(booked_at), toStartOfHour(occurred_at), item, product, meter, scale, currency, outcome),
    -- Earnings. Grouped by the whole list of accounts, not by account: arrayJoin in a projection makes more rows of a
    -- block than it had, and then the insert is refused; sumMap breaks every insert. In Int128, since sums go beyond
    -- 64 bits. The lists of a group are equal, so sumForEach adds like to like.
    PROJECTION by_accounts (
        SELECT toStartOfHour(booked_at), toStartOfHour(occurred_at), currency, outcome, shares.account,
            sumForEach(CAST(shares.nanos, 'Array(Int128)')), count(), sum(paid)
        GROUP BY toStartOfHour(booked_at), toStartOfHour(occurred_at), currency, outcome, shares.account)
)
ENGINE = MergeTree
-- By month of booked_at, which only goes up: an insert touches one month or two, and old months can be moved or dropped.
PARTITION BY toYYYYMM(booked_at)
-- A payer's statement is the most exact question and must be answered from a few granules; neighbours in this order are
-- alike (one payer's products, items, rules), which compresses best.
ORDER BY (payer, booked_at)
SETTINGS
    fsync_after_insert = 1, fsync_part_directory = 1,    -- acknowledged means on disk: the position is stored next
    lightweight_mutation_projection_mode = 'rebuild',    -- erasing a person's rows keeps projections right
    merge_selector_base = 12,                            -- more parts in one merge (5 by default): a row is merged half as often
    non_replicated_deduplication_window = 0;             -- tokens count parts, not inserts, and drop equal blocks

-- reverse
DROP TABLE IF EXISTS charges SYNC;
