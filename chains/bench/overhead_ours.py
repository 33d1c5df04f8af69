"""Our chains, timed as the peers are: `python -m chains.bench.overhead_ours`."""

from __future__ import annotations

from pathlib import Path

from ..chain import Chain
from ..functions import allowed, name_of
from ..inputs import RunInput
from ..loader import read
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


def ours(nodes: int, _: Path | None) -> Run:
    """A run without a model, and so without an engine."""
    chain = chain_of(nodes)

    def run() -> int:
        return int(chain.run(None, RunInput()).nodes[-1].output)

    return run


if __name__ == "__main__":
    serve(Framework("alora-chains", ours, records=False))
