-- Uses that a migration carried over from another installation wait for no price: what is left leaves them out.

-- The rule book under which they came: `nanotally migrate` publishes it into the new installation first, before any
-- tariff, with this note, goes on only where it finds it again, and publishes the next one when all of them are there.
-- So whatever found no tariff under it was carried over.
CREATE OR REPLACE VIEW carrying_books AS
SELECT book_number FROM books
WHERE startsWith(note, 'moved from ''') AND book_number = (SELECT min(book_number) FROM books)
    AND book_number NOT IN (SELECT book_number FROM tariffs);

CREATE OR REPLACE VIEW unpriced_left AS
WITH (SELECT complete_until FROM completeness WHERE topic = 'charges') AS until
SELECT concat(toString(usage_partition), '-', toString(usage_offset)) AS charge, payer, product, item, meter, event_id, reason,
    occurred_at, booked_at, recorded_at, used, until AS complete_until
FROM charges
WHERE outcome = 'unpriced' AND (reason != 'no_tariff' OR book_number NOT IN (SELECT book_number FROM carrying_books))
    AND (usage_partition, usage_offset) NOT IN (
    SELECT usage_partition, toInt64OrZero(extract(flags, 'redrive:([0-9]+)')) FROM charges WHERE flags LIKE '%redrive:%'
    UNION ALL
    SELECT input_partition, input_offset FROM redrives WHERE mended);

CREATE OR REPLACE VIEW rejects_left AS
SELECT reason, product, count() AS records, min(at) AS oldest, max(at) AS newest
FROM (
    SELECT reason, product, recorded_at AS at FROM rejects
    WHERE reason NOT IN ('bad_control', 'bad_book')
        AND (input_partition, input_offset) NOT IN (SELECT input_partition, input_offset FROM redrives)
    UNION ALL
    SELECT 'unpriced', product, recorded_at FROM charges
    WHERE outcome = 'unpriced' AND (reason != 'no_tariff' OR book_number NOT IN (SELECT book_number FROM carrying_books))
        AND (usage_partition, usage_offset) NOT IN (SELECT input_partition, input_offset FROM redrives))
GROUP BY reason, product;

-- reverse
CREATE OR REPLACE VIEW unpriced_left AS
WITH (SELECT complete_until FROM completeness WHERE topic = 'charges') AS until
SELECT concat(toString(usage_partition), '-', toString(usage_offset)) AS charge, payer, product, item, meter, event_id, reason,
    occurred_at, booked_at, recorded_at, used, until AS complete_until
FROM charges
WHERE outcome = 'unpriced' AND (usage_partition, usage_offset) NOT IN (
    SELECT usage_partition, toInt64OrZero(extract(flags, 'redrive:([0-9]+)')) FROM charges WHERE flags LIKE '%redrive:%'
    UNION ALL
    SELECT input_partition, input_offset FROM redrives WHERE mended);
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
DROP VIEW IF EXISTS carrying_books;
