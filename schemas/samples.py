"""Sample records of a schema, worked out from its shape: what the compatibility check records and reads back."""

from __future__ import annotations

from typing import Any, Final

from nanotally.schemas.shape import Shape

INT_LEAST: Final = -(1 << 31)
LONG_LEAST: Final = -(1 << 63)


def samples(shape: Shape) -> list[dict[str, Any]]:
    """Three records: as little in them as may be, something everywhere, and the greatest numbers."""
    return [_sample(shape, size, "") for size in range(3)]


def _sample(shape: Shape, size: int, name: str) -> Any:
    if shape.optional and not size:
        return None
    match shape.kind:
        case "record":
            return {field.name: _sample(field.shape, size, field.name) for field in shape.fields}
        case "array":
            return [_sample(shape.of, size, f"{name} {n}") for n in range(size)]
        case "map":
            return {f"{name} {n}": _sample(shape.of, size, f"{name} {n}") for n in range(size)}
        case "string":
            return ("", name, f"{name} · ñ € 🎵")[size]
        case "bytes":
            return (b"", name.encode(), bytes(range(256)))[size]
        case "boolean":
            return size > 0
        case "int":
            return (0, len(name), INT_LEAST if len(name) % 2 else -1 - INT_LEAST)[size]
        case "long":
            return (0, 1_794_000_000_000_000 + len(name), LONG_LEAST if len(name) % 2 else -1 - LONG_LEAST)[size]
        case "float" | "double":
            return (0.0, 0.5, -1.5)[size]
    raise TypeError(f"no sample for {shape.kind}")
