"""nanotally's engine: the pure domain, the stages around it, the publisher and the command line.

`from nanotally.streams import Publisher` is all that a product needs; importing it connects to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanotally.streams.publisher import ChargeView, Publisher, Use

__all__ = ["ChargeView", "Publisher", "Use"]


def __getattr__(name: str) -> Any:
    """The publisher on first use: a worker need not load it."""
    if name in __all__:
        from nanotally.streams import publisher

        return getattr(publisher, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
