"""Free ports on this machine, the usual ones first."""

from __future__ import annotations

import socket
from collections.abc import Collection

from nanotally.streams.errors import Transient

HOST = "127.0.0.1"
TRIES = 100


def is_free(port: int) -> bool:
    """Whether a server could listen there now. Somebody who listens on all addresses counts as well."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return not accepts(HOST, port)


def accepts(host: str, port: int, timeout_s: float = 0.5) -> bool:
    """Whether somebody answers there."""
    try:
        with socket.create_connection((host, port), timeout_s):
            return True
    except OSError:
        return False


def choose(wanted: int, taken: Collection[int] = (), count: int = 1) -> int:
    """The first of `count` neighbouring free ports at or above `wanted`; `taken` are promised to others.

    Raises Transient when a hundred in a row are not free."""
    for port in range(wanted, min(wanted + TRIES, 65536 - count)):
        if all(one not in taken and is_free(one) for one in range(port, port + count)):
            return port
    raise Transient(f"no free port from {wanted} to {wanted + TRIES - 1} on {HOST}; stop what listens there")
