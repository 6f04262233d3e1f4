"""The payers' stage without services: usage in, what it would become out; the same code as the worker's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nanotally.schemas import codec
from nanotally.streams.commands.output import instant
from nanotally.streams.domain.decimals import decimal_of_value, decimal_text
from nanotally.streams.domain.payers import PayersLogic
from nanotally.streams.domain.records import RawChunk
from nanotally.streams.domain.tariff import Meter, RuleBook, Settings
from nanotally.streams.domain.validation import ID_BYTES_MAX, ITEM_BYTES_MAX
from nanotally.streams.errors import InvalidInput
from nanotally.streams.publisher_files import Line
from nanotally.streams.publisher_uses import InvalidUse, duration_us, micros
from nanotally.streams.tariffs.books import next_book
from nanotally.streams.tariffs.catalog_files import read_catalog
from nanotally.streams.tariffs.publishing import Control, activation, closing
from nanotally.streams.tariffs.reader import read_tariff
from nanotally.streams.tariffs.settings import read_settings

CHUNK_LINES = 10_000
INT64_MAX = 2**63 - 1
_FIELDS = {
    "negative": "quantity",
    "absurd": "quantity",
    "wrong_scale": "quantity",
    "future": "occurred_at",
    "too_old": "occurred_at",
    "conflict": "event_id",
    "no_session": "session",
    "bad_price": "attributes.max_price",
}
_REQUIRED = ("occurred_at", "product", "payer", "item", "meter", "quantity")


def book_of(tariffs: Sequence[Path], settings: Path | None, catalogs: Sequence[Path] = ()) -> RuleBook:
    """The rule book that tariff, settings and catalog files make together. Raises TariffErrors, BookErrors,
    NotFound."""
    chosen = read_settings(settings) if settings else Settings()
    items = [read_catalog(path).version for path in catalogs]
    book = next_book(None, [read_tariff(path) for path in tariffs], chosen, 0, None, [], items)
    return dataclasses.replace(book, number=0)


class DryRun:
    """One partition of the payers' stage in memory. The broker's time of a record is its `occurred_at`, or a later
    one that came before it, so that old usage is not from the future."""

    def __init__(self, book: RuleBook, keep: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        """`keep` is given each Charge record, in order."""
        self._keep = keep
        self._logic = PayersLogic(partition=0, partitions=1, account_partitions=1)
        self._logic.learn(book)
        self._scales = _scales(book)
        self._book = book
        self._now_us = 0
        self._offset = 0
        list(self._decide([(None, self._control(activation(book)))]))

    def rate(self, lines: Iterable[Line]) -> Iterator[tuple[Line, dict[str, Any]]]:
        """Each line with what it becomes, in order: a document with outcome, reason, rule, amount and so on. What
        falls due by a line comes before it, without event_id."""
        rest = iter(lines)
        while some := list(islice(rest, CHUNK_LINES)):
            outs: dict[int, dict[str, Any]] = {}
            first = self._offset
            records: list[tuple[bytes | None, bytes]] = []
            places: list[int] = []  # of the line in `some` that each record is
            for place, line in enumerate(some):
                try:
                    record = self.event(line)
                except InvalidInput as e:
                    outs[place] = _rejected(e)
                    continue
                self._now_us = max(self._now_us, record["occurred_at"])
                records.append((record["payer"].encode(), codec.encode_one("UsageEvent", record)))
                places.append(place)
            due: dict[int, list[dict[str, Any]]] = {}
            for offset, out in self._decide(records):
                place = places[offset - first]
                if out["outcome"] == "due":
                    due.setdefault(place, []).append(out)
                else:
                    outs[place] = out
            for place, line in enumerate(some):
                for out in due.get(place, ()):
                    yield line, {"event_id": None, **out}
                yield line, _of_line(line, outs[place])

    def close(self, at_us: int) -> Iterator[dict[str, Any]]:
        """Closes the books and gives what falls due by it."""
        for _, out in self._decide([(None, self._control(closing(at_us)))]):
            if out["outcome"] == "due":
                yield {"event_id": None, **out}

    def _control(self, control: Control) -> bytes:
        return control.datum()

    def event(self, line: Line) -> dict[str, Any]:
        """The usage event of a line, as it stands: what the stage can refuse is left to it. Raises InvalidUse."""
        if line.error is not None:
            raise line.error if isinstance(line.error, InvalidInput) else InvalidUse("line", str(line.error))
        use = line.use
        for name in _REQUIRED:
            if use.get(name) is None:
                raise InvalidUse(name, f"{name} is missing")
        for name in ("event_id", "product", "payer", "creator", "item", "meter", "session"):
            if not isinstance(use.get(name, ""), str | None):
                raise InvalidUse(name, f"{name} is {use[name]!r}, not a text")
        for name, value in (use.get("attributes") or {}).items():
            if not isinstance(value, str):
                raise InvalidUse("attributes", f"attribute {name} is {value!r}, not a text")
        quantity, scale = self._quantity(use)
        record = {
            "event_id": use.get("event_id") or f"line-{line.number}",
            "occurred_at": micros(use["occurred_at"]),
            "quantity": quantity,
            "scale": scale,
            "duration_us": use.get("duration_us", duration_us(use.get("duration_s"))),
            "attributes": dict(sorted((use.get("attributes") or {}).items())),
        }
        record |= {name: use.get(name) for name in ("product", "payer", "creator", "item", "meter", "session")}
        try:
            codec.encode_one("UsageEvent", record)
        except (codec.InvalidDatum, UnicodeEncodeError) as e:
            raise InvalidUse("line", f"cannot be written as a usage event: {e}") from e
        return record

    def _quantity(self, use: Mapping[str, Any]) -> tuple[int, int]:
        """Unscaled quantity and its scale: the meter's, or where that cannot hold it or is unknown, its own."""
        try:
            unscaled, scale = decimal_of_value(use["quantity"])
        except (TypeError, ValueError):
            raise InvalidUse("quantity", f"quantity {use['quantity']!r} is no decimal number, as in '12.5'") from None
        tariff = self._book.tariff_of(use["product"])
        meant = use.get("scale")
        meant = self._scales.get((tariff, use["meter"]), scale) if meant is None else meant
        if meant >= scale:
            unscaled, scale = unscaled * int(10 ** (min(meant, 40) - scale)), meant
        if abs(unscaled) > INT64_MAX:
            raise InvalidUse("quantity", f"quantity {use['quantity']} is out of range")
        return unscaled, scale

    def _decide(self, records: Sequence[tuple[bytes | None, bytes]]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Usage offset and document of each outcome, by what the stage writes."""
        offsets = np.arange(self._offset, self._offset + len(records), dtype=np.int64)
        self._offset += len(records)
        times = np.full(len(records), self._now_us, dtype=np.int64)
        chunk = RawChunk("usage", 0, offsets, times, [key for key, _ in records], [value for _, value in records])
        done = not records
        while not done:
            step = self._logic.decide(chunk)
            for emission in step.emissions:
                if emission.topic in ("charges", "rejects"):
                    for value in emission.values:
                        yield from self._outcomes(value)
            done, chunk = step.done, chunk.since(step.next_offset)

    def _outcomes(self, value: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
        name, record = codec.decode_one(value)
        if name == "Charge":
            if self._keep is not None:
                self._keep(record)
            yield record["usage_offset"], charge_document(record)
        elif name == "Reject":
            yield record["offset"], _nothing("rejected", record["reason"], record["detail"])
        elif name == "Chunk":
            said = "this payer and product used the event_id before, with this content"
            for offset in record["duplicates"]:
                yield offset, _nothing("duplicate", "", said)


def _scales(book: RuleBook) -> dict[tuple[str | None, str], int]:
    meters: list[tuple[str, Meter]] = [(t.tariff, m) for t in book.tariffs for m in t.meters]
    return {(tariff, meter.name): meter.scale for tariff, meter in meters}


def _nothing(outcome: str, reason: str, detail: str) -> dict[str, Any]:
    nothing = {"rule": "", "amount": "0", "currency": "", "shares": {}}
    return {"outcome": outcome, "reason": reason, **nothing, "detail": detail}


def _rejected(error: InvalidInput) -> dict[str, Any]:
    field = error.field if isinstance(error, InvalidUse) else "line"
    return _nothing("rejected", "malformed", str(error)) | {"field": field}


def _of_line(line: Line, out: dict[str, Any]) -> dict[str, Any]:
    """The outcome with the line's number and id; a rejected one with the field that is wrong."""
    if out["outcome"] == "rejected" and "field" not in out:
        out["field"] = _FIELDS.get(out["reason"]) or _bad_id(line.use)
    return {"line": line.number, "event_id": line.use.get("event_id"), **out}


def _bad_id(use: Mapping[str, Any]) -> str:
    for name in ("event_id", "product", "payer", "item", "meter", "creator", "session"):
        most = ITEM_BYTES_MAX if name == "item" else ID_BYTES_MAX
        if use.get(name) is not None and not 0 < len(use[name].encode()) <= most:
            return name
    return "attributes"


def charge_document(charge: Mapping[str, Any]) -> dict[str, Any]:
    """A charge for scripts: amounts as exact decimals of currency units, quantities of the meter's unit."""
    event, lines = charge["event"], charge["lines"]
    shares: dict[str, int] = {}
    for line in lines:
        for share in line["shares"]:
            shares[share["account"]] = shares.get(share["account"], 0) + share["nanos"]
    document: dict[str, Any] = {
        "outcome": charge["outcome"],
        "reason": charge["reason"],
        "rule": lines[0]["rule"] if lines else "",
        "amount": decimal_text(charge["paid_nanos"]),
        "currency": charge["currency"],
        "shares": {account: decimal_text(nanos) for account, nanos in shares.items()},
        "payer": charge["payer"],
        "booked_at": instant(charge["booked_at"]),
        "late": charge["late"],
    }
    if lines:
        first = lines[0]
        scale = event["scale"] if event else 0
        document |= {
            "tariff": first["tariff"],
            "version": first["version"],
            "tariff_hash": first["tariff_hash"],
            "scope": first["scope"],
            "scope_start": instant(first["scope_start"]),
            "scope_end": instant(first["scope_end"]),
            "quantity_before": decimal_text(first["quantity_before"], scale),
            "quantity": decimal_text(first["quantity"], scale),
            "split": first["split"],
        }
    return document
