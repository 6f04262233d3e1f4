-- Uses that found no price, and what came of them later.

-- Those that are left: no redrive took them into the ledger since, and nobody mended them, which makes another use of
-- them. One that was refused when it was redriven is done with.
-- The charge of a redriven use stands at the offset of its control, and its flags tell the offset where the use was.
CREATE OR REPLACE VIEW unpriced_left AS
WITH (SELECT complete_until FROM completeness WHERE topic = 'charges') AS until
SELECT concat(toString(usage_partition), '-', toString(usage_offset)) AS charge, payer, product, item, meter, event_id, reason,
    occurred_at, booked_at, recorded_at, used, until AS complete_until
FROM charges
WHERE outcome = 'unpriced' AND (usage_partition, usage_offset) NOT IN (
    SELECT usage_partition, toInt64OrZero(extract(flags, 'redrive:([0-9]+)')) FROM charges WHERE flags LIKE '%redrive:%'
    UNION ALL
    SELECT input_partition, input_offset FROM redrives WHERE mended);

-- Those that were redriven: where and when they came first, and when again.
CREATE OR REPLACE VIEW redriven_uses AS
WITH (SELECT complete_until FROM completeness WHERE topic = 'charges') AS until
SELECT concat(toString(usage_partition), '-', toString(usage_offset)) AS charge,
    concat(toString(usage_partition), '-', extract(flags, 'redrive:([0-9]+)')) AS before, payer, product, item, meter, event_id,
    outcome, reason, occurred_at, booked_at, recorded_at AS redriven_at, used, currency, paid, until AS complete_until
FROM charges WHERE flags LIKE '%redrive:%';

-- reverse
DROP VIEW IF EXISTS redriven_uses;
DROP VIEW IF EXISTS unpriced_left;
