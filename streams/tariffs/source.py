"""The text of a file that a person wrote."""

from __future__ import annotations

from pathlib import Path

from nanotally.streams.errors import NotFound
from nanotally.streams.tariffs.findings import Finding, Place, TariffErrors


def read_source(source: Path | str, name: str) -> tuple[str, str]:
    """The text and what to call it in messages: a file's path, or `name` for a text.

    Raises NotFound, or TariffErrors where the file is no text."""
    if isinstance(source, str):
        return source, name
    try:
        return source.read_bytes().decode("utf-8"), str(source)
    except FileNotFoundError:
        raise NotFound(f"{source}: there is no such file") from None
    except OSError as e:
        raise NotFound(f"{source} cannot be read: {e.strerror}") from e
    except UnicodeDecodeError as e:
        before = e.object[: e.start]
        place = Place(str(source), before.count(b"\n") + 1, e.start - before.rfind(b"\n"))
        raise TariffErrors([Finding(place, "", "no UTF-8 text", "save the file as UTF-8")]) from e
