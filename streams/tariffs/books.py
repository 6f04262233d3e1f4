"""Rule books: what the next one holds, what may not change from one to the next, and how one is written down."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import lcm

from nanotally.schemas import codec
from nanotally.schemas.datum import InvalidDatum
from nanotally.streams.domain.tariff import (
    DENOMINATOR_MAX,
    SEMANTICS_VERSION,
    RuleBook,
    Settings,
    TariffVersion,
    canonical_json,
    from_document,
)
from nanotally.streams.errors import BrokenInvariant, InvalidInput
from nanotally.streams.tariffs import figures

Sources = Mapping[tuple[str, int], str]  # (tariff, version) -> the file as its owner wrote it


class BookErrors(InvalidInput):
    """A rule book that may not follow; `problems` has a sentence for each reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems), reason="rule_book")


def next_book(
    current: RuleBook | None,
    versions: Sequence[TariffVersion],
    settings: Settings | None,
    now_us: int,
    lead_us: int | None,
    history: Sequence[RuleBook],
) -> RuleBook:
    """The book after `current` (None: the first one of an installation), with these versions added; unpublished, so
    its number is -1. Where nothing would change it is `current` itself. `settings` None keeps those in force.

    A new version must come into force `lead_us` after `now_us` or later. The first book is free of that rule, so that
    old data can be replayed; `lead_us` None lifts it (such a version rates what arrives after its activation, and
    never what was charged before). `history`: all books ever published.

    Raises BookErrors with every reason why the book may not be published."""
    problems: list[str] = []
    known = {(t.tariff, t.version): t for book in (*history, *_only(current)) for t in book.tariffs}
    fresh: dict[tuple[str, int], TariffVersion] = {}
    for v in versions:
        key = (v.tariff, v.version)
        before = fresh.get(key) or known.get(key)
        if before is not None and before.content_hash != v.content_hash:
            problems.append(
                f"{_name(v)} was published with other content ({before.content_hash[:16]}, now "
                f"{v.content_hash[:16]}); a version never changes: give the new one version {_free(v, known)}"
            )
        elif before is None:
            fresh[key] = v
    if current is not None and lead_us is not None:
        problems += _too_soon(fresh.values(), now_us, lead_us)
    problems += _never_in_force(fresh.values(), known)
    held = {(t.tariff, t.version): t for book in _only(current) for t in book.tariffs}
    mine = {(v.tariff, v.version): v for v in versions}
    tariffs = tuple(t for _, t in sorted({**held, **mine}.items()))
    if not tariffs:
        problems.append("there is no tariff: a rule book holds one at least")
    problems += _claims(tariffs)
    problems += _changed({**known, **fresh}.values())
    chosen = settings or (current.settings if current else Settings())
    problems += _settings(chosen, [book.settings for book in (*history, *_only(current))])
    if problems:
        raise BookErrors(dict.fromkeys(problems))
    book = RuleBook(-1, chosen, tariffs)
    return current if current is not None and current.book_hash == book.book_hash else book


def _only(book: RuleBook | None) -> tuple[RuleBook, ...]:
    return () if book is None else (book,)


def _name(v: TariffVersion) -> str:
    return f"{v.tariff} version {v.version}"


def _free(v: TariffVersion, known: Mapping[tuple[str, int], TariffVersion]) -> int:
    return max(version for tariff, version in known if tariff == v.tariff) + 1 if known else v.version + 1


