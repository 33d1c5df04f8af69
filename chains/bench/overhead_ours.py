"""Our chains, timed as the peers are: `python -m chains.bench.overhead_ours`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ..chain import Chain
from ..functions import allowed, name_of
from ..inputs import RunInput
from ..loader import read
from ..recorder import recorded
from ..runner import RunResult, run
from ..store import Store
from .overhead_peers import Framework, Run, serve


def add(number: int) -> int:
    """The work of a node."""
    return number + 1


def chain_of(nodes: int) -> Chain:
    """So many functions in a row, each on the value of the one before."""
    names = [f"n{i}" for i in range(nodes)]
    given = ["0", *(f"{name}.value" for name in names)]
    calls = (
        f"  {name}: {{function: {{call: {name_of(add)!r}, arguments: {{number: {value}}}}}}}"
        for name, value in zip(names, given, strict=False)
    )
    edges = (f"  - {a} -> {b}" for a, b in zip(["start", *names], [*names, "end"], strict=True))
    text = "\n".join(["chain: row", "nodes:", *calls, "flow:", *edges])
    model, places = read(text, "row.yaml")
    return Chain(model, places, functions=allowed([add]))


def ours(nodes: int, record: Path | None) -> Run:
    """Runs without a model, and so without an engine; each recorded one is a run of its own."""
    chain = chain_of(nodes)
    if record is None:
        return lambda: _counted(chain.run(None, RunInput()))
    store = Store.open(record)  # open as long as this process

    def recorded_run() -> int:
        with recorded(store, chain, RunInput()) as recorder:
            going = run(chain, None, recorder.given, recorder=recorder, alone=True)
            return _counted(asyncio.run(going))

    return recorded_run


def _counted(result: RunResult) -> int:
    return int(result.nodes[-1].output)


if __name__ == "__main__":
    serve(Framework("alora-chains", ours))
