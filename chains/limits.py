"""Time-outs and budgets: what bounds a node, a loop, a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from . import events as ev
from .errors import ChainError, ChainRunError
from .model import Budget, Node

if TYPE_CHECKING:
    from .steps import Step

Part: TypeAlias = Literal["steps", "tokens", "seconds"]


class OutOfBudget(ChainError):
    """A node was cut short since its run has no seconds left; the run goes on where it says."""


class Used(NamedTuple):
    """Nodes run, tokens computed, seconds: what a run has used up to some moment."""

    steps: int
    tokens: int
    seconds: float


def spent(budget: Budget, used: Used) -> tuple[Part, float] | None:
    """The part of a budget that is spent, and its limit; None while there is some left of all."""
    parts: tuple[Part, ...] = ("steps", "tokens", "seconds")
    for part in parts:
        limit = getattr(budget, part)
        if limit is not None and getattr(used, part) >= limit:
            return part, float(limit)
    return None


def is_limited(node: Node) -> bool:
    """Whether a node has a time-out."""
    return node.timeout is not None or node.idle_timeout is not None


async def limited(
    events: AsyncGenerator[ev.Event, None], step: Step, left: float | None
) -> AsyncGenerator[ev.Event, None]:
    """A node's events under its time-outs, and under the seconds its run has left.

    Time counts only while the node works: not while nobody asks for its next event.
    Raises: ChainRunError: reason "timeout"; OutOfBudget.
    """
    node, loop = step.node, asyncio.get_running_loop()
    ends = {
        name: loop.time() + seconds
        for name, seconds in (("timeout", node.timeout), ("run", left))
        if seconds is not None
    }
    async with aclosing(events):
        while True:
            if node.idle_timeout is not None:
                ends["idle_timeout"] = loop.time() + node.idle_timeout
            first = min(ends, key=lambda name: ends[name])
            try:
                async with asyncio.timeout_at(ends[first]) as scope:
                    event = await anext(events, None)
            except TimeoutError:
                if not scope.expired():
                    raise
                if first == "run":
                    raise OutOfBudget(f"node {step.name!r} was cut short") from None
                bound = node.timeout if first == "timeout" else node.idle_timeout
                word = "" if first == "timeout" else "without an event "
                message = f"{word}out of time after {bound:g} s"
                raise ChainRunError(message, step.name, "timeout") from None
            if event is None:
                return
            yield event
