"""What the loop itself costs: work counted, not timed, so that a busy machine is no fault."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest

from chains import Chain
from chains.cli import main
from chains.expression import Constant, Ref
from chains.model import ChainModel, Edge, Function, Node, Say
from chains.runner import run
from drawn import Nowhere
from flows import HELLO
from intrinsics.catalogue import Catalogue


def add(number: int) -> int:
    return number + 1


def line(nodes: int, said: int = 0) -> Chain:
    """So many functions in a row, each on the value of the one before, after `said` messages."""
    calls: dict[str, Node] = {f"s{i}": Say(text=f"Message {i}.") for i in range(said)}
    for i in range(nodes):
        value = Constant(1) if i == 0 else Ref((f"n{i - 1}", "value"))
        calls[f"n{i}"] = Function(call="m:add", arguments={"number": value})
    names = ["start", *calls, "end"]
    flow = tuple(Edge(source=a, target=b) for a, b in pairwise(names))
    model = ChainModel(name="line", nodes=calls, flow=flow)
    return Chain(model, Nowhere(), Catalogue(), {"m:add": add})


def calls_of(chain: Chain) -> int:
    """How many Python functions a run calls."""
    count = 0

    def seen(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    async def go() -> None:
        await run(chain, None, HELLO, alone=True)  # what is built once
        sys.setprofile(seen)
        try:
            await run(chain, None, HELLO, alone=True)
        finally:
            sys.setprofile(None)

    asyncio.run(go())
    return count


def test_a_chain_of_a_thousand_nodes_costs_ten_times_one_of_a_hundred() -> None:
    small, large = calls_of(line(100)), calls_of(line(1000))
    assert large < 10.2 * small
    assert small < 100 * 45  # functions called a node; 34 when this was written


def test_a_node_costs_the_same_after_a_long_history() -> None:
    said = calls_of(line(0, said=400))
    assert calls_of(line(100, said=400)) - said < 1.1 * (calls_of(line(100)) + 100)


@pytest.mark.parametrize("package", ["torch", "transformers", "numpy", "networkx"])
def test_chains_are_imported_and_read_without_an_engine(package: str) -> None:
    code = f"import chains, sys; chains.Chain, chains.Definition; print({package!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_overhead_is_measured_plain_and_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "overhead", "--nodes", "20", "--repetitions", "2", "--json"])
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told["nodes"] == 20
    assert 0 < told["us_per_node"] < told["us_per_node_recorded"]
