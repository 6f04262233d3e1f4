-- The questions people ask, with money as exact decimals in currency units. docs/clickhouse.md has an example of each.
--
-- complete_until: everything booked before it is in (see completeness); NULL where that is not known yet. By occurred_at
-- a late use can still come; it is then booked after complete_until.
-- Hours and days are UTC; the closed windows of the installation's own zone are in payer_tallies and account_tallies.
-- Each inner query is written in the very terms of a projection of charges, so that it reads sums, not uses.

-- Revenue by hour, product, feature (attribute 'feature') and meter, by booked_at: adds up to what statements say.
CREATE OR REPLACE VIEW revenue_by_hour AS
WITH (SELECT complete_until FROM completeness WHERE topic = 'charges') AS until
SELECT hour, product, feature, meter, currency, sumIf(records, outcome = 'charged') AS uses,
    reinterpret(sum(toInt256(amount) * toInt256(intExp10(18 - scale))), 'Decimal(76, 18)') AS used,
    sum(money) AS paid, until AS complete_until
FROM (
    SELECT toStartOfHour(booked_at) AS hour, product, feature, meter, scale, currency, outcome,
        count() AS records, sum(toInt128(quantity)) AS amount, sum(paid) AS money
    FROM charges WHERE outcome IN ('charged', 'due')
    GROUP BY toStartOfHour(booked_at), product, feature, meter, scale, currency, outcome)
GROUP BY hour, product, feature, meter, currency;

-- The same by occurred_at: when uses truly happened, late ones included.
CREATE OR REPLACE VIEW revenue_by_hour_occurred AS
WITH (SELECT complete_until FROM completeness WHERE topic = 'charges') AS until
SELECT hour, product, feature, meter, currency, sumIf(records, outcome = 'charged') AS uses,
    reinterpret(sum(toInt256(amount) * toInt256(intExp10(18 - scale))), 'Decimal(76, 18)') AS used,
    sum(money) AS paid, until AS complete_until
FROM (
    SELECT toStartOfHour(occurred_at) AS hour, product, feature, meter, scale, currency, outcome,
        count() AS records, sum(toInt128(quantity)) AS amount, sum(paid) AS money
    FROM charges WHERE outcome IN ('charged', 'due')
    GROUP BY toStartOfHour(occurred_at), product, feature, meter, scale, currency, outcome)
GROUP BY hour, product, feature, meter, currency;

-- Revenue by feature, since the beginning.
CREATE OR REPLACE VIEW revenue_by_feature AS
SELECT feature, currency, sum(uses) AS uses, sum(paid) AS paid, any(complete_until) AS complete_until
FROM revenue_by_hour GROUP BY feature, currency;

-- Revenue by product, since the beginning.
CREATE OR REPLACE VIEW revenue_by_product AS
SELECT product, currency, sum(uses) AS uses, sum(paid) AS paid, any(complete_until) AS complete_until
FROM revenue_by_hour GROUP BY product, currency;

-- Revenue by item and hour, by booked_at.
CREATE OR REPLACE VIEW revenue_by_item AS
WITH (SELECT complete_until FROM completeness WHERE topic = 'charges') AS until
SELECT hour, item, product, meter, currency, sumIf(records, outcome = 'charged') AS uses,
    reinterpret(sum(toInt256(amount) * toInt256(intExp10(18 - scale))), 'Decimal(76, 18)') AS used,
    sum(money) AS paid, until AS complete_until
FROM (
    SELECT toStartOfHour(booked_at) AS hour, item, product, meter, scale, currency, outcome,
        count() AS records, sum(toInt128(quantity)) AS amount, sum(paid) AS money
    FROM charges WHERE outcome IN ('charged', 'due')
    GROUP BY toStartOfHour(booked_at), item, product, meter, scale, currency, outcome)
GROUP BY hour, item, product, meter, currency;

-- Revenue by item and hour, by occurred_at.
CREATE OR REPLACE VIEW revenue_by_item_occurred AS
WITH (SELECT complete_until FROM completeness WHERE topic = 'charges') AS until
SELECT hour, item, product, meter, currency, sumIf(records, outcome = 'charged') AS uses,
    reinterpret(sum(toInt256(amount) * toInt256(intExp10(18 - scale))), 'Decimal(76, 18)') AS used,
    sum(money) AS paid, until AS complete_until
FROM (
    SELECT toStartOfHour(occurred_at) AS hour, item, product, meter, scale, currency, outcome,
        count() AS records, sum(toInt128(quantity)) AS amount, sum(paid) AS money
    FROM charges WHERE outcome IN ('charged', 'due')
    GROUP BY toStartOfHour(occurred_at), item, product, meter, scale, currency, outcome)
