"""Pieces of text from the engine's thread to one reader, which may be a thread or a task."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from queue import Empty, SimpleQueue


class Pieces:
    """A queue of text; None is the end."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._task: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    def put(self, piece: str | None) -> None:
        """Add a piece. Safe from any thread."""
        self._queue.put(piece)
        waiting = self._task
        if waiting is not None:
            with suppress(RuntimeError):  # the reader's loop has ended, and the reader with it
                waiting[0].call_soon_threadsafe(_wake, waiting[1])

    def get(self) -> str | None:
        """The next piece, in a thread."""
        return self._queue.get()

    async def next(self) -> str | None:
        """The next piece, in a task."""
        loop = asyncio.get_running_loop()
        while True:
            with suppress(Empty):
                return self._queue.get_nowait()
            arrival = loop.create_future()
            self._task = (loop, arrival)
            try:
                if self._queue.empty():  # what came before the line above woke nobody
                    await arrival
            finally:
                self._task = None


def _wake(arrival: asyncio.Future[None]) -> None:
    if not arrival.done():
        arrival.set_result(None)
