"""What tests of chains share: chains from text, runs without a model, functions that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chains import Chain, RunInput
from chains.events import Event
from chains.files import Files
from chains.loader import survey
from chains.runner import RunResult
from chains.testing import Script
from conftest import tiny_engine, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.messages import Message

HELLO = RunInput(messages=(Message(role="user", content="Hello"),))


def chain_of(
    text: str, catalogue: Catalogue | None = None, /, **functions: Callable[..., Any]
) -> Chain:
    """A chain that may call the functions as `m:name`."""
    model, places, faults, lost = survey(text, "chain.yaml", Files())
    calls = {f"m:{name}": call for name, call in functions.items()}
    return Chain(model, places, catalogue or Catalogue(), calls, faults=faults, lost=lost)


def run(chain: Chain, engine: Engine | None = None, given: RunInput = HELLO) -> RunResult:
    return chain.run(engine, given)


def events_of(
    chain: Chain, engine: Engine | Script | None = None, given: RunInput = HELLO
) -> list[Event]:
    async def collect() -> list[Event]:
        return [event async for event in chain.stream(engine, given)]

    return asyncio.run(collect())


class Failing:
    """A function that raises the first `times` times it is called, and then returns how often."""

    def __init__(self, times: int) -> None:
        self.times, self.calls = times, 0

    def function(self) -> Callable[..., int]:
        def failing() -> int:
            self.calls += 1
            if self.calls <= self.times:
                raise ValueError(f"no {self.calls}")
            return self.calls

        return failing


def judging_engine(folder: Path) -> Engine:
    """A tiny engine with random judges: tone and topic of a message, quality of a reply."""
    engine = tiny_engine()
    write_intrinsic(engine, folder, "tone", ("rude", "kind"), seed=1)
    write_intrinsic(engine, folder, "topic", ("work", "play"), seed=2)
    write_intrinsic(engine, folder, "quality", ("bad", "good"), last="assistant", seed=3)
    engine.catalogue = Catalogue([folder])
    return engine
