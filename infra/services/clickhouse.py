"""A real ClickHouse server as a local process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import urllib3

from infra.services import download
from infra.services.folder import Folder, make
from infra.services.ports import accepts
from infra.services.processes import Service, tail

NAME = "clickhouse"
PORT = 9000
HTTP_PORT = 8123
START_WITHIN_S = 240.0

CONFIG = """\
<clickhouse>
    <users_config>{users}</users_config>
    <timezone>UTC</timezone>
    <mark_cache_size>268435456</mark_cache_size>
    <max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>
    <background_schedule_pool_size>8</background_schedule_pool_size>
    <max_concurrent_queries>100</max_concurrent_queries>
    <backups><allowed_path>{backups}</allowed_path></backups>
</clickhouse>
"""

# Only this machine may connect. The reader may look at everything and change nothing.
USERS = """\
<clickhouse>
    <profiles>
        <default/>
        <reader><readonly>2</readonly></reader>
    </profiles>
    <quotas><default/></quotas>
    <users>
        <default>
            <password></password>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <access_management>1</access_management>
        </default>
        <reader>
            <password></password>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>reader</profile>
            <quota>default</quota>
        </reader>
    </users>
</clickhouse>
"""


def service(folder: Folder, port: int, http_port: int, say: Callable[[str], None], owner: int | None = None) -> Service:
    """Fetch what is missing, write the configuration, and say what to run.

    Raises Transient when the server cannot be had for this machine."""
    library = download.clickhouse_library(say)
    data = make(folder.data(NAME))
    config, users = data / "config.xml", data / "users.xml"
    config.write_text(CONFIG.format(users=users, backups=folder.backups), encoding="utf-8")
    users.write_text(USERS, encoding="utf-8")
    server = Path(__file__).with_name("clickhouse_server.py")
    paths = (str(server), str(library), str(config), str(data / "store"), str(port), str(http_port))
    # The embedded server aborts on a failed login and now and then when a client dies: it is brought back often.
    return Service(
        NAME, (sys.executable, *paths), environment={"TZ": "UTC"}, restarts_max=60, stop_within_s=10.0, owner=owner
    )


def answers(address: str, http_address: str, timeout_s: float = 1.0) -> bool:
    """Whether the server is there: the native port accepts, and HTTP (where it is open) says so."""
    host, _, port = address.rpartition(":")
    if not accepts(host.strip("[]"), int(port), timeout_s):
        return False
    if not http_address:
        return True
    try:
        with urllib3.PoolManager(retries=False, timeout=timeout_s) as pool:
            reply = pool.request("GET", f"http://{http_address}/ping")
            return reply.status == 200 and reply.data.startswith(b"Ok")
    except urllib3.exceptions.HTTPError:
        return False


def why_not(folder: Folder) -> str:
    """The end of the server's log, for the message when it does not answer."""
    return f"the last lines of {folder.log(NAME)}:\n{tail(folder.log(NAME))}"
