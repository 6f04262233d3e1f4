"""One command at a time in a folder, and ports that nobody else has."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from infra.services import ports
from infra.services.folder import Busy, Folder, make, read_json, write_json
from nanotally.streams.errors import InvalidInput, Transient


def test_a_second_command_is_told_of_the_first(tmp_path: Path) -> None:
    folder = Folder.of(tmp_path)
    with folder.only_one("make up"), pytest.raises(Busy) as refused, folder.only_one("make demo"):
        pass
    message = str(refused.value)
    assert message.startswith(f"make up (process {os.getpid()}, since ")
    assert message.endswith(f"is at work in {folder.root}; wait for it to end, or stop it")
    with folder.only_one("make demo"):
        pass


def test_the_lock_is_free_after_a_failure(tmp_path: Path) -> None:
    folder = Folder.of(tmp_path)
    with pytest.raises(ValueError, match="boom"), folder.only_one("make up"):
        raise ValueError("boom")
    with folder.only_one("make up"):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=r"the folder .*/file/data cannot be made: Not a directory; check who owns"):
        make(tmp_path / "file" / "data")


def test_forgetting_takes_all_but_the_lock(tmp_path: Path) -> None:
    folder = Folder.of(tmp_path)
    make(folder.data("kafka"))
    (tmp_path / "keep").touch()
    (folder.root / "link").symlink_to(tmp_path)
    write_json(folder.services_file, {"kafka": "127.0.0.1:9092"})
    with folder.only_one("make reset"):
        assert folder.forget() == ["kafka", "link", "services.json"]
    assert [path.name for path in folder.root.iterdir()] == ["lock"]
    assert (tmp_path / "keep").exists(), "what a link points to stays"


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"kafka": 9092})
    assert read_json(tmp_path / "a" / "b.json") == {"kafka": 9092}
    assert read_json(tmp_path / "a" / "none.json") == {}
    (tmp_path / "a" / "b.json").write_text("[]")
    with pytest.raises(InvalidInput, match="no object"):
        read_json(tmp_path / "a" / "b.json")


@pytest.fixture
def listener() -> socket.socket:
    server = socket.socket()
    server.bind((ports.HOST, 0))
    server.listen()
    return server


def test_a_taken_port_is_passed_over(listener: socket.socket) -> None:
    with listener:
        taken = listener.getsockname()[1]
        assert not ports.is_free(taken)
        assert ports.accepts(ports.HOST, taken)
        assert ports.choose(taken) > taken
    assert ports.choose(taken) == taken
    assert ports.choose(taken, taken=(taken,)) > taken


def test_neighbouring_ports_are_free_together(listener: socket.socket) -> None:
    with listener:
        taken = listener.getsockname()[1]
        assert ports.choose(taken - 2, count=3) > taken


def test_no_free_port_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda port: False)
    with pytest.raises(Transient, match=r"no free port from 9092 to 9191 on 127\.0\.0\.1; stop what listens there"):
        ports.choose(9092)
