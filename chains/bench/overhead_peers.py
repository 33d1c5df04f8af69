"""Peers that run nodes in a row without any work, timed in a process of their own.

    PYTHON chains/bench/overhead_peers.py PEER

By any interpreter that has the peer; of this package nothing is imported. The first line that is
printed tells the peer's version; each line read after that asks for a timing, one is printed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

Run: TypeAlias = Callable[[], int]
"""One run of a row of nodes, each of which adds 1 to the number of the one before."""

LEAST_SECONDS = 0.02  # a run of ten nodes alone is over too soon to be timed


class Framework(NamedTuple):
    """Its distribution, and how it makes a row of so many nodes, in which SQLite file if any."""

    distribution: str
    build: Callable[[int, Path | None], Run]
    records: bool = True


def langgraph(nodes: int, record: Path | None) -> Run:
    """A state graph; each recorded run is a thread of its own."""
    import sqlite3
    from typing import TypedDict

    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.graph import END, START, StateGraph

    # by the functional form: a class in here could not resolve its annotations
    state = TypedDict("state", {"number": int})  # noqa: UP013
    graph = StateGraph(state)
    names = [f"n{i}" for i in range(nodes)]
    for name, before in zip(names, [START, *names], strict=False):
        graph.add_node(name, lambda state: {"number": state["number"] + 1})
        graph.add_edge(before, name)
    graph.add_edge(names[-1], END)
    saver = record and SqliteSaver(sqlite3.connect(record, check_same_thread=False))
    app, threads = graph.compile(checkpointer=saver or None), count()

    def run() -> int:
        config: Any = {
            "recursion_limit": nodes + 1,
            "configurable": {"thread_id": str(next(threads))},
        }
        return int(app.invoke({"number": 0}, config)["number"])

    return run


def burr(nodes: int, record: Path | None) -> Run:
    """An application that begins again for each run."""
    from burr.core import ApplicationBuilder, State, action
    from burr.core.persistence import SQLitePersister

    @action(reads=["number"], writes=["number"])
    def add(state: State) -> State:
        return state.update(number=state["number"] + 1)

    names = [f"n{i}" for i in range(nodes)]
    builder = (
        ApplicationBuilder()
        .with_actions(**{name: add.bind() for name in names})
        .with_transitions(*pairwise(names))
        .with_state(number=0)
        .with_entrypoint(names[0])
    )
    if record is not None:
        persister = SQLitePersister(str(record))
        persister.initialize()
        builder = builder.with_state_persister(persister)
    app = builder.build()

    def run() -> int:
        app.update_state(app.state.update(number=0))
        app.reset_to_entrypoint()
        _, _, state = app.run(halt_after=[names[-1]])
        return int(state["number"])

    return run


def pydantic_graph(nodes: int, _: Path | None) -> Run:
    """Steps by the builder; it records nothing."""
    from pydantic_graph import GraphBuilder, StepContext

    async def add(context: StepContext[None, None, int]) -> int:
        return int(context.inputs) + 1

    g = GraphBuilder(input_type=int, output_type=int)
    steps = [g.step(add, node_id=f"n{i}") for i in range(nodes)]
    for before, after in zip([g.start_node, *steps], [*steps, g.end_node], strict=True):
        g.add(g.edge_from(before).to(after))
    graph = g.build()
    return lambda: int(asyncio.run(graph.run(inputs=0)))


def haystack(nodes: int, _: Path | None) -> Run:
    """Components in a pipeline; it records nothing."""
    from haystack import Pipeline, component

    @component
    class Add:
        @component.output_types(number=int)
        def run(self, number: int) -> dict[str, int]:
            return {"number": number + 1}

    pipeline = Pipeline()
    names = [f"n{i}" for i in range(nodes)]
    for name in names:
        pipeline.add_component(name, Add())
    for before, after in pairwise(names):
        pipeline.connect(before, after)
    return lambda: int(pipeline.run({names[0]: {"number": 0}})[names[-1]]["number"])


PEERS = {
    "langgraph": Framework("langgraph", langgraph),
    "burr": Framework("apache-burr", burr),
    "pydantic_graph": Framework("pydantic-graph", pydantic_graph, records=False),
    "haystack": Framework("haystack-ai", haystack, records=False),
}


def serve(framework: Framework) -> None:
    """Answer each request, `{"nodes": N, "recorded": BOOL}`, with the seconds of one run."""
    told = {"version": version(framework.distribution), "records": framework.records}
    print(json.dumps(told), flush=True)
    with tempfile.TemporaryDirectory() as folder:

        @cache
        def built(nodes: int, recorded: bool) -> Run:
            run = framework.build(nodes, Path(folder) / f"{nodes}.db" if recorded else None)
            if (number := run()) != nodes:  # a warm-up, too
                raise RuntimeError(f"{nodes} nodes made {number} of 0")
            return run

        for line in sys.stdin:
            asked = json.loads(line)
            print(seconds_of(built(asked["nodes"], asked["recorded"])), flush=True)


def seconds_of(run: Run) -> float:
    """Seconds of one run, the mean of several where it is short."""
    runs, passed, started = 0, 0.0, time.perf_counter()
    while passed < LEAST_SECONDS:
        run()
        runs, passed = runs + 1, time.perf_counter() - started
    return passed / runs


if __name__ == "__main__":
    serve(PEERS[sys.argv[1]])
