"""Asking another worker for the live answer that only it has, so that any worker can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

WITHIN_S = 2.0  # a worker answers between two chunks; one that takes longer stands still
ASKED_BY = "X-Nanotally-Asked-By"  # the question came from a worker: it is not handed on once more


@dataclass(frozen=True)
class Answer:
    """What is said to whoever asked: HTTP status, JSON, headers."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


def later(error: str) -> Answer:
    """503: nobody can answer just now; ask again in a second."""
    return Answer(503, {"error": f"{error}; ask again"}, {"Retry-After": "1"})


async def asked(url: str, who: str, partition: int, within_s: float = WITHIN_S) -> Answer:
    """The other worker's answer as it is; 502 where it cannot be reached or says what no worker says, 504 where it
    does not answer in time. who: the web address of the worker that asks."""
    asks = {"partition": partition, "asked": url}
    try:
        timeout = aiohttp.ClientTimeout(total=within_s)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(
                URL(url, encoded=True),  # an id may have an escaped slash in it
                headers={ASKED_BY: who},
                allow_redirects=False,
            ) as reply,
        ):
            body = await reply.json(content_type=None)
            status = reply.status
    except TimeoutError:
        error = f"the worker of partition {partition} does not answer within {within_s:g} s; is it stopped? ask again"
        return Answer(504, {"error": error, **asks})
    except (aiohttp.ClientError, OSError, ValueError) as e:
        error = f"the worker of partition {partition} cannot be asked ({type(e).__name__}); ask again in some seconds"
        return Answer(502, {"error": error, **asks})
    if status not in (200, 404, 503) or not isinstance(body, dict):
        return Answer(502, {"error": f"what is at that address answers as no worker does ({status})", **asks})
    return Answer(status, body)
