"""Branches that run at once: their events as one stream, until somebody has seen enough."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

from .. import events as ev
from ..errors import ChainRunError, RunWaits

Decide: TypeAlias = Callable[[str, ChainRunError | RunWaits | None], bool]
"""Told which branch has ended and how; True ends the race."""


@dataclass(frozen=True)
class _Ended:
    name: str
    error: BaseException | None


async def race(
    branches: Mapping[str, AsyncGenerator[ev.Event, None]], decide: Decide
) -> AsyncGenerator[ev.Event, None]:
    """Run all to their ends, or until `decide` says so: the rest is cancelled, and has ended.

    Raises: whatever is no failure of a node, from any branch.
    """
    queue: asyncio.Queue[ev.Event | _Ended] = asyncio.Queue()
    tasks = {
        name: asyncio.create_task(_pump(name, events, queue)) for name, events in branches.items()
    }
    running = len(tasks)
    try:
        while running:
            told = await queue.get()
            if not isinstance(told, _Ended):
                yield told
                continue
            running -= 1
            if told.error is not None and not isinstance(told.error, ChainRunError | RunWaits):
                raise told.error
            if decide(told.name, told.error):
                return
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def _pump(
    name: str, events: AsyncGenerator[ev.Event, None], queue: asyncio.Queue[ev.Event | _Ended]
) -> None:
    error: BaseException | None = None
    try:
        async with aclosing(events):
            async for event in events:
                queue.put_nowait(event)
    except BaseException as caught:  # whatever it is: the race must not wait for this branch
        error = caught
        if isinstance(caught, asyncio.CancelledError):
            raise
    finally:
        queue.put_nowait(_Ended(name, error))
