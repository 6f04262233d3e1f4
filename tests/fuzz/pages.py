"""Target `pages`: requests to the pages of a worker, as bytes on a connection: paths with any bytes and escapes, of any
length, methods, headers, half requests. Each gets an answer that says what is wrong, or the end of its connection; never
500, and the server goes on."""

# ruff: noqa: E501

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote, quote_from_bytes

from aiohttp import web

from nanotally.streams.domain.keys import partition_of
from nanotally.streams.pipeline.stage import LiveAnswers
from nanotally.streams.pipeline.web import add_pages
from tests.support.payers_bench import T0, PayersBench, book, event, rule, version

PARTITIONS, MINE = 4, 2
REQUESTS = 40
logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # it tells of each bad request
WITHIN_S = 10.0
NAMES = (
    "p",
    "zoë",
    "a/b",
    "a%2Fb",
    "..",
    "\U0001f3b5",
    " ",
    "a b",
    "?",
    "#",
    "a" * 256,
    "a" * 9_000,
    "%",
    "\x00",
    "<b>",
    "'",
    '"',
)
HEADS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"get", b"GE T", b"\x00", b"G" * 9_000, b"")


def case(random_: random.Random) -> Counter[str]:
    """A server, and some connections to it one after the other."""
    return asyncio.run(_talk(random_))


async def _talk(random_: random.Random) -> Counter[str]:
    runner = web.AppRunner(_app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = cast(Any, site)._server.sockets[0].getsockname()[1]
    verdicts: Counter[str] = Counter()
    try:
        for _ in range(REQUESTS):
            request = _request(random_)
            status = await asyncio.wait_for(_asked(port, request), WITHIN_S)
            assert not status.startswith("500"), (status, request[:300])
            verdicts[status] += 1
        position = await _asked(port, _get("/position"))
        assert position == "200", position
        told = await _asked(port, _get("/payers/p"), body=True)
        assert json.loads(told)["windows"], told
    finally:
        await runner.cleanup()
    return verdicts


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n".encode()


async def _asked(port: int, request: bytes, body: bool = False) -> str:
    """Status of the answer, or its body; 'closed' without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    try:
        writer.write(request)
        if not request.endswith(b"\r\n\r\n"):
            writer.write_eof()  # the other half does not come
        answer = await reader.read()
    except ConnectionError:
        return "closed"
    finally:
        writer.close()
    head, _, rest = answer.partition(b"\r\n\r\n")
    return rest.decode() if body else (head.split(b" ")[1].decode() if head.count(b" ") else "closed")


def _request(random_: random.Random) -> bytes:
    method = b"GET" if random_.random() < 0.7 else random_.choice(HEADS)
    line = method + b" " + _path(random_) + random_.choice([b" HTTP/1.1", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/9", b""])
    headers = [b"Host: w", b"Connection: close"]
    if random_.random() < 0.2:
        headers.append(
            random_.choice([b"X-Nanotally-Asked-By: x", b"X: " + b"y" * 9_000, b"\xff\xfe: 1", b"Content-Length: -1"])
        )
    request = line + b"\r\n" + b"\r\n".join(headers) + b"\r\n\r\n"
    return request[: random_.randrange(len(request))] if random_.random() < 0.05 else request


def _path(random_: random.Random) -> bytes:
    page = random_.choice(
        ["/payers/", "/payers/", "/payers/", "/health", "/ready", "/metrics", "/position", "/", "//", "/payers", "*"]
    )
    kind = random_.random()
    if kind < 0.5:
        return (page + quote(random_.choice(NAMES), safe=random_.choice(["", "/"]))).encode()
    if kind < 0.75:
        return page.encode() + quote_from_bytes(random_.randbytes(random_.randrange(30)), safe="").encode()
    if kind < 0.9:  # bytes as they are
        raw = bytes(b for b in random_.randbytes(random_.randrange(30)) if b not in b"\r\n ")
        return page.encode() + raw
    return page.encode() + random_.choice(
        [b"%", b"%2", b"%zz", b"%u0041", b"%ED%A0%80", b"a?b=c&d", b"p#x", b"../x", b"%00", b"a" * 100_000]
    )


def _app() -> web.Application:
    """The worker's pages, with the partition's real state behind them."""
    bench = PayersBench(book(version(rule())))
    bench.take(event("e", T0, payer="p"), event("f", T0, payer="a/b"))
    lane = SimpleNamespace(worker=bench.logic, opened=True)
    application = web.Application()

    def page(path: str) -> Callable[[Any], Any]:
        def keep(handler: Callable[..., Awaitable[Any]]) -> Any:
            async def handled(request: web.Request) -> web.StreamResponse:
                found: web.StreamResponse = await handler(_View(), request, **request.match_info)
                return found

            application.router.add_route("*", path, handled)
            return handler

        return keep

    app = SimpleNamespace(
        page=page,
        health=list,
        lanes=SimpleNamespace(all=lambda: [lane], find=lambda topic, p: lane if p == MINE else None),
        stage=SimpleNamespace(name="payers", answers=LiveAnswers(path="payers", prefix="payer:", topic="usage")),
        consumer=SimpleNamespace(topic_partitions=lambda name: PARTITIONS),
        environment=SimpleNamespace(topic=str),
        router=SimpleNamespace(external_topics_metadata=dict),
        conf=SimpleNamespace(canonical_url="http://127.0.0.1:1"),
    )
    assert partition_of(b"p", PARTITIONS) == MINE
    add_pages(cast(Any, app), cast(Any, SimpleNamespace(text=lambda: "metrics 1\n")))
    return application


class _View:
    """What Faust's view makes of an answer."""

    def json(self, value: Any, status: int = 200, headers: Any = None) -> web.Response:
        return web.json_response(value, status=status, headers=headers)

    def text(self, value: str, content_type: str | None = None) -> web.Response:
        return web.Response(text=value, content_type=content_type)
