"""As much of JSON Schema as the schema of tariff files uses, so that examples can be held against it."""

from __future__ import annotations

import re
from typing import Any

_TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "number": (int, float), "boolean": bool}
_KNOWN = {
    "$defs", "$ref", "$schema", "additionalProperties", "anyOf", "description", "enum", "items", "minItems",
    "minProperties", "patternProperties", "properties", "required", "title", "type",
}  # fmt: skip


def faults(value: Any, schema: dict[str, Any], root: dict[str, Any], path: str = "") -> list[str]:
    """Where the value does not fit the schema, in a few words each. Raises AssertionError for a keyword that is none
    of those known here."""
    assert schema.keys() <= _KNOWN, sorted(schema.keys() - _KNOWN)
    if "$ref" in schema:
        return faults(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, path)
    if "anyOf" in schema:
        options = [faults(value, option, root, path) for option in schema["anyOf"]]
        return [] if [] in options else [f"{path}: fits none: {min(options, key=len)}"]
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{path}: {value!r} is none of {schema['enum']}"]
    wanted = schema.get("type")
    if wanted is not None:
        names = [wanted] if isinstance(wanted, str) else wanted
        fits = any(isinstance(value, _TYPES[name]) for name in names)
        if not fits or (isinstance(value, bool) and "boolean" not in names):
            return [f"{path}: {value!r} is no {wanted}"]
    if isinstance(value, list):
        found = [f for i, item in enumerate(value) for f in faults(item, schema["items"], root, f"{path}[{i}]")]
        return found if len(value) >= schema.get("minItems", 0) else [f"{path}: an empty list", *found]
    return _object_faults(value, schema, root, path) if isinstance(value, dict) else []


def _object_faults(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], path: str) -> list[str]:
    found = [f"{path}.{name} is missing" for name in schema.get("required", ()) if name not in value]
    if len(value) < schema.get("minProperties", 0):
        found.append(f"{path}: an empty table")
    for name, inner in value.items():
        patterns = [s for pattern, s in schema.get("patternProperties", {}).items() if re.search(pattern, name)]
        own = schema.get("properties", {}).get(name)
        for one in [own, *patterns] if own is not None else patterns:
            found += faults(inner, one, root, f"{path}.{name}")
        if own is None and not patterns:
            other = schema.get("additionalProperties", {})
            found += [f"{path}: unknown {name!r}"] if other is False else faults(inner, other, root, f"{path}.{name}")
    return found