GROUP BY hour, item, product, meter, currency;

-- What each account earns per day, by booked_at: uses it has a share in, what was paid for them (gross), its shares.
-- Those of creators begin with 'creator:'.
CREATE OR REPLACE VIEW earnings_by_day AS
WITH (SELECT complete_until FROM completeness WHERE topic = 'charges') AS until
SELECT day, account, currency, sumIf(records, first AND outcome = 'charged') AS uses, sumIf(money, first) AS gross,
    reinterpret(sum(share), 'Decimal(38, 9)') AS earned, until AS complete_until
FROM (
    SELECT toDate(hour) AS day, currency, outcome, account, share, place = 1 AS first, records, money
    FROM (
        SELECT toStartOfHour(booked_at) AS hour, currency, outcome, shares.account AS accounts,
            sumForEach(CAST(shares.nanos, 'Array(Int128)')) AS nanos, count() AS records, sum(paid) AS money
        FROM charges WHERE outcome IN ('charged', 'due')
        GROUP BY toStartOfHour(booked_at), currency, outcome, shares.account)
    ARRAY JOIN accounts AS account, nanos AS share, arrayEnumerateUniq(accounts) AS place)
GROUP BY day, account, currency;

-- The same by occurred_at.
CREATE OR REPLACE VIEW earnings_by_day_occurred AS
WITH (SELECT complete_until FROM completeness WHERE topic = 'charges') AS until
SELECT day, account, currency, sumIf(records, first AND outcome = 'charged') AS uses, sumIf(money, first) AS gross,
    reinterpret(sum(share), 'Decimal(38, 9)') AS earned, until AS complete_until
FROM (
    SELECT toDate(hour) AS day, currency, outcome, account, share, place = 1 AS first, records, money
    FROM (
        SELECT toStartOfHour(occurred_at) AS hour, currency, outcome, shares.account AS accounts,
            sumForEach(CAST(shares.nanos, 'Array(Int128)')) AS nanos, count() AS records, sum(paid) AS money
        FROM charges WHERE outcome IN ('charged', 'due')
        GROUP BY toStartOfHour(occurred_at), currency, outcome, shares.account)
    ARRAY JOIN accounts AS account, nanos AS share, arrayEnumerateUniq(accounts) AS place)
GROUP BY day, account, currency;

-- What became of the records: by hour, product, outcome and reason; free are the charged ones of 0. The hour is that of
-- booked_at; of rejects that of the broker's time; of duplicates, which carry no time, that of the watermark.
CREATE OR REPLACE VIEW outcomes AS
WITH (SELECT complete_until FROM completeness WHERE topic = 'charges') AS until
SELECT hour, product, outcome, reason, sum(number) AS records, sumIf(number, free) AS free, until AS complete_until
FROM (
    SELECT toStartOfHour(booked_at) AS hour, product, outcome, reason, paid_nanos = 0 AND outcome = 'charged' AS free, count() AS number
    FROM charges GROUP BY toStartOfHour(booked_at), product, outcome, reason, paid_nanos = 0
    UNION ALL
    SELECT toStartOfHour(recorded_at), '', 'rejected', reason, false, count()
    FROM rejects GROUP BY toStartOfHour(recorded_at), reason
    UNION ALL
    SELECT toStartOfHour(fromUnixTimestamp64Micro(greatest(watermark_us, 0), 'UTC')), '', 'duplicate', '', false,
        uniqExact(kafka_partition, arrayJoin(duplicates))
    FROM chunks WHERE notEmpty(duplicates)
    GROUP BY toStartOfHour(fromUnixTimestamp64Micro(greatest(watermark_us, 0), 'UTC')))
GROUP BY hour, product, outcome, reason;

-- Items by what they brought, within each currency, since the beginning.
CREATE OR REPLACE VIEW top_items AS
SELECT row_number() OVER (PARTITION BY currency ORDER BY paid DESC, item, product) AS rank, item, product, currency, uses, paid, complete_until
FROM (
    SELECT item, product, currency, sum(uses) AS uses, sum(paid) AS paid, any(complete_until) AS complete_until
    FROM revenue_by_item WHERE item != '' GROUP BY item, product, currency);

-- Creators by what they earned, within each currency, since the beginning; gross is what was paid for their uses.
CREATE OR REPLACE VIEW top_creators AS
SELECT row_number() OVER (PARTITION BY currency ORDER BY earned DESC, creator) AS rank, creator, currency, uses, gross, earned, complete_until
FROM (
    SELECT substring(account, 9) AS creator, currency, sum(uses) AS uses, sum(gross) AS gross, sum(earned) AS earned,
        any(complete_until) AS complete_until
    FROM earnings_by_day WHERE startsWith(account, 'creator:') GROUP BY account, currency);

