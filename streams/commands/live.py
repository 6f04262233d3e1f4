"""What a running worker says of an account: its open windows, up to the last charge."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import urllib3

from nanotally.streams.environment import Environment

ANSWER_S = 3.0  # longer than a worker waits for another one


def open_windows(environment: Environment, stage: str, account: str) -> dict[str, Any] | None:
    """The live answer of the stage ('payers' or 'accounts') that runs on this machine; None where none answers, or
    where nothing is open. The worker asks the one that keeps the account."""
    port = environment.web_port_of(stage)
    answer = ask(f"http://127.0.0.1:{port}/{stage}/{quote(account, safe='')}")
    return answer[1] if answer is not None and answer[0] == 200 else None


def ask(url: str) -> tuple[int, dict[str, Any]] | None:
    """Status and JSON of a worker's page; None where nothing answers."""
    pool = urllib3.PoolManager(retries=False, timeout=ANSWER_S)
    try:
        response = pool.request("GET", url)
        body = response.json()
    except (urllib3.exceptions.HTTPError, ValueError):
        return None
    finally:
        pool.clear()
    return response.status, body if isinstance(body, dict) else {}
