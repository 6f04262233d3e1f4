"""The ClickHouse server inside the library libchdb.so: opens the real native and HTTP ports and serves until ended.

Usage: python clickhouse_server.py LIBRARY CONFIG DATA NATIVE_PORT HTTP_PORT. Ends by signal; what was acknowledged
survives that. Standard library only: it runs as a process of its own.
"""

from __future__ import annotations

import ctypes
import sys

# Listening goes on for as long as the statement runs that asked for it.
SERVE = (
    "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; SELECT sleepEachRow(1) FROM numbers(1000000000) "
    "SETTINGS function_sleep_max_microseconds_per_block = 0, max_block_size = 1 FORMAT Null"
)


def main(library: str, config: str, data: str, native_port: str, http_port: str) -> int:
    """Serve; comes back only when serving failed, with 1."""
    arguments = [
        "clickhouse-local",
        f"--path={data}",
        f"--config-file={config}",
        "--listen_host=127.0.0.1",
        f"--tcp_port={native_port}",
        f"--http_port={http_port}",
        f"--query={SERVE}",
        "--log-level=error",
        "--logger.console",
    ]
    chdb = ctypes.CDLL(library)
    chdb.chdb_query_cmdline.restype = ctypes.c_void_p
    chdb.chdb_query_cmdline.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
    chdb.chdb_result_error.restype = ctypes.c_char_p
    chdb.chdb_result_error.argtypes = [ctypes.c_void_p]
    texts = (ctypes.c_char_p * len(arguments))(*[text.encode() for text in arguments])
    result = chdb.chdb_query_cmdline(len(arguments), texts)
    error = chdb.chdb_result_error(result) if result else None
    print((error or b"the server ended without a word").decode(errors="replace"), file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
