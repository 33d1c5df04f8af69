"""Whatever the checker accepts ends, reads back from its YAML, and is drawn as it runs."""

from __future__ import annotations

import asyncio

from hypothesis import given as cases
from hypothesis import settings
from hypothesis import strategies as st

from chains import ChainRunError
from chains.events import EdgeTaken, Event, NodeStarted
from chains.loader import read
from chains.model import ChainModel
from drawn import chain_of, flows, most_steps
from flows import HELLO


def events_of(model: ChainModel, seed: int) -> list[Event]:
    async def collect() -> list[Event]:
        told: list[Event] = []
        try:
            async for event in chain_of(model, seed).stream(None, HELLO):
                told.append(event)
        except ChainRunError:
            pass  # told as run_failed
        return told

    return asyncio.run(collect())


@settings(max_examples=50)
@cases(flows())
def test_an_accepted_chain_reads_back_from_its_yaml(model: ChainModel) -> None:
    assert read(chain_of(model, 0).to_yaml(), "again.yaml")[0] == model


@settings(max_examples=50)
@cases(flows(), st.integers(0, 99))
def test_an_accepted_chain_ends_and_says_how(model: ChainModel, seed: int) -> None:
    events = events_of(model, seed)
    assert events[-1].event in ("run_finished", "run_failed")
    started = [e for e in events if isinstance(e, NodeStarted) and not e.branch]
    first = [event for event in started if event.attempt == 1 or not _retried(events, event)]
    assert len(first) <= most_steps(model)


def _retried(events: list[Event], event: NodeStarted) -> bool:
    """Whether an attempt was a retry, and not the next visit."""
    before = events[events.index(event) - 1]
    return before.event == "retried"


@settings(max_examples=50)
@cases(flows(), st.integers(0, 99))
def test_every_edge_that_is_taken_is_drawn(model: ChainModel, seed: int) -> None:
    drawn = {f'"{a}" -> "{b}"' for a, b in model.hops()}
    if model.budget is not None:
        drawn |= {f'"{name}" -> "{model.budget.then}"' for name in model.nodes}
    dot = chain_of(model, seed).dot()
    for event in events_of(model, seed):
        if isinstance(event, EdgeTaken) and not event.branch:
            assert f'"{event.source}" -> "{event.target}"' in drawn
            assert f'"{event.source}" -> "{event.target}"' in dot
