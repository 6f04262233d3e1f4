"""Files of charges with the rules they were rated by: JSON lines, written by `export`, checked by `explain --verify`.

A line is {"kind": "tariff" or "catalog", "content_hash": ..., "document": {...}}, or {"kind": "charge", "charge":
{...}} with the fields of the Charge record; each stands after the rules that it was rated by."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from nanotally.schemas import codec
from nanotally.schemas.datum import InvalidDatum
from nanotally.streams.domain.catalogs import CatalogVersion, catalog_from_document
from nanotally.streams.domain.explaining import HASH_DIGITS, Differs, explain
from nanotally.streams.domain.tariff import RuleBook, TariffVersion, from_document
from nanotally.streams.errors import InvalidInput, NotFound

Write = Callable[[dict[str, Any]], None]


class Writer:
    """Writes charges, and before the first one that needs them their rules."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._rules: dict[str, TariffVersion | CatalogVersion] = {}
        self._written: set[str] = set()
        self.count = 0

    def learn(self, books: Iterable[RuleBook]) -> None:
        """Takes the rule books that charges may have been rated by."""
        for book in books:
            self._rules |= {version.content_hash[:HASH_DIGITS]: version for version in book.tariffs}
            self._rules |= {catalog.content_hash[:HASH_DIGITS]: catalog for catalog in book.catalogs}

    def charge(self, charge: Mapping[str, Any]) -> None:
        """Writes a decoded Charge record."""
        named = {line["catalog"] for line in charge["lines"]}
        for rules in self._rules.values():
            if isinstance(rules, CatalogVersion) and f"{rules.catalog} v{rules.version}" in named:
                self._write_rules("catalog", rules)
        for line in charge["lines"]:
            version = self._rules.get(line["tariff_hash"])
            if version is not None:
                self._write_rules("tariff", version)
        self.count += 1
        self._write({"kind": "charge", "charge": charge})

    def _write_rules(self, kind: str, rules: TariffVersion | CatalogVersion) -> None:
        if rules.content_hash not in self._written:
            self._written.add(rules.content_hash)
            self._write({"kind": kind, "content_hash": rules.content_hash, "document": rules.document()})


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it should be: number of the line in the file, name of the charge, field, and what was
    expected and found."""

    line: int
    charge: str
    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.line}: charge {self.charge}: {self.problem}" if self.charge else f"{self.line}: {self.problem}"


@dataclass
class Verified:
    """What a file came to."""

    charges: int = 0
    tariffs: list[str] = field(default_factory=list)
    catalogs: list[str] = field(default_factory=list)
    paid: dict[str, int] = field(default_factory=dict)  # nanos by currency
    differences: list[Difference] = field(default_factory=list)


def verify(path: Path) -> Verified:
    """Works every charge of the file out again. Raises NotFound without the file, InvalidInput where a line is none of
    the format, with its number."""
    verified = Verified()
    tariffs: dict[str, TariffVersion] = {}
    catalogs: list[CatalogVersion] = []
    for number, entry in _entries(path):
        try:
            kind = entry["kind"]
            if kind == "charge":
                _verify_charge(number, entry["charge"], tariffs, catalogs, verified)
                continue
            rules = from_document(entry["document"]) if kind == "tariff" else catalog_from_document(entry["document"])
            told, own = entry["content_hash"], rules.content_hash
        except (InvalidDatum, LookupError, TypeError, ValueError, ArithmeticError, AttributeError, AssertionError) as e:
            said = f"{path}:{number}: no line of a file of charges ({type(e).__name__}: {e}); see docs/proofs.md"
            raise InvalidInput(said) from e
        if own != told:
            problem = f"content_hash: the document's own is {own[:HASH_DIGITS]}, the line has {told}"
            verified.differences.append(Difference(number, "", "content_hash", problem))
        if isinstance(rules, TariffVersion):
            tariffs[own[:HASH_DIGITS]] = rules
            verified.tariffs.append(f"{rules.tariff} v{rules.version}")
        else:
            catalogs.append(rules)
            verified.catalogs.append(f"{rules.catalog} v{rules.version}")
    return verified


def _verify_charge(
    number: int,
    charge: Mapping[str, Any],
    tariffs: Mapping[str, TariffVersion],
    catalogs: list[CatalogVersion],
    verified: Verified,
) -> None:
    codec.encode_one("Charge", dict(charge))  # all fields are there, and of their kinds
    name = f"{charge['usage_partition']}-{charge['usage_offset']}" + (f"-{charge['n']}" if charge["n"] else "")
    verified.charges += 1
    verified.paid[charge["currency"]] = verified.paid.get(charge["currency"], 0) + charge["paid_nanos"]
    wanted = dict.fromkeys(line["tariff_hash"] for line in charge["lines"])
    missing = [tariff_hash for tariff_hash in wanted if tariff_hash not in tariffs]
    if missing:
        problem = f"tariff_hash: no tariff above in the file has content {', '.join(missing)}"
        verified.differences.append(Difference(number, name, "tariff_hash", problem))
        return
    named = {line["catalog"] for line in charge["lines"]}
    mine = [c for c in catalogs if f"{c.catalog} v{c.version}" in named]
    try:
        explain(charge, [tariffs[tariff_hash] for tariff_hash in wanted], mine)
    except Differs as e:
        verified.differences.append(Difference(number, name, e.where, str(e)))


def _entries(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                if not text.strip():
                    continue
                try:
                    entry = json.loads(text)
                except (ValueError, RecursionError) as e:
                    raise InvalidInput(f"{path}:{number}: no JSON ({e}); see docs/proofs.md") from e
                if not isinstance(entry, dict):
                    raise InvalidInput(f"{path}:{number}: no table of names and values; see docs/proofs.md")
                yield number, entry
    except FileNotFoundError:
        raise NotFound(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as e:
        raise InvalidInput(f"{path} cannot be read: {e}") from e


def line_of(entry: Mapping[str, Any]) -> str:
    """An entry as its line of the file, without the line's end."""
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: object) -> str:
    if isinstance(value, Fraction):
        return str(value)
    raise TypeError(f"{type(value).__name__} in a charge")
