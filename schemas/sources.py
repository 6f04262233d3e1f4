"""Where schemas are looked up that are not known yet: set by whoever runs a process, asked when one is met.

Light on purpose: a command that meets none loads nothing for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Final

_sources: Final[dict[Hashable, Callable[[], None]]] = {}  # by who asked for it


def look_up_in(source: Callable[[], None] | None, owner: Hashable) -> None:
    """From now on `source` is asked for unknown schemas, which it gives to `learning.learn`; None: no longer.

    There is one source for each owner; one that cannot be asked raises an error of its own, which reaches whoever
    meets an unknown schema."""
    if source is None:
        _sources.pop(owner, None)
    else:
        _sources[owner] = source


@contextmanager
def as_they_are() -> Iterator[None]:
    """Whatever is set while the block runs ends with it: for processes that see several installations in turn."""
    before = dict(_sources)
    try:
        yield
    finally:
        _sources.clear()
        _sources.update(before)


def look_up() -> bool:
    """Asks all sources for schemas that are not known yet; False where there is none to ask.

    Raises the first error of a source, after all were asked."""
    error: Exception | None = None
    for source in tuple(_sources.values()):
        try:
            source()
        except Exception as e:  # noqa: BLE001  raised below: what one cannot say another may
            error = error or e
    if error is not None:
        raise error
    return bool(_sources)
