"""The JSON Schema of tariff files, for editors: names and shapes with a line about each. What a file means, and whether
it can be used, is told by `tariff check`."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _told(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _text(description: str) -> Schema:
    return _told(_ref("text"), description)


def _table(properties: Schema, required: tuple[str, ...] = (), description: str = "") -> Schema:
    table: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return (
        table
        | ({"required": list(required)} if required else {})
        | ({"description": description} if description else {})
    )


def _open_table(values: Schema, properties: Schema | None = None, required: tuple[str, ...] = ()) -> Schema:
    table: Schema = {"type": "object", "additionalProperties": values, "minProperties": 1}
    return (
        table | ({"properties": properties} if properties else {}) | ({"required": list(required)} if required else {})
    )


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def _choice(words: tuple[str, ...], description: str) -> Schema:
    return {"enum": list(words), "description": description}


_PRICES: Schema = {
    "price": _told(
        {"anyOf": [_ref("price"), _ref("priceBy"), _ref("priceFrom")]},
        "What a unit costs: 0.50 per 1M tokens, 15 per started 10 pages, 5 flat + 0.02 per page, 2.9%, free, refuse",
    ),
    "graduated": _told(_ref("tiers"), "Each unit at the price of the tier it falls into"),
    "volume": _told(_ref("tiers"), "All units at the price of the tier that the quantity reaches"),
    "steps": _told(_ref("tiers"), "Prices by the position in a session; a step that was begun is used up first"),
}
_EXTRAS: Schema = {
    "multiply": _told(
        {"anyOf": [_ref("priceBy"), _list_of(_ref("priceBy"))]},
        "Factors of prices and fees by an attribute: {by: region, eu: 1.2, otherwise: 1}",
    ),
    "free": {
        "anyOf": [
            _ref("text"),
            _table(
                {
                    "units": _text("How much of the meter's unit is free"),
                    "events": _text("Of how many uses, the first ones of the scope"),
                    "after": _choice(("rounding",), "Taken off the rounded quantity"),
                    "fee": _choice(("when reached",), "A use that takes the last of it pays its fee"),
                }
            ),
        ],
        "description": "What is free in each scope: 1000 tokens, 3 events, {units: 500, events: 3}",
    },
    "round": _text("up, down or half_up to a step, of the sum or per event: up to 1 second per event"),
    "each": _table(
        {
            "fee": _text("What each use costs besides"),
            "at_least": _text("What each use costs at least"),
            "at_most": _text("What each use costs at most"),
        },
        description="A fee and limits of each single use",
    ),
    "connect": _text("An amount due once in each scope, with the first use"),
    "cap": _text("The most that a scope is charged"),
    "minimum": _text("The least that a scope is charged, due at its end"),
    "commitment": _table(
        {
            "amount": _text("What is due in any case"),
            "overage": _text("The factor of what is above it: 2, 150%"),
            "due": _choice(("at end", "never"), "Whether the amount is due at the end of the scope"),
        },
        ("amount",),
        "An amount that is due in any case, and what is above it at another rate",
    ),
    "zero_usage": _choice(("fee", "none"), "Whether the first flat fee is due for a use of nothing"),
    "tier_by": _text("The attribute whose quantity chooses the volume tier"),
    "reprice": _choice(("down", "never"), "What happens where a total by volume falls"),
}
_SPLIT_PART: Schema = {"anyOf": [_ref("text"), _ref("splitTable")]}
_COUNT: Schema = {
    "per": _told(_ref("texts"), "What has a scope of its own: payer, and any field or attribute"),
    "over": _text("event, session, hour, day, month, year, life, or 24h from first paid"),
    "ends_after": _text("After how long without a use a session ends: 30m idle"),
}
_BAND_TIMES: Schema = {
    "name": _text("What the band is called"),
    "days": _told(_ref("texts"), "Days of the week: mon-fri, [sat, sun]"),
    "dates": _told(_ref("texts"), "Days of the year: [12-25, 01-01]"),
    "from": _text("Where it begins, inclusive: 08:00"),
    "to": _text("Where it ends, exclusive: 19:00, 24:00"),
}
_CROSSING = _choice(("cut", "start"), "Whether a use is cut where a band or a version ends, or rated by its start")
_RULE: Schema = {
    "rule": _text("The name of the rule; what was counted is kept under it"),
    "when": {
        "type": "object",
        "properties": {
            "meter": _text("The one meter of the rule"),
            "group": _told(_ref("texts"), "Groups of payers"),
        },
        "additionalProperties": _ref("texts"),
        "required": ["meter"],
        "description": "Which uses: values, [lists], patterns*, present, absent, ranges such as 720 to 1080",
    },
    **_PRICES,
    **_EXTRAS,
    "count": _table(
        {**_COUNT, "at_most": _text("Beyond which nothing more is charged")},
        description="What the quantity adds up over",
    ),
    "split": _text("Who gets the money"),
    "bands": _told(
        _list_of(
            {
                "anyOf": [
                    _table({**_BAND_TIMES, **_PRICES, **_EXTRAS}, ("name",)),
                    _table({"otherwise": {"anyOf": [_ref("text"), _table({**_PRICES, **_EXTRAS})]}}, ("otherwise",)),
                ]
            }
        ),
        "Prices by time of day, day of the week and date; the first band that holds",
    ),
    "zone": _text("The time zone of the bands; without it the tariff's calendar"),
    "crossing": _CROSSING,
}
_PASS: Schema = {
    "pass": _text("The name of the pass"),
    "covers": _told(_ref("texts"), "The rules whose list prices it is for"),
    "count": _table(_COUNT, ("over",)),
    "cap": _text("The most that is paid for them"),
    "discount": _text("What is taken off: 20%"),
    "price": _text("What is paid once, with the first use that costs anything"),
    "graduated": _told(_ref("tiers"), "Parts of the list price by what it comes to: {to 5: 100%, above: 80%}"),
    "share": _choice(("by list price",), "How it is shared out at the end"),
}


def tariff_schema() -> Schema:
    """The schema as plain values (JSON Schema, draft 2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "nanotally tariff",
        "type": "object",
        "properties": {
            "tariff": _text("The name of the tariff"),
            "version": _text("The number of this version, which never changes once published"),
            "effective_from": _text("From when on it prices uses: 2026-12-01T00:00:00Z"),
            "currency": _text("ISO 4217, such as USD; never changes"),
            "calendar": _text("The time zone in which its hours, days, months and years begin"),
            "products": _told(_ref("texts"), "Whose uses it prices; without it all that no other tariff names"),
            "crossing": _CROSSING,
            "groups": _told(_open_table(_ref("texts")), "Groups of payers, by names and patterns"),
            "meters": _told(
                _open_table(
                    _table(
                        {
                            "unit": _text("What one of it is called"),
                            "scale": _text("How many decimal places a quantity has"),
                            "needs": _told(_ref("texts"), "What a use must name: session"),
                        },
                        ("unit",),
                    )
                ),
                "What is counted",
            ),
            "splits": _told(_open_table(_ref("splitTable")), "Who gets which part of each charge"),
            "passes": _told(_list_of(_table(_PASS, ("pass", "covers", "count"))), "Prices over several rules"),
            "rules": _told(_list_of(_table(_RULE, ("rule", "when", "split"))), "The first that matches, from the top"),
        },
        "additionalProperties": False,
        "required": ["tariff", "version", "effective_from", "currency", "meters", "splits", "rules"],
        "$defs": {
            "text": {"type": ["string", "number", "boolean"]},
            "texts": {"anyOf": [_ref("text"), _list_of(_ref("text"))]},
            "price": {"type": ["string", "number"]},
            "priceBy": _open_table({"anyOf": [_ref("text"), _ref("priceFrom")]}, {"by": _ref("text")}, ("by",)),
            "priceFrom": _table(
                {
                    "from": _choice(("event", "catalog"), "Where the price comes from"),
                    "attribute": _text("The attribute of the use with the price; without it `price`"),
                    "per": _text("What it is the price of: 60 seconds; without it one unit"),
                    "at_least": _text("The least that is accepted"),
                    "at_most": _text("The most that is accepted"),
                    "otherwise": _text("The price of a use that brings none, or refuse"),
                },
                ("from", "at_most"),
            ),
            "tiers": {
                "type": "object",
                "patternProperties": {"^to ": _ref("price")},
                "properties": {"above": _ref("price")},
                "additionalProperties": False,
                "minProperties": 1,
            },
            "splitTable": _open_table(_SPLIT_PART),
        },
    }
