"""The environment: variables win over services.json, that over defaults; each error names what to mend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nanotally.streams.environment import Environment, split_address
from nanotally.streams.errors import InvalidInput


def services(folder: Path, content: object) -> None:
    (folder / ".nanotally").mkdir()
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / ".nanotally" / "services.json").write_text(text)


def test_without_variables_and_file_the_defaults_hold(tmp_path: Path) -> None:
    env = Environment.load({}, tmp_path)
    assert (env.kafka, env.clickhouse, env.clickhouse_http) == ("localhost:9092", "localhost:9000", "localhost:8123")
    assert (env.clickhouse_user, env.clickhouse_password, env.database) == ("default", "", "nanotally")
    assert (env.prefix, env.state, env.web_port) == ("", tmp_path / ".nanotally/state", 6066)


def test_the_services_that_make_up_started_are_found(tmp_path: Path) -> None:
    services(
        tmp_path,
        {
            "kafka": "127.0.0.1:19092",
            "clickhouse": "127.0.0.1:19000",
            "clickhouse_http": "127.0.0.1:18123",
            "database": "mine",
        },
    )
    env = Environment.load({}, tmp_path)
    assert env.kafka == "127.0.0.1:19092"
    assert env.clickhouse_address == ("127.0.0.1", 19000)
    assert env.clickhouse_http_address == ("127.0.0.1", 18123)
    assert env.database == "mine"


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    services(tmp_path, {"kafka": "127.0.0.1:19092"})
    assert Environment.load({"NANOTALLY_KAFKA": "broker:9092"}, tmp_path).kafka == "broker:9092"


def test_an_empty_http_address_means_it_is_not_open(tmp_path: Path) -> None:
    assert Environment.load({"NANOTALLY_CLICKHOUSE_HTTP": ""}, tmp_path).clickhouse_http_address is None


def test_several_brokers_are_written_with_commas(tmp_path: Path) -> None:
    assert Environment.load({"NANOTALLY_KAFKA": "a:9092, b:9093"}, tmp_path).kafka == "a:9092,b:9093"


def test_the_prefix_stands_before_every_topic(tmp_path: Path) -> None:
    assert Environment.load({"NANOTALLY_PREFIX": "trial-"}, tmp_path).topic("usage") == "trial-usage"


def test_each_stage_has_a_port_of_its_own(tmp_path: Path) -> None:
    env = Environment.load({"NANOTALLY_WEB_PORT": "7000"}, tmp_path)
    assert [env.web_port_of(s) for s in ("payers", "accounts", "sink")] == [7000, 7001, 7002]


def test_a_child_process_gets_the_same_environment(tmp_path: Path) -> None:
    env = Environment.load({"NANOTALLY_PREFIX": "x.", "NANOTALLY_STATE": "/var/lib/nanotally"}, tmp_path)
    assert Environment.load(env.variables(), tmp_path / "elsewhere") == env


def test_the_password_is_not_printed(tmp_path: Path) -> None:
    assert "hush-hush" not in repr(Environment.load({"NANOTALLY_CLICKHOUSE_PASSWORD": "hush-hush"}, tmp_path))


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("NANOTALLY_KAFKA", "localhost", "write host:port"),
        ("NANOTALLY_KAFKA", "a:9092,,b:9092", "'' is no address"),
        ("NANOTALLY_KAFKA", "a:70000", "'a:70000' is no address"),
        ("NANOTALLY_CLICKHOUSE", "", "'' is no address"),
        ("NANOTALLY_CLICKHOUSE_HTTP", "http://localhost:8123", "is no address"),
        ("NANOTALLY_DATABASE", "a b", "does not match"),
        ("NANOTALLY_PREFIX", "a/b", "does not match"),
        ("NANOTALLY_WEB_PORT", "65535", "a number from 1 to 65533"),
        ("NANOTALLY_WEB_PORT", "web", "a number from 1 to 65533"),
        ("NANOTALLY_STATE", "", "name a folder"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(
    tmp_path: Path, variable: str, value: str, part: str
) -> None:
    with pytest.raises(InvalidInput) as e:
        Environment.load({variable: value}, tmp_path)
    assert variable in str(e.value) and part in str(e.value)


@pytest.mark.parametrize("content", ["{", '["kafka"]', '{"kafka": 9092}'])
def test_a_spoiled_services_file_is_named_with_its_remedy(tmp_path: Path, content: str) -> None:
    services(tmp_path, content)
    with pytest.raises(InvalidInput, match=r"services\.json.*make up"):
        Environment.load({}, tmp_path)


def test_an_ipv6_address_loses_its_brackets() -> None:
    assert split_address("[::1]:9092") == ("::1", 9092)
