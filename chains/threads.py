"""Engine verbs in a worker thread, so that an event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """The result of `call`, run in a thread.

    A cancelled task waits until the call is over: what it works on must not be touched by two.
    """
    task = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):  # cancelled once more: the answer is the same
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen: the cancellation is what is told
        raise
