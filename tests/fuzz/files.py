"""Target `files`: tariff, settings and catalog files. Whatever is written there gives findings or a version, never an
exception; what is accepted can be published, read back, compiled and rated by."""

# ruff: noqa: E501

from __future__ import annotations

import json
import random
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from nanotally.streams.domain.catalogs import CatalogVersion, catalog_from_document
from nanotally.streams.domain.keys import partition_of
from nanotally.streams.domain.tariff import RuleBook, Settings, TariffVersion, from_document
from nanotally.streams.tariffs.books import BookErrors, book_of, book_record, next_book
from nanotally.streams.tariffs.catalog_files import read_catalog
from nanotally.streams.tariffs.findings import TariffErrors
from nanotally.streams.tariffs.reader import examine_tariff
from nanotally.streams.tariffs.settings import read_settings
from tests.support.payers_bench import DAY, HOUR, PayersBench, close, event
from tests.support.tariff_texts import FILE

DOCS = Path(__file__).resolve().parents[2] / "docs"
SETTINGS = (
    "lateness: 60s\nskew: 2m\nhorizon: 24h\nzone: Europe/Berlin\nwindows: [hour, day, month]\nsettlement: day\n"
    "payout_threshold: {USD: 1.00, EUR: 2}\n"
)
TEXTS = (
    "", " ", "0", "-1", "1", "00", "0.0000000001", "1e99", "1e-40", "9" * 30, "9" * 31, "9" * 5_000, "-0", "0x10", "1_000", "NaN", "inf",
    "1/3", "1/0", "100%", "101%", "-5%", "33.333333333%", "1 per 3 pages", "0.005 per page", "5 flat + 1", "1k", "999M", "10B tokens",
    "999999999d", "1h30m", "0s", "9" * 9 + "d" + "9" * 9 + "d", "30m idle", "24h from first paid", "day", "life", "session", "event",
    "2026-12-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-13-01", "24:00", "25:61", "mon-fri",
    "rest", "otherwise", "refuse", "free", "present", "absent", "payer", "creator", "platform", "party:{item.label}", "party:",
    "{", "}", "{item}", "*", "?", "*" * 300, "a*" * 400, "?" * 1_000, "é", "\U0001f3b5", "\u0000", "\ud800", "\ufeff", "\u202e", "x" * 257,
    "x" * 1_025, "~", "null", "yes", "no", "on", "!!int 3", "&a", "*a", "|", ">", "'", '"', "#", ": ", "- ", "USD", "usd", "XXX",
    "Europe/Berlin", "Etc/GMT+14", "../../etc/passwd", "UTC", "graduated", "volume", "bands", "seasons", "cap", "round", "to 5", "above",
    ">= 720", "1..5", "< 0", "5..1",
)  # fmt: skip
KNOWN_AT = 1_796_000_000_000_000


def case(random_: random.Random) -> Counter[str]:
    """One file, spoilt in its text or in its tree."""
    text = _file(random_)
    verdicts: Counter[str] = Counter()
    accepted = _read(text)
    for name, value in accepted.items():
        verdicts[f"accepted {name}"] += 1
        _usable(value, random_)
    return verdicts or Counter(refused=1)


def _read(text: str) -> dict[str, Any]:
    """What each reader makes of the text, where it accepts it."""
    found: dict[str, Any] = {}
    for name, read in (("tariff", examine_tariff), ("settings", read_settings), ("catalog", read_catalog)):
        try:
            found[name] = read(text, "f.yaml")
        except TariffErrors as e:
            assert any(f.severity == "error" for f in e.findings) and len(str(e)) < 3_000_000
            for finding in e.findings:
                assert finding.problem and finding.place.line >= 1 and finding.place.column >= 1
                json.dumps(finding.document()).encode()
    return found


def _usable(value: Any, random_: random.Random) -> None:
    if isinstance(value, Settings):
        assert Settings.from_document(json.loads(json.dumps(value.document()))) == value
        return _rate(_published(examine_tariff(FILE).version, value, ()), random_)
    version = value.version
    if isinstance(version, CatalogVersion):
        assert catalog_from_document(json.loads(version.canonical)).canonical == version.canonical
        return _rate(_published(examine_tariff(FILE).version, Settings(), (version,)), random_)
    assert isinstance(version, TariffVersion)
    assert from_document(json.loads(version.canonical)).canonical == version.canonical
    return _rate(_published(version, Settings(), ()), random_)


def _published(version: TariffVersion, settings: Settings, catalogs: tuple[CatalogVersion, ...]) -> RuleBook | None:
    """The book as workers read it; None where it may not be published."""
    try:
        book = next_book(None, [version], settings, 0, 0, (), catalogs)
    except BookErrors as e:
        assert e.problems and all(e.problems)
        return None
    return book_of(book_record(book, 0, "", {}), 0)


