"""Mistakes made with pydantic-graph: steps, decisions and joins by its builder, all typed.

python benchmarks/mistakes/with_pydantic_graph.py MISTAKE
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict
from pydantic_graph import (
    BaseNode,
    End,
    Graph,
    GraphBuilder,
    GraphRunContext,
    StepContext,
    TypeExpression,
    reduce_list_append,
)
from telling import Steps, Told, tell


class State(BaseModel):
    """As strict as pydantic gets."""

    model_config = ConfigDict(strict=True, extra="forbid", validate_assignment=True)
    answer: str | None = None
    score: int = 0


Context: TypeAlias = StepContext[State, None, Any]


async def look(ctx: Context) -> str:
    return "found"


async def answer(ctx: Context) -> str:
    ctx.state.answer = "forty-two"
    return "forty-two"


async def screen(ctx: Context) -> Literal["safe", "unsafe"]:
    return "unsafe"


def unknown_node(told: Told) -> None:
    """An edge leads to a Python object, so its name is a Python name."""
    g = _builder()
    g.add(g.edge_from(g.start_node).to(g.step(look)), g.edge_from(anwser).to(g.end_node))  # type: ignore[name-defined]  # noqa: F821
    graph = g.build()
    told.runs()
    graph.run_sync(state=State(), inputs="?")


@dataclass
class Answer(BaseNode[State, None, str]):
    async def run(self, ctx: GraphRunContext[State, None]) -> End[str]:
        return End("forty-two")


@dataclass
class Apologise(BaseNode[State, None, str]):
    async def run(self, ctx: GraphRunContext[State, None]) -> End[str]:
        return End("sorry")


@dataclass
class Look(BaseNode[State, None, str]):
    async def run(self, ctx: GraphRunContext[State, None]) -> Answer:
        return Apologise()


def undeclared_node(told: Told) -> None:
    """A node is a class; the annotation of `run` lists those that may be next."""
    g = GraphBuilder(state_type=State, input_type=TypeExpression[Look | Apologise], output_type=str)
    ways = g.decision().branch(g.match_node(Look)).branch(g.match_node(Apologise))
    g.add(g.edge_from(g.start_node).to(ways))
    g.add(g.node(Look), g.node(Answer), g.node(Apologise))
    graph = g.build()
    told.runs()
    found = graph.run_sync(state=State(), inputs=Look())
    told.lost_if(found == "sorry", "the answer, since the other node ran")


def label_typo(told: Told) -> None:
    g = _builder()
    first, reply, refuse = g.step(screen), g.step(look), g.step(answer)
    ways = (
        g.decision()
        .branch(g.match(TypeExpression[Literal["safe"]]).to(reply))
        .branch(g.match(TypeExpression[Literal["unsave"]]).to(refuse))
    )
    g.add(g.edge_from(g.start_node).to(first), g.edge_from(first).to(ways))
    g.add(g.edge_from(reply, refuse).to(g.end_node))
    graph = g.build()
    told.runs()
    graph.run_sync(state=State(), inputs="?")


def missing_else(told: Told) -> None:
    g = _builder()
    first, second = g.step(look), g.step(answer)
    ways = g.decision().branch(g.match(TypeExpression[Literal["nothing"]]).to(second))
    g.add(g.edge_from(g.start_node).to(first), g.edge_from(first).to(ways))
    g.add(g.edge_from(second).to(g.end_node))
    graph = g.build()
    told.runs()
    graph.run_sync(state=State(), inputs="?")


def unknown_key(told: Told) -> None:
    async def judge(ctx: Context) -> str:
        ctx.state.scor = 3
        return "judged"

    graph = _row(judge)
    told.runs()
    graph.run_sync(state=State(), inputs="?")


def wrong_type(told: Told) -> None:
    async def judge(ctx: Context) -> str:
        ctx.state.score = "high"
        return "judged"

    graph = _row(judge)
    told.runs()
    graph.run_sync(state=State(), inputs="?")


def reads_too_early(told: Told) -> None:
    """A state has all its fields from the start, so this one holds None until it is written."""

    async def shout(ctx: Context) -> str:
        return f"{ctx.state.answer}!"

    graph = _row(shout, answer)
    told.runs()
    graph.run_sync(state=State(), inputs="?")
    told.lost = "the value, since None is read"


def unreachable(told: Told) -> None:
    g = _builder()
    first, second = g.step(look), g.step(answer)
    g.add(g.edge_from(g.start_node).to(first), g.edge_from(first, second).to(g.end_node))
    graph = g.build()
    told.runs()
    graph.run_sync(state=State(), inputs="?")


def unbounded_loop(told: Told) -> None:
    steps = Steps(told)

    async def again(ctx: Context) -> str:
        steps.one()
        return "found"

    g = _builder()
    first = g.step(again)
    ways = (
        g.decision()
        .branch(g.match(TypeExpression[Literal["done"]]).to(g.end_node))
        .branch(g.match(TypeExpression[str]).to(first))
    )
    g.add(g.edge_from(g.start_node).to(first), g.edge_from(first).to(ways))
    graph = g.build()
    told.runs()
    graph.run_sync(state=State(), inputs="?")


def two_writers(told: Told) -> None:
    async def one(ctx: Context) -> str:
        ctx.state.answer = "one"
        return "one"

    async def two(ctx: Context) -> str:
        ctx.state.answer = "two"
        return "two"

    graph, state = _forked(one, two), State()
    told.runs()
    graph.run_sync(state=state, inputs="?")
    told.lost_if(state.answer in ("one", "two"), "what one of them wrote")


def lost_sibling(told: Told) -> None:
    """The sibling has finished when the other branch fails; the run is started again."""
    paid, down = [], [True]

    async def pay(ctx: Context) -> str:
        paid.append("once")
        return "paid"

    async def fail(ctx: Context) -> str:
        await asyncio.sleep(0.2)
        if down:
            raise ConnectionError("down")
        return "!"

    graph = _forked(pay, fail)
    told.runs()
    try:
        graph.run_sync(state=State(), inputs="?")
    except ConnectionError:
        down.clear()
    graph.run_sync(state=State(), inputs="?")
    told.lost_if(len(paid) > 1, f"the finished branch ran {len(paid)} times")


def _builder() -> GraphBuilder[State, None, str, Any]:
    return GraphBuilder(state_type=State, input_type=str, output_type=object)


def _row(*calls: Callable[[Context], Awaitable[Any]]) -> Graph[State, None, str, Any]:
    """One step after another."""
    g = _builder()
    here: Any = g.start_node
    for call in calls:
        step = g.step(call)
        g.add(g.edge_from(here).to(step))
        here = step
    g.add(g.edge_from(here).to(g.end_node))
    return g.build()


def _forked(*calls: Callable[[Context], Awaitable[str]]) -> Graph[State, None, str, Any]:
    """Steps at once, whose results are listed."""
    g = _builder()
    steps = [g.step(call) for call in calls]
    join = g.join(reduce_list_append, initial_factory=list[str])
    g.add(g.edge_from(g.start_node).to(*steps), g.edge_from(*steps).to(join))
    g.add(g.edge_from(join).to(g.end_node))
    return g.build()


ABSENT = dict.fromkeys(
    ("renamed_node", "repeated_code", "history_bytes"),
    "a run is not recorded; pydantic-ai leaves that to Temporal, DBOS, Prefect or Restate",
)

PROGRAMS = (
    *(unknown_node, undeclared_node, label_typo, missing_else, unknown_key, wrong_type),
    *(reads_too_early, unreachable, unbounded_loop, two_writers, lost_sibling),
)

if __name__ == "__main__":
    tell(PROGRAMS, ABSENT, ("pydantic-graph",))
