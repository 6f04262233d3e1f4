"""The database on a real ClickHouse: migrations, whose it is, and each record once whatever happens."""

from __future__ import annotations

import http.client
import shutil
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pytest

from nanotally.sinks import migrate as migrating
from nanotally.sinks.client import Address, ClickHouse, patiently
from nanotally.sinks.http_insert import _stream
from nanotally.sinks.identity import claim
from nanotally.sinks.migrate import FOLDER, migrate, migrations, reverse
from nanotally.sinks.rows import take
from nanotally.sinks.writer import SETTINGS, ClickHouseWarehouse
from nanotally.streams.errors import BrokenInvariant, InvalidInput, NotFound, Transient
from tests.support.services import ClickHouseAddress
from tests.support.sink_records import NOON_US, charge, chunk, line, raw_chunk, share, tally
from tests.support.sunk import identity, rows, sink

NAMES = [
    "0001_charges", "0002_records", "0003_positions", "0004_views", "0005_redrives", "0006_unpriced", "0007_carried",
]  # fmt: skip
NEXT, AFTER = f"{len(NAMES) + 1:04d}", f"{len(NAMES) + 2:04d}"  # numbers that are free
MONTH_US = 31 * 86_400_000_000


@pytest.fixture
def address(clickhouse: ClickHouseAddress, database: str) -> Address:
    """A migrated database of this test's own."""
    migrate(clickhouse.native, database)
    return Address(clickhouse.native, database, http=clickhouse.http)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The migrations, to be changed."""
    return Path(shutil.copytree(FOLDER, tmp_path / "migrations"))


def add(folder: Path, name: str, statement: str = "CREATE TABLE IF NOT EXISTS more (a Int64) ENGINE = Memory") -> None:
    (folder / name).write_text(f"{statement};\n\n-- reverse\nDROP TABLE IF EXISTS more;\n")


# ---- migrations ----


def test_migrations_make_everything_from_nothing(clickhouse: ClickHouseAddress, database: str) -> None:
    assert migrate(clickhouse.native, database) == NAMES
    tables = {name for (name,) in rows(Address(clickhouse.native, database), "SHOW TABLES")}
    assert {"charges", "chunks", "identity", "payer_tallies", "top_items", "payer_statements", "migrations"} <= tables


def test_a_second_run_does_nothing(address: Address) -> None:
    assert migrate(address.native, address.database) == []
    assert [name for (name,) in rows(address, "SELECT name FROM migrations ORDER BY number")] == [n[5:] for n in NAMES]


def test_migrations_can_be_undone_and_applied_again(address: Address) -> None:
    assert reverse(address.native, address.database, 2) == [
        "0007_carried", "0006_unpriced", "0005_redrives", "0004_views", "0003_positions",
    ]  # fmt: skip
    assert reverse(address.native, address.database, 0) == ["0002_records", "0001_charges"]
    assert rows(address, "SHOW TABLES") == [("migrations",)]
    assert migrate(address.native, address.database) == NAMES


def test_a_new_migration_is_applied_alone(address: Address, folder: Path) -> None:
    add(folder, f"{NEXT}_more.sql")
    assert migrate(address.native, address.database, folder=folder) == [f"{NEXT}_more"]
    assert rows(address, "SELECT * FROM more") == []


def test_a_changed_migration_is_refused(address: Address, folder: Path) -> None:
    file = folder / "0002_records.sql"
    file.write_text(file.read_text().replace("ZSTD(3)", "ZSTD(5)"))
    add(folder, f"{NEXT}_more.sql")
    with pytest.raises(BrokenInvariant, match=r"0002_records is not the file that was applied.*never changed"):
        migrate(address.native, address.database, folder=folder)
    assert rows(address, "SELECT max(number) FROM migrations") == [(len(NAMES),)]


def test_a_database_of_a_newer_version_is_left_as_it_is(address: Address, folder: Path) -> None:
    add(folder, f"{NEXT}_more.sql")
    migrate(address.native, address.database, folder=folder)
    said: list[str] = []
    assert migrate(address.native, address.database, say=said.append) == []
    assert said == [f"a newer version has applied {NEXT}_more, which only adds: this version goes on"]
    with pytest.raises(InvalidInput, match=f"has {NEXT}_more of a newer version: undo these with that version first"):
        reverse(address.native, address.database, 5)
    assert rows(address, "SELECT max(number) FROM migrations") == [(len(NAMES) + 1,)]


def test_migrations_out_of_order_are_refused(address: Address, folder: Path) -> None:
    add(folder, f"{NEXT}_more.sql")
    add(folder, f"{AFTER}_again.sql")
    migrate(address.native, address.database, folder=folder)
    rows(address, "DELETE FROM migrations WHERE number = {number:UInt32}", number=int(NEXT))
    with pytest.raises(BrokenInvariant, match=f"has migration {AFTER} but not {NEXT}: out of order"):
        migrate(address.native, address.database)
    rows(address, "DELETE FROM migrations WHERE number = 2")
    with pytest.raises(BrokenInvariant, match="not 0002_records: out of order"):
        migrate(address.native, address.database)


def test_files_that_are_no_migrations_are_named(folder: Path) -> None:
    add(folder, f"{AFTER}_more.sql")
    with pytest.raises(InvalidInput, match=f"{AFTER}_more should be number {NEXT}"):
        migrations(folder)
    (folder / f"{AFTER}_more.sql").rename(folder / "more.sql")
    with pytest.raises(InvalidInput, match="name it NNNN_what_it_does"):
        migrations(folder)
    (folder / "more.sql").rename(folder / f"{NEXT}_more.sql")
    (folder / f"{NEXT}_more.sql").write_text("SELECT 1;\n")
    with pytest.raises(InvalidInput, match="no line '-- reverse'"):
        migrations(folder)


def test_a_migration_that_broke_off_is_finished_by_the_next_run(
    clickhouse: ClickHouseAddress, database: str, folder: Path
) -> None:
    whole = (folder / "0002_records.sql").read_text()
    (folder / "0002_records.sql").write_text(whole.replace("ORDER BY book_number\n", "ORDER BY nothing_of_that_name\n"))
    with pytest.raises((BrokenInvariant, NotFound), match="nothing_of_that_name"):
        migrate(clickhouse.native, database, folder=folder)
    (folder / "0002_records.sql").write_text(whole)
    assert migrate(clickhouse.native, database, folder=folder) == NAMES[1:]


def test_two_migrators_at_once_both_succeed(clickhouse: ClickHouseAddress, database: str) -> None:
    with ThreadPoolExecutor() as side_by_side:
        both = [side_by_side.submit(migrate, clickhouse.native, database) for _ in range(2)]
    for one in both:
        one.result()
    assert migrate(clickhouse.native, database) == []


def test_the_command_says_what_it_did(
    clickhouse: ClickHouseAddress, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NANOTALLY_CLICKHOUSE", clickhouse.native)
    monkeypatch.setenv("NANOTALLY_DATABASE", database)
    assert migrating.main([]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"database {database}: applied {', '.join(NAMES)}"
    assert migrating.main([]) == 0
    assert capsys.readouterr().out == f"database {database}: nothing to do\n"
    assert migrating.main(["--down-to", "3"]) == 0
    assert capsys.readouterr().out == f"database {database}: undone {', '.join(NAMES[:2:-1])}\n"


# ---- whose database it is ----


def test_a_database_is_claimed_once_and_for_all(address: Address) -> None:
    for _ in range(2):
        claim(address, {"charges": identity(4), "books": identity(1, topic="topic-2")})
    asked = "SELECT topic, cluster_id, topic_id, partitions FROM identity ORDER BY topic"
    assert rows(address, asked) == [("books", "cluster-1", "topic-2", 1), ("charges", "cluster-1", "topic-1", 4)]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (identity(4, cluster="cluster-2"), "ledger of Kafka cluster cluster-1, but this Kafka is cluster-2"),
        (identity(4, topic="topic-9"), "filled from topic charges with id topic-1, but it was created anew"),
        (identity(8), "topic charges has 8 partitions, but database .* was filled from 4"),
    ],
)
def test_another_kafka_is_refused(address: Address, other: object, message: str) -> None:
    claim(address, {"charges": identity(4)})
    with pytest.raises(BrokenInvariant, match=message):
        ClickHouseWarehouse(address, other).open("charges", 0)  # type: ignore[arg-type]


# ---- messages ----


def test_a_server_that_is_away_is_named(address: Address) -> None:
    away = Address("127.0.0.1:1", address.database, http="127.0.0.1:1")
    with pytest.raises(Transient, match=r"ClickHouse at 127.0.0.1:1 cannot be reached"):
        ClickHouseWarehouse(away).open("charges", 0)
    half = Address(address.native, address.database, http="127.0.0.1:1")
    with pytest.raises(Transient, match=r"ClickHouse at 127.0.0.1:1 \(HTTP\) cannot be reached"):
        ClickHouseWarehouse(half).write("charges", charges(range(3)), "charges", 0)


def test_a_database_without_migrations_is_named(clickhouse: ClickHouseAddress, database: str) -> None:
    with pytest.raises(NotFound, match=r"database '.*': apply the migrations"):
        ClickHouseWarehouse(Address(clickhouse.native, database)).open("charges", 0)


# ---- each record once ----


def charges(offsets: range, **changes: object) -> pa.RecordBatch:
    """Rows of charges at these offsets, each of its offset in nanos."""
    records = [("Charge", charge(n, [line(n)], **changes)) for n in offsets]
    return take(raw_chunk("charges", records, first=offsets.start)).rows[0].batch


def landed(address: Address) -> list[int]:
    return [offset for (offset,) in rows(address, "SELECT kafka_offset FROM charges ORDER BY kafka_offset")]


def in_months(batch: pa.RecordBatch, months: int) -> pa.RecordBatch:
    """The rows spread over so many months."""
    at = pa.array(NOON_US + np.arange(len(batch)) % months * MONTH_US).view(pa.timestamp("us", "UTC"))
    return batch.set_column(batch.schema.get_field_index("booked_at"), "booked_at", at)


def test_an_insert_that_landed_in_part_is_completed(address: Address) -> None:
    """Months land one by one: the first and the third are there, the second is not."""
    batch = in_months(charges(range(90)), 3)
    for month in (0, 2):
        ClickHouseWarehouse(address).write("charges", batch.take(pa.array(range(month, 90, 3))), "charges", 0)
    assert len(landed(address)) == 60
    ClickHouseWarehouse(address).write("charges", batch, "charges", 0)
    assert landed(address) == list(range(90))


class DyingInsert:
    """An insert of a writer that falls silent after half of its bytes."""

    def __init__(self, address: Address, batch: pa.RecordBatch) -> None:
        warehouse = ClickHouseWarehouse(address)
        self.query_id = warehouse._query_id("charges", "charges", 0)
        sql = f"{warehouse._insert('charges', batch, 'charges', 0)} FORMAT ArrowStream"
        self.body = bytes(_stream(batch))
        parameters = {"database": address.database, "query": sql, "query_id": self.query_id, **SETTINGS}
        host, _, port = address.http.rpartition(":")
        self.connection = http.client.HTTPConnection(host, int(port))
        self.connection.putrequest("POST", f"/?{urlencode(parameters)}")
        self.connection.putheader("Content-Length", str(len(self.body)))
        self.connection.endheaders()
        self.connection.send(self.body[: len(self.body) // 2])
        clickhouse = ClickHouse(address)
        while not clickhouse.query(
            "SELECT 1 FROM system.processes WHERE query_id = {id:String}", {"id": self.query_id}
        ):
            pass
        clickhouse.close()
        warehouse.close()

    def awake(self) -> bool:
        """Sends the rest; True where it is taken. A server that has ended the insert says so, or just hangs up."""
        try:
            self.connection.send(self.body[len(self.body) // 2 :])
            answer = self.connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            self.connection.close()
        return answer.status == http.client.OK


MANY = range(6000)  # enough that the server starts before it has read all of it


def test_a_successor_cannot_write_beside_an_insert_that_still_runs(address: Address) -> None:
    batch = charges(MANY)
    dying = DyingInsert(address, batch)
    successor = ClickHouseWarehouse(address)
    with pytest.raises(Transient, match="an earlier insert with the same query id is still running"):
        successor.write("charges", batch, "charges", 0)
    assert dying.awake()
    successor.write("charges", batch, "charges", 0)
    assert landed(address) == list(MANY)


def test_taking_a_partition_over_ends_the_insert_of_the_former_writer(address: Address) -> None:
    batch = charges(MANY)
    dying = DyingInsert(address, batch)
    successor = ClickHouseWarehouse(address)
    successor.open("charges", 0)
    assert not dying.awake()
    patiently(lambda: successor.write("charges", batch, "charges", 0), "writing")
    assert landed(address) == list(MANY)


def test_the_late_insert_of_a_dead_writer_adds_nothing(address: Address) -> None:
    batch = charges(range(50))
    ClickHouseWarehouse(address).write("charges", batch.slice(0, 50), "charges", 0)
    for _ in range(2):
        ClickHouseWarehouse(address).write("charges", batch.slice(10, 30), "charges", 0)
    assert landed(address) == list(range(50))


def test_projections_agree_with_the_rows(address: Address) -> None:
    for start in (0, 40, 20):
        ClickHouseWarehouse(address).write("charges", in_months(charges(range(start, start + 40)), 3), "charges", 0)
    asked = "SELECT sum(n), sum(p) FROM (SELECT count() AS n, sum(paid) AS p FROM charges GROUP BY {by})"
    for by in (
        "toStartOfHour(booked_at), product, feature, meter, scale, currency, outcome",
        "toStartOfHour(occurred_at), item, product, meter, scale, currency, outcome",
        "toStartOfHour(booked_at), currency, outcome, shares.account",
    ):
        clickhouse = ClickHouse(address)
        assert clickhouse.query(asked.replace("{by}", by), force_optimize_projection=1) == [
            (80, Decimal(sum(range(80))).scaleb(-9))
        ]
        clickhouse.close()


def test_a_position_follows_its_rows_and_a_replay_adds_nothing(address: Address) -> None:
    records = [("Charge", charge(n, [line(n)])) for n in range(20)] + [("Chunk", chunk())]
    assert sink(address, "charges", records[:7]) == 7
    assert sink(address, "charges", records) == 21
    assert sink(address, "charges", records) == 21
    assert landed(address) == list(range(20))
    asked = "SELECT next_offset, records, chunk_offset FROM chunks ORDER BY next_offset"
    assert rows(address, asked) == [(7, 7, -1), (21, 20, 20)]


# ---- exact money ----


def test_sums_beyond_64_bits_are_exact(address: Address) -> None:
    most = 2**63 - 1
    lines = [line(most, [share("platform", most - 1), share("creator:ana", 1)])]
    sink(address, "charges", [("Charge", charge(n, lines)) for n in range(3)])
    total = Decimal(f"{3 * most // 10**9}.{3 * most % 10**9:09d}")
    assert rows(address, "SELECT sum(paid) FROM charges") == [(total,)]
    assert rows(address, "SELECT paid FROM revenue_by_product") == [(total,)]
    assert rows(address, "SELECT account, earned FROM earnings_by_day ORDER BY account") == [
        ("creator:ana", Decimal("0.000000003")),
        ("platform", total - Decimal("0.000000003")),
    ]


def test_tallies_beyond_64_bits_are_exact(address: Address) -> None:
    nanos = 10**36 + 7
    sink(address, "payer_tallies", [("Tally", tally(amount_nanos=str(nanos))) for _ in range(9)])
    ((found,),) = rows(address, "SELECT toString(sum(amount)) FROM payer_tallies")
    assert found == f"9{'0' * 27}.000000063"