def _rate(book: RuleBook | None, random_: random.Random) -> None:
    """Some uses of the tariff's own meters, and the end of the time they are booked in."""
    if book is None:
        return
    bench = PayersBench(book)
    (tariff,) = book.tariffs
    at = max(tariff.effective_from_us, KNOWN_AT)
    if at >= 7_000_000_000_000_000 or not tariff.meters:
        return
    products = tariff.products or ("news",)
    uses = []
    for number in range(12):
        meter = random_.choice(tariff.meters)
        fields = {
            "product": random_.choice(products), "meter": meter.name, "scale": meter.scale,
            "quantity": random_.choice([0, 1, 7, 1_000, 10**15]), "session": random_.choice([None, "s", "s"]) or "s",
            "item": random_.choice(["/a", "i*", "a" * 1_024]), "creator": random_.choice([None, "ana", "ü"]),
            "duration_us": random_.choice([None, 0, HOUR, 5 * HOUR]),
            "attributes": random_.choice([{}, {"segment": "pro", "item.label": "l"}, {"height": "720", "price": "0.5"}]),
        }  # fmt: skip
        uses.append(event(f"e{number}", at + number * random_.choice([0, 1, HOUR]), **fields))
    assert partition_of(b"p", 1) == 0
    bench.take(*uses, recorded_at_us=at + DAY)
    bench.take(close(at + 40 * DAY), recorded_at_us=at + 41 * DAY)
    counts = bench.logic.state.counts
    assert sum(counts[name] for name in ("charged", "refused", "unpriced", "duplicate", "rejected")) == len(uses)


# ---- files ----


@cache
def samples() -> tuple[str, ...]:
    """Files that are right, or parts of such: the examples and what the pages show."""
    found = [path.read_text(encoding="utf-8") for path in sorted((DOCS / "examples").glob("*.yaml"))]
    for page in sorted(DOCS.glob("*.md")):
        found += re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return (*found, FILE, SETTINGS)


def _file(random_: random.Random) -> str:
    text = random_.choice(samples())
    kind = random_.random()
    if kind < 0.02:
        return text
    if kind < 0.45:
        for _ in range(random_.randrange(1, 5)):
            text = _spoilt_text(text, random_)
        return text
    if kind < 0.9:
        try:
            tree = yaml.load(text, Loader=yaml.BaseLoader)
        except yaml.YAMLError:
            return text
        for _ in range(random_.randrange(1, 4)):
            tree = _spoilt_tree(tree, random_)
        return _dumped(tree)
    return _dumped(_tree(random_, 5)) if kind < 0.97 else "".join(random_.choices(TEXTS + ("\n", ": ", "- "), k=40))


def _dumped(tree: Any) -> str:
    return yaml.dump(tree, allow_unicode=True, sort_keys=False, Dumper=_Dumper)


class _Dumper(yaml.SafeDumper):
    """Writes the same part twice rather than referring to it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _spoilt_text(text: str, random_: random.Random) -> str:
    lines = text.splitlines(keepends=True) or ["\n"]
    at = random_.randrange(len(lines))
    match random_.randrange(7):
        case 0:
            del lines[at]
        case 1:
            lines[at:at] = lines[at : at + random_.randrange(1, 6)] * random_.choice([1, 1, 3, 30])
        case 2:
            lines[at] = " " * random_.randrange(1, 4) + lines[at]
        case 3:
            lines.insert(at, random_.choice(random_.choice(samples()).splitlines(keepends=True) or [""]))
        case 4:  # one word is another
            places = list(re.finditer(r"[^\s\[\]{}:,]+", text))
            if places:
                word = random_.choice(places)
                return text[: word.start()] + random_.choice(TEXTS) + text[word.end() :]
        case 5:
            words = re.findall(r"[^\s\[\]{}:,]+", text)
            other = re.findall(r"[^\s\[\]{}:,]+", random_.choice(samples()))
            if words and other:
                return text.replace(random_.choice(words), random_.choice(other), random_.choice([1, -1]))
        case _:
            place = random_.randrange(len(text) + 1)
            return text[:place] + random_.choice(TEXTS) + text[place + random_.randrange(3) :]
    return "".join(lines)


def _spoilt_tree(tree: Any, random_: random.Random) -> Any:
    """The tree with one part of it replaced, taken out, repeated or renamed."""
    if isinstance(tree, dict) and tree and random_.random() < 0.85:
        key = random_.choice(list(tree))
        kind = random_.random()
        if kind < 0.65:
            return {**tree, key: _spoilt_tree(tree[key], random_)}
        if kind < 0.75:
            return {k: v for k, v in tree.items() if k != key}
        if kind < 0.85:
            return {(random_.choice(TEXTS) if k == key else k): v for k, v in tree.items()}
        return {**tree, random_.choice(_keys()): random_.choice([tree[key], _tree(random_, 2)])}
    if isinstance(tree, list) and tree and random_.random() < 0.85:
        at = random_.randrange(len(tree))
        kind = random_.random()
        if kind < 0.7:
            return [*tree[:at], _spoilt_tree(tree[at], random_), *tree[at + 1 :]]
        if kind < 0.8:
            return [*tree[:at], *tree[at + 1 :]]
        return tree[: at + 1] + [tree[at]] * random_.choice([1, 2, 60]) + tree[at + 1 :]
    return random_.choice([*TEXTS, _tree(random_, 2)])


def _tree(random_: random.Random, depth: int) -> Any:
    """A tree of known keys and texts with no sense."""
    kind = random_.random()
    if depth == 0 or kind < 0.3:
        return random_.choice(TEXTS)
    if kind < 0.8:
        return {random_.choice(_keys()): _tree(random_, depth - 1) for _ in range(random_.randrange(6))}
    return [_tree(random_, depth - 1) for _ in range(random_.randrange(4))]


@cache
def _keys() -> tuple[str, ...]:
    """All names that stand before a colon in the samples."""
    return tuple(sorted({key for text in samples() for key in re.findall(r"([\w.]+):", text)}))
