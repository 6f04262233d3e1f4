"""The demo's input: two real data sets, read into uses; what is not usage is counted by its reason.

tests/data says where they come from, under which licences, and what dirt they have."""

from __future__ import annotations

import csv
import gzip
import heapq
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "tests" / "data"
BLOG = DATA / "web-apache-semicomplete" / "apache_logs.gz"
LLM = DATA / "llm-azure-2023"
SERVICES = ("code", "conv")

_LINE = re.compile(
    rb'(?P<address>\S+) \S+ \S+ \[(?P<time>[^\]]+)\] "(?P<method>\S+) (?P<path>\S+)[^"]*" (?P<status>\d{3}) \S+ '
    rb'"[^"]*" "(?P<agent>[^"]*)"'
)
# Not pages but what pages are made of, downloads and feeds.
_ASSET = re.compile(
    r"(?:^|/)robots\.txt$|"
    r"\.(?:png|jpe?g|gif|ico|svg|css|js|woff2?|ttf|eot|swf|mp3|mp4|pdf|zip|t?gz|bz2|rpm|deb|jar|xml|xsl|rss|atom)$",
    re.IGNORECASE,
)
# Agents that say they are programs, or leave an address to complain to, or say nothing.
_BOT = re.compile(
    r"bot|crawl|spider|slurp|feed|rss|reader|fetch|monitor|curl|wget|python|java/|libwww|perl|ruby|validator|archive|"
    r"preview|facebookexternalhit|pinterest|\+http|@|^-?$",
    re.IGNORECASE,
)

Uses = Iterator[dict[str, Any]]


@dataclass
class Read:
    """How many lines of a source were read, and why some were left out."""

    lines: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def blog_uses(read: Read) -> Uses:
    """One page view for each line of the Apache log that is one, in the file's order.

    payer: the reader's address (to be made a pseudonym); creator: the section of the blog; item: the path."""
    with gzip.open(BLOG) as log:
        for number, line in enumerate(log, 1):
            read.lines += 1
            found = _LINE.fullmatch(line.rstrip(b"\r\n"))
            reason = "broken" if found is None else _not_a_view(found)
            if found is None or reason:
                read.left_out[reason] += 1
                continue
            path = _path(found)
            yield {
                "event_id": f"apache_logs:{number}",
                "occurred_at": datetime.strptime(found["time"].decode(), "%d/%b/%Y:%H:%M:%S %z"),
                "product": "blog",
                "payer": found["address"].decode(),
                "creator": "section:" + (path.split("/")[1] or "home"),
                "item": path,
                "meter": "page.view",
                "quantity": "1",
            }


def _path(line: re.Match[bytes]) -> str:
    return line["path"].decode("utf-8", "backslashreplace").partition("?")[0]


def _not_a_view(line: re.Match[bytes]) -> str:
    """Why a request is no page view; empty where it is one."""
    if line["method"] != b"GET":
        return "not GET"
    if line["status"][:1] == b"3":
        return "3xx"
    if line["status"][:1] in (b"4", b"5"):
        return "4xx/5xx"
    if _ASSET.search(_path(line)):
        return "asset"
    return "bot" if _BOT.search(line["agent"].decode("latin-1")) else ""


def llm_uses(read: Read) -> Uses:
    """Tokens in and tokens out of each request to two language model services, in order of time.

    The data name no users: each service pays for itself. creator: its model; item: the service."""
    yield from heapq.merge(*(_service_uses(name, read) for name in SERVICES), key=lambda use: use["occurred_at"])


def _service_uses(service: str, read: Read) -> Uses:
    with gzip.open(LLM / f"AzureLLMInferenceTrace_{service}.csv.gz") as packed:
        rows = csv.DictReader(io.TextIOWrapper(packed, encoding="ascii", newline=""))
        for number, row in enumerate(rows, 1):
            read.lines += 1
            # Seven decimals: tenths of a microsecond are cut. The source states no zone; UTC is taken.
            at = datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=UTC)
            for meter, suffix, column in (
                ("token.input", "in", "ContextTokens"),
                ("token.output", "out", "GeneratedTokens"),
            ):
                yield {
                    "event_id": f"{service}:{number}:{suffix}",
                    "occurred_at": at,
                    "product": "llm",
                    "payer": f"service:{service}",
                    "creator": f"model:azure-{service}",
                    "item": service,
                    "meter": meter,
                    "quantity": row[column],
                }
