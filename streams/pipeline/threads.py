"""Blocking calls beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def to_its_end(function: Callable[..., T], *arguments: object) -> T:
    """asyncio.to_thread, but who is cancelled meanwhile is so only when the call has ended: a thread cannot be
    cancelled, and goes on with what it holds, as a connection that nobody else may touch meanwhile."""
    call = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        while not call.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([call])
        if not call.cancelled():
            call.exception()  # looked at, since nobody else does
        raise
