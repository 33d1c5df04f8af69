"""Chains drawn at random, for properties that every accepted one has. They need no model."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import strategies as st

from chains import Chain
from chains.expression import Compare, Constant, Ref
from chains.kinds import Retry
from chains.model import (
    END,
    START,
    Budget,
    ChainModel,
    Edge,
    Function,
    Map,
    Node,
    Parallel,
    RunBudget,
    Say,
    SubChain,
    speaks,
)
from intrinsics.catalogue import Catalogue

NODES = 5
texts = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12)
plain = texts.filter(lambda text: bool(text.strip()) and not set("{}") & set(text))
coins = st.just(Function(call="m:coin"))
flaky = st.builds(
    lambda times: Function(call="m:flaky", retry=Retry(times=times)), st.integers(1, 3)
)


def bodies(deep: bool) -> st.SearchStrategy[Node]:
    """Nodes of any kind that needs no model; `deep`: those that hold others, too."""
    simple: st.SearchStrategy[Node] = st.one_of(coins, flaky, st.builds(Say, text=plain))
    if not deep:
        return simple
    silent = coins | flaky
    fans = st.builds(
        Parallel,
        branches=st.dictionaries(st.sampled_from("abc"), silent, min_size=1),
        join=st.sampled_from(["all", "any", "first"]),
    )
    maps = st.builds(
        Map,
        over=st.just(Ref(("input", "words"))),
        do=silent,
        failed=st.sampled_from(["raise", "keep", "drop"]),
    )
    subs = st.builds(SubChain, of=flows(deep=False))
    return st.one_of(simple, fans, maps, subs)


@st.composite
def flows(draw: st.DrawFn, deep: bool = True) -> ChainModel:
    """Every node goes on to the next; a coin may send it further on, or back a bounded way.

    Of what fails some goes on to the end, some fails the run.
    """
    names = [f"n{i}" for i in range(NODES if deep else 2)]
    nodes: dict[str, Node] = {}
    flow = [Edge(source=START, target="n0")]
    for i, name in enumerate(names):
        later = [*names[i + 1 :], END]
        kind = draw(st.sampled_from(["plain", "plain", "on", "back", "until"]))
        nodes[name] = draw(bodies(deep) if kind == "plain" else coins)
        if draw(st.booleans()):
            flow.append(Edge(source=name, target=draw(st.sampled_from(later)), on_error=("any",)))
        heads = Compare(Ref((name, "value")), "==", Constant(True))
        back: dict[str, Any] = {
            "target": draw(st.sampled_from(names[: i + 1])),
            "at_most": draw(st.integers(1, 3)),
            "then": later[0],
        }
        if kind == "on":
            flow.append(Edge(source=name, target=draw(st.sampled_from(later)), when=heads))
        elif kind == "back":
            budget = draw(st.none() | st.builds(Budget, steps=st.integers(1, 4)))
            flow.append(Edge(source=name, when=heads, budget=budget, **back))
        elif kind == "until":
            or_else = draw(st.none() | st.sampled_from(later))
            flow.append(Edge(source=name, until=heads, or_else=or_else, **back))
            continue
        flow.append(Edge(source=name, target=later[0], otherwise=kind in ("on", "back")))
    if any(speaks(node) for node in nodes.values()):  # what is said in a loop can't be taken back
        flow = [edge.model_copy(update={"or_else": None}) for edge in flow]
    budget = draw(st.none() | st.builds(RunBudget, steps=st.integers(1, 30)))
    field = {"words": {"type": "list[str]", "default": ["one", "two", "three"]}}
    given: Any = field if deep else {}
    return ChainModel(name="drawn", nodes=nodes, flow=tuple(flow), input=given, budget=budget)


def most_steps(model: ChainModel) -> int:
    """The nodes that a run takes at most: each way back may begin all of them again."""
    backs = sum(edge.at_most or 0 for edge in model.flow)
    return len(model.nodes) * (backs + 1)


class Nowhere:
    """Places of a drawn chain, which has no fault."""

    def fault(self, loc: Any, message: str, offset: int = 0) -> Any:
        raise AssertionError(f"{loc}: {message}")

    def inner(self, loc: Any) -> Nowhere:
        return self


def functions(seed: int) -> dict[str, Callable[..., Any]]:
    """A coin, and one that raises where it shows tails; what they do follows from the seed."""
    random = Random(seed)

    def coin() -> bool:
        return random.random() < 0.7

    def flaky() -> bool:
        if random.random() < 0.4:
            raise ValueError("tails")
        return True

    return {"m:coin": coin, "m:flaky": flaky}


def chain_of(model: ChainModel, seed: int) -> Chain:
    return Chain(model, Nowhere(), Catalogue(), functions(seed))
