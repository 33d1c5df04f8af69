"""What a node costs that does next to nothing: functions in a row, each on the one before."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..chain import Chain
from ..errors import InputError
from ..expression import Constant, Ref
from ..inputs import RunInput
from ..model import END, START, ChainModel, Edge, Function, Node
from ..places import CodePlace, CodePlaces
from ..recorder import recorded
from ..runner import run as run_chain
from ..store import Store


def step(number: int) -> int:
    """What each node calls."""
    return number + 1


def line(nodes: int) -> Chain:
    """A chain of so many calls in a row."""
    calls: dict[str, Node] = {}
    for i in range(nodes):
        value = Constant(0) if i == 0 else Ref((f"n{i - 1}", "value"))
        calls[f"n{i}"] = Function(call=f"{__name__}:step", arguments={"number": value})
    flow = tuple(Edge(source=a, target=b) for a, b in pairwise((START, *calls, END)))
    model = ChainModel(name="line", nodes=calls, flow=flow)
    here = CodePlaces({(): CodePlace(__file__, 1, 1)})
    return Chain(model, here, functions={f"{__name__}:step": step})


def run(nodes: int = 100, repetitions: int = 7) -> dict[str, Any]:
    """Microseconds a node, plain and recorded in a store on the disk: the least, and all.

    The least, since whatever else the machine does only adds to it.

    Raises: InputError: a number below 1.
    """
    if nodes < 1 or repetitions < 1:
        raise InputError(f"{nodes} nodes, {repetitions} repetitions: both must be at least 1")
    chain = line(nodes)
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "runs.db") as store:
        kinds: dict[str, Callable[[], float]] = {
            "us_per_node": lambda: _plain(chain),
            "us_per_node_recorded": lambda: _recorded(chain, store),
        }
        for once in kinds.values():
            once()  # what is built at the first run
        raw = {name: [once() for _ in range(repetitions)] for name, once in kinds.items()}
    us = {name: [seconds / nodes * 1e6 for seconds in all_] for name, all_ in raw.items()}
    least = {name: min(values) for name, values in us.items()}
    return {"nodes": nodes, **least, "repetitions": repetitions, "raw": us}


def _plain(chain: Chain) -> float:
    async def go() -> float:
        began = time.perf_counter()
        await run_chain(chain, None, RunInput(), alone=True)
        return time.perf_counter() - began

    return asyncio.run(go())


def _recorded(chain: Chain, store: Store) -> float:
    async def go() -> float:
        began = time.perf_counter()
        with recorded(store, chain, RunInput()) as recorder:
            await run_chain(chain, None, recorder.given, recorder=recorder, alone=True)
        return time.perf_counter() - began

    return asyncio.run(go())
