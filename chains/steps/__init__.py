"""What each kind of node does when its turn comes: one module a kind, and two tables of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from .. import events as ev
from .ask import ask
from .best import best_of
from .call import function
from .check import check
from .each import each
from .parallel import parallel
from .retrieve import retrieve
from .say import say
from .step import FREE, Outcome, Step
from .sub import subchain
from .turn import turn

__all__ = ["FREE", "QUIET", "TELLING", "Outcome", "Step"]

Quiet: TypeAlias = Callable[[Step, Any], Awaitable[Outcome]]
Telling: TypeAlias = Callable[[Step, Any], AsyncGenerator[ev.Event, None]]

QUIET: Mapping[str, Quiet] = {"say": say, "function": function, "retrieve": retrieve}
"""Kinds that only have an outcome."""

TELLING: Mapping[str, Telling] = {
    "turn": turn,
    "check": check,
    "ask": ask,
    "parallel": parallel,
    "map": each,
    "best_of": best_of,
    "subchain": subchain,
}
"""Kinds with events of their own; they leave the outcome in the step."""
