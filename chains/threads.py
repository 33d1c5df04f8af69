"""Blocking calls in a thread, so that an event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, cast

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


async def detached(call: Callable[[], T]) -> T:
    """The result of `call`, run in a thread of its own.

    A cancelled task leaves the thread to itself: its result is dropped, and neither the loop nor
    the program waits for it at the end, as they would for `asyncio.to_thread`.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: T | None, error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result((value, error))

    def work() -> None:
        value: T | None = None
        error: BaseException | None = None
        try:
            value = context.run(call)
        except BaseException as raised:  # told where it is awaited
            error = raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=work, name="function", daemon=True).start()
    value, error = await ended
    if error is not None:
        raise error
    return cast(T, value)
