"""From what a product says of a use to the bytes of a usage event; whatever is wrong is said at the call.

Pure: the newest rule book is handed in, and so is the time."""

from __future__ import annotations

import difflib
import hmac
import io
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import fastavro

from nanotally.schemas import catalog
from nanotally.streams.domain.decimals import decimal_of_value, decimal_text
from nanotally.streams.domain.exact import max_price_nanos
from nanotally.streams.domain.tariff import Meter, RuleBook
from nanotally.streams.domain.validation import (
    ATTRIBUTE_BYTES_MAX,
    ATTRIBUTES_MAX,
    ID_BYTES_MAX,
    ITEM_BYTES_MAX,
    OCCURRED_AT_MAX_US,
    OCCURRED_AT_MIN_US,
    QUANTITY_MAX,
)
from nanotally.streams.errors import InvalidInput

Number = int | str | Decimal

PSEUDONYM_KEY_BYTES_MIN = 16

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNIT_SIGNS = {"second": "s", "minute": "min", "hour": "h", "byte": "B"}


class InvalidUse(InvalidInput):
    """One field of a use cannot be used: `field` names it, the message says why and how to mend it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message, reason="invalid_use")
        self.field = field


class KnownMeters:
    """The meters of a rule book, by product: what a use is checked against before it leaves."""

    def __init__(self, book: RuleBook) -> None:
        self._book = book
        self._tariffs: dict[str, dict[str, Meter]] = {}
        for version in book.tariffs:
            self._tariffs.setdefault(version.tariff, {}).update(version.meter_by_name)
        self._found: dict[tuple[str, str], Meter] = {}

    def meter(self, product: str, name: str) -> Meter:
        """The meter by which the product's uses of that name are counted. Raises InvalidUse."""
        found = self._found.get((product, name))
        if found is None:
            found = self._found[product, name] = self._look_up(product, name)
        return found

    def _look_up(self, product: str, name: str) -> Meter:
        everywhere = sorted({m for meters in self._tariffs.values() for m in meters})
        if name not in everywhere:
            near = difflib.get_close_matches(name, everywhere, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(everywhere) or 'none'}"
            raise InvalidUse("meter", f"'{name}' is no meter of any tariff in force; {hint}")
        tariff = self._book.tariff_of(product)
        if tariff is None:
            named = sorted({p for t in self._book.tariffs for p in t.products})
            near = difflib.get_close_matches(product, named, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"tariffs name: {', '.join(named) or 'none'}"
            raise InvalidUse("product", f"product '{product}' belongs to no tariff in force; {hint}")
        if name not in self._tariffs[tariff]:
            raise InvalidUse(
                "meter",
                f"'{name}' is no meter of tariff {tariff}, to which product '{product}' belongs; "
                f"its meters: {', '.join(sorted(self._tariffs[tariff]))}",
            )
        return self._tariffs[tariff][name]


def unscaled_quantity(quantity: Number, meter: Meter) -> int:
    """The quantity in the meter's smallest unit, exact. Raises TypeError for a float, InvalidUse otherwise."""
    try:
        unscaled, scale = decimal_of_value(quantity)
    except TypeError as e:
        raise TypeError(
            f"quantity is a {e}: give it as text, int or Decimal, as in quantity='12.5'; a float is not exact"
        ) from None
    except ValueError as e:
        raise InvalidUse("quantity", f"quantity {_shown(quantity)} is {e}; write it as in '12.5'") from None
    unit = _UNIT_SIGNS.get(meter.unit, meter.unit)
    if scale > meter.scale:
        places = "no places" if not meter.scale else "1 place" if meter.scale == 1 else f"{meter.scale} places"
        said = f"{decimal_text(unscaled, scale)} {unit} is finer than meter {meter.name} allows ({places})"
        raise InvalidUse("quantity", said)
    unscaled = unscaled * int(10 ** (meter.scale - scale))
    if unscaled < 0:
        raise InvalidUse("quantity", f"quantity {_shown(quantity)} is negative; a correction is not a use")
    if unscaled > QUANTITY_MAX:
        most = decimal_text(QUANTITY_MAX, meter.scale)
        raise InvalidUse("quantity", f"quantity {_shown(quantity)} is more than one use can have ({most} {unit})")
    return unscaled


def micros(at: object) -> int:
    """Microseconds since 1970 UTC of an aware datetime. Raises InvalidUse for a naive one."""
    if not isinstance(at, datetime):
        raise InvalidUse("occurred_at", f"occurred_at is {_shown(at)}, not a datetime")
    if at.tzinfo is None or at.utcoffset() is None:
        raise InvalidUse("occurred_at", f"occurred_at {at.isoformat()} has no time zone; add one, as in tzinfo=UTC")
    at_us = (at - EPOCH) // _MICROSECOND
    if not OCCURRED_AT_MIN_US <= at_us < OCCURRED_AT_MAX_US:
        raise InvalidUse("occurred_at", f"occurred_at {at.isoformat()} is not between 2000 and 2199")
    return at_us


def pseudonym(key: bytes, payer: str) -> str:
    """The payer's keyed pseudonym: first 32 hex digits of HMAC-SHA256."""
    return hmac.digest(key, payer.encode(), "sha256").hex()[:32]


def check_pseudonym_key(key: bytes | None) -> bytes | None:
    """The key, if it is long enough not to be guessed. Raises InvalidInput."""
    if key is not None and len(key) < PSEUDONYM_KEY_BYTES_MIN:
        raise InvalidInput(
            f"the pseudonym key has {len(key)} bytes, at least {PSEUDONYM_KEY_BYTES_MIN} are needed; "
            "make one with python -c 'import secrets; print(secrets.token_hex(32))'"
        )
    return key


def usage_record(
    use: Mapping[str, Any], meters: KnownMeters, product: str | None, key: bytes | None, now: datetime
) -> dict[str, Any]:
    """The usage event of one use.

    use: the arguments of `Publisher.use` by name (`attributes` a mapping); product: where the use names none; key: of
    the payers' pseudonyms; now: where the use has no `occurred_at`. Raises InvalidUse, TypeError for a float."""
    owner = _text(use.get("product") or product, "product")
    meter = meters.meter(owner, _text(use.get("meter"), "meter"))
    payer = _text(use.get("payer"), "payer")
    at = use.get("occurred_at")
    attributes = _attributes(use.get("attributes") or {})
    record: dict[str, Any] = {
        "event_id": str(uuid.uuid4()) if use.get("event_id") is None else _text(use["event_id"], "event_id"),
        "occurred_at": micros(now if at is None else at),
        "product": owner,
        "payer": pseudonym(key, payer) if key else payer,
        "creator": None if use.get("creator") is None else _text(use["creator"], "creator"),
        "item": _text(use.get("item"), "item"),
        "meter": meter.name,
        "quantity": unscaled_quantity(1 if use.get("quantity") is None else use["quantity"], meter),
        "scale": meter.scale,
        "session": None if use.get("session") is None else _text(use["session"], "session"),
        "duration_us": duration_us(use.get("duration_s")) if use.get("duration_us") is None else use["duration_us"],
        "attributes": attributes,
    }
    if use.get("scale") not in (None, meter.scale):
        raise InvalidUse("scale", f"scale is {use['scale']}, meter {meter.name} has {meter.scale}; leave it out")
    for needed in meter.needs:
        if record.get(needed) is None and needed not in attributes:
            raise InvalidUse(needed, f"meter {meter.name} needs {needed}; give {needed}=...")
    return record


def _text(value: Any, field: str) -> str:
    if value is None or value == "":
        raise InvalidUse(field, f"{field} is missing" if value is None else f"{field} is empty")
    if not isinstance(value, str):
        raise InvalidUse(field, f"{field} is {_shown(value)}, not a text")
    return _bounded(value, field, ITEM_BYTES_MAX if field == "item" else ID_BYTES_MAX)


def _bounded(value: str, field: str, most: int) -> str:
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        raise InvalidUse(field, f"{field} {_shown(value)} is no text that UTF-8 can write") from None
    if size > most:
        raise InvalidUse(field, f"{field} {_shown(value)} has {size:,} bytes, at most {most:,} are allowed")
    return value


def duration_us(seconds: Any) -> int | None:
    """Microseconds of a duration in seconds (int, text, Decimal or float; a duration is not money)."""
    if seconds is None:
        return None
    try:
        unscaled, scale = decimal_of_value(str(seconds) if isinstance(seconds, float) else seconds)
    except (TypeError, ValueError):
        unscaled, scale = -1, 0
    us = unscaled * 10**6 // int(10**scale)
    if not 0 <= us <= QUANTITY_MAX:
        raise InvalidUse("duration_s", f"duration_s {_shown(seconds)} is no duration in seconds")
    return us


def _attributes(given: Mapping[str, Any]) -> dict[str, str]:
    attributes = {}
    for name in sorted(given):
        value = given[name]
        if value is None:
            continue
        if isinstance(value, bool | float) or not isinstance(value, str | int | Decimal):
            raise TypeError(f"attribute {name} is a {type(value).__name__}: give it as text, int or Decimal")
        text = f"{value:f}" if isinstance(value, Decimal) else str(value)
        attributes[_bounded(name, "attribute", ATTRIBUTE_BYTES_MAX)] = _bounded(text, name, ATTRIBUTE_BYTES_MAX)
    if len(attributes) > ATTRIBUTES_MAX:
        raise InvalidUse("attributes", f"{len(attributes)} attributes, at most {ATTRIBUTES_MAX} are allowed")
    if "max_price" in attributes and max_price_nanos(attributes["max_price"]) is None:
        shown = _shown(attributes["max_price"])
        raise InvalidUse("max_price", f"max_price {shown} is no price in currency units; write it as in '0.01'")
    return attributes


def _shown(value: Any) -> str:
    text = "a huge number" if isinstance(value, int) and value.bit_length() > 999 else repr(value)
    return text if len(text) <= 60 else text[:40] + "…" + text[-10:]


def datum(record: Mapping[str, Any]) -> bytes:
    """The usage event as an Avro single-object datum."""
    schema = catalog.schema("UsageEvent")
    out = io.BytesIO()
    out.write(schema.header)
    fastavro.schemaless_writer(out, schema.parsed, record)
    return out.getvalue()