-- Uses that came after their window's end was near or past: booked later than they occurred.
CREATE OR REPLACE VIEW late_events AS
SELECT payer, product, item, event_id, occurred_at, booked_at, recorded_at,
    reinterpret(toInt128(toUnixTimestamp64Micro(booked_at) - toUnixTimestamp64Micro(occurred_at)), 'Decimal(38, 6)') AS late_s,
    toStartOfHour(booked_at) != toStartOfHour(occurred_at) AS other_hour, toDate(booked_at) != toDate(occurred_at) AS other_day,
    outcome, currency, paid, concat(toString(usage_partition), '-', toString(usage_offset), if(n = 0, '', concat('-', toString(n)))) AS charge,
    (SELECT complete_until FROM completeness WHERE topic = 'charges') AS complete_until
FROM charges WHERE late;

-- A payer's statements: the closed ones as they were settled, and what is open since. period_start of an open one is the
-- end of the last closed one, NULL without one; its period_end is NULL. Charges of a period that has just been closed
-- count as open until its statement has arrived.
CREATE OR REPLACE VIEW payer_statements AS
WITH (SELECT complete_until FROM completeness WHERE topic = 'charges') AS until
SELECT payer, 'closed' AS state, period, toNullable(period_start) AS period_start, toNullable(period_end) AS period_end,
    currency, uses, due, statement_id, until AS complete_until
FROM statements
UNION ALL
SELECT payer, 'open', '', nullIf(any(c.closed_to), toDateTime64(0, 6, 'UTC')), NULL, currency, toInt64(countIf(outcome = 'charged')), sum(paid), '', until
FROM charges LEFT JOIN (SELECT payer, max(period_end) AS closed_to FROM statements GROUP BY payer) AS c USING (payer)
WHERE outcome IN ('charged', 'due') AND booked_at >= c.closed_to
GROUP BY payer, currency;

-- The same in lines by product and meter.
CREATE OR REPLACE VIEW payer_statement_lines AS
WITH (SELECT complete_until FROM completeness WHERE topic = 'charges') AS until
SELECT payer, 'closed' AS state, s.period AS period, toNullable(s.period_start) AS period_start, toNullable(s.period_end) AS period_end,
    t.product AS product, t.meter AS meter, currency, t.uses AS uses, t.used AS used, t.amount AS paid, s.statement_id AS statement_id, until AS complete_until
FROM statements AS s INNER JOIN payer_tallies AS t
ON t.payer = s.payer AND t.size = s.period AND t.window_start = s.period_start AND t.currency = s.currency
UNION ALL
SELECT payer, 'open', '', nullIf(any(c.closed_to), toDateTime64(0, 6, 'UTC')), NULL, product, meter, currency,
    toInt64(countIf(outcome = 'charged')), sum(used), sum(paid), '', until
FROM charges LEFT JOIN (SELECT payer, max(period_end) AS closed_to FROM statements GROUP BY payer) AS c USING (payer)
WHERE outcome IN ('charged', 'due') AND booked_at >= c.closed_to
GROUP BY payer, product, meter, currency;

-- Items of the catalogs, version by version: who made one, who gets what part of it, what its creator asks for it.
CREATE OR REPLACE VIEW catalog_items AS
SELECT catalog, version, effective_from, JSONExtractString(entry, 'item') AS item, JSONExtractString(entry, 'creator') AS creator,
    JSONExtractString(entry, 'label') AS label, JSONExtract(entry, 'writers', 'Array(Tuple(String, String))') AS writers,
    JSONExtractString(entry, 'price') AS price, first_book
FROM (
    SELECT catalog, version, any(effective_from) AS effective_from, any(document) AS document, min(book_number) AS first_book
    FROM catalogs GROUP BY catalog, version)
ARRAY JOIN JSONExtractArrayRaw(document, 'items') AS entry;

-- reverse
DROP VIEW IF EXISTS catalog_items;
DROP VIEW IF EXISTS payer_statement_lines;
DROP VIEW IF EXISTS payer_statements;
DROP VIEW IF EXISTS late_events;
DROP VIEW IF EXISTS top_creators;
DROP VIEW IF EXISTS top_items;
DROP VIEW IF EXISTS outcomes;
DROP VIEW IF EXISTS earnings_by_day_occurred;
DROP VIEW IF EXISTS earnings_by_day;
DROP VIEW IF EXISTS revenue_by_item_occurred;
DROP VIEW IF EXISTS revenue_by_item;
DROP VIEW IF EXISTS revenue_by_product;
DROP VIEW IF EXISTS revenue_by_feature;
DROP VIEW IF EXISTS revenue_by_hour_occurred;
DROP VIEW IF EXISTS revenue_by_hour;