def _too_soon(fresh: Iterable[TariffVersion], now_us: int, lead_us: int) -> Iterable[str]:
    for v in fresh:
        if v.effective_from_us < now_us + lead_us:
            soonest = -(-(now_us + lead_us) // 10**6) * 10**6
            yield (
                f"{_name(v)} would be in force from {figures.iso(v.effective_from_us)}, sooner than now and the lead "
                f"allow; set effective_from to {figures.iso(soonest)} or later, or publish it backdated: it then "
                "rates what arrives after its activation, and no charge that was made"
            )


def _never_in_force(fresh: Iterable[TariffVersion], known: Mapping[tuple[str, int], TariffVersion]) -> Iterable[str]:
    for v in fresh:
        over = [
            k
            for k in known.values()
            if k.tariff == v.tariff and k.version > v.version and k.effective_from_us == v.effective_from_us
        ]
        if over:
            yield (
                f"{_name(v)} would never be in force: version {over[0].version} comes into force at the same instant; "
                f"give it version {_free(v, known)}, or another effective_from"
            )


def _claims(tariffs: Sequence[TariffVersion]) -> Iterable[str]:
    """A product belongs to one tariff, over all versions, and one tariff at most takes what none claims."""
    claims: dict[str, str] = {}
    for t in tariffs:
        for product in t.products:
            first = claims.setdefault(product, t.tariff)
            if first != t.tariff:
                yield (
                    f"product {product!r} is claimed by tariff {first} and by tariff {t.tariff}; a product belongs to "
                    "one tariff for good: take it out of `products` of the other"
                )
    open_to_all = list(dict.fromkeys(t.tariff for t in tariffs if not t.products))
    if len(open_to_all) > 1:
        yield (
            f"tariffs {figures.listing(open_to_all)} name no products, so each would take all that no other claims; "
            "list `products` in all but one of them"
        )


@dataclass
class _Fixed:
    """What a later version of a tariff may not change, with the version that set it."""

    value: object
    version: int


def _changed(versions: Iterable[TariffVersion]) -> Iterable[str]:
    """What differs between versions of one tariff and may not: state is kept and money summed across versions."""
    fixed: dict[tuple[str, str, str], _Fixed] = {}
    denominators: dict[tuple[str, str], int] = {}
    for v in sorted(versions, key=lambda v: (v.tariff, v.version)):
        facts: list[tuple[str, str, object, str]] = [("currency", "", v.currency, f"the currency is {v.currency}")]
        for m in v.meters:
            facts.append(("meter", m.name, (m.unit, m.scale), f"meter {m.name!r} counts {m.unit} at scale {m.scale}"))
        facts += [("rule", r.name, r.meter, f"rule {r.name!r} is for meter {r.meter!r}") for r in v.rules]
        for kind, name, value, words in facts:
            first = fixed.setdefault((v.tariff, kind, name), _Fixed(value, v.version))
            if first.value != value:
                yield f"{_name(v)}: {words}, in version {first.version} {_was(first.value)}; {_REMEDIES[kind]}"
        for r in v.rules:
            common = lcm(denominators.get((v.tariff, r.name), 1), r.denominator)
            if common > DENOMINATOR_MAX:
                yield (
                    f"{_name(v)}: rule {r.name!r} has prices that share no fraction of a nano down to 1/2^62 with "
                    "those of earlier versions, so remainders could not be carried on; write prices with fewer "
                    "digits, or give the rule another name"
                )
            else:
                denominators[v.tariff, r.name] = common


_REMEDIES = {
    "currency": "a tariff's currency never changes: publish another tariff for the other currency",
    "meter": "a meter never changes: give the other one another name",
    "rule": "what a rule has counted is kept under its name: give the rule of the other meter another name",
}


def _was(value: object) -> str:
    return f"{value[0]} at scale {value[1]}" if isinstance(value, tuple) else repr(value)


def _settings(chosen: Settings, before: Sequence[Settings]) -> Iterable[str]:
    if chosen.semantics > SEMANTICS_VERSION:
        yield (
            f"the rule book in force asks for semantics {chosen.semantics}, this nanotally knows {SEMANTICS_VERSION}; "
            "publish with the newer one"
        )
    if not before:
        return
    for name, first, now in (
        ("zone", before[0].zone, chosen.zone),
        ("windows", ", ".join(before[0].windows), ", ".join(chosen.windows)),
        ("settlement", before[0].settlement, chosen.settlement),
    ):
        if first != now:
            yield (
                f"settings: {name} is {now} where the first book has {first}; it is fixed for the life of an "
                f"installation, since closed windows would not add up: write {name}: {first}"
            )


def book_record(book: RuleBook, published_at_us: int, note: str, sources: Sources) -> bytes:
    """The datum for topic `books`. `sources` gives the files as written; one that is missing is left empty."""
    return codec.encode_one(
        "RuleBook",
        {
            "book_hash": book.book_hash,
            "published_at": published_at_us,
            "note": note,
            "settings": canonical_json(book.settings.document()),
            "tariffs": [
                {
                    "tariff": t.tariff,
                    "version": t.version,
                    "effective_from": t.effective_from_us,
                    "content_hash": t.content_hash,
                    "document": t.canonical,
                    "source": sources.get((t.tariff, t.version), ""),
                }
                for t in book.tariffs
            ],
        },
    )


@dataclass(frozen=True)
class PublishedBook:
    """A book as it stands in topic `books`: with when and why it was published, and the files as written."""

    book: RuleBook
    published_at_us: int
    note: str
    sources: Sources


def published_book(value: bytes | None, number: int) -> PublishedBook:
    """The record at offset `number` of topic `books`.

    Raises BrokenInvariant where it is none, or where a hash does not fit what it is the hash of."""
    try:
        name, record = codec.decode_one(value)
        if name != "RuleBook":
            raise BrokenInvariant(f"the record at offset {number} of topic books is a {name}, not a RuleBook")
        versions = tuple(from_document(json.loads(t["document"])) for t in record["tariffs"])
        settings = Settings.from_document(json.loads(record["settings"]))
    except (InvalidDatum, ValueError, KeyError, TypeError) as e:
        raise BrokenInvariant(f"the record at offset {number} of topic books is no rule book: {e}") from e
    for version, told in zip(versions, record["tariffs"], strict=True):
        if version.content_hash != told["content_hash"]:
            raise BrokenInvariant(
                f"rule book {number} has {_name(version)} with hash {version.content_hash[:16]}, and says it is "
                f"{told['content_hash'][:16]}: it was damaged, or written by another version of nanotally"
            )
    book = RuleBook(number, settings, versions)
    if book.book_hash != record["book_hash"]:
        raise BrokenInvariant(
            f"rule book {number} has hash {book.book_hash[:16]}, and says it is {record['book_hash'][:16]}: it was "
            "damaged, or written by another version of nanotally"
        )
    sources = {(t["tariff"], t["version"]): t["source"] for t in record["tariffs"]}
    return PublishedBook(book, record["published_at"], record["note"], sources)


def book_of(value: bytes | None, number: int) -> RuleBook:
    """The rule book in a record of topic `books`, checked against its hashes. Raises BrokenInvariant."""
    return published_book(value, number).book
