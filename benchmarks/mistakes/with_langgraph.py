"""Mistakes made with LangGraph: state is typed, routes are declared, a checkpointer is there.

python benchmarks/mistakes/with_langgraph.py MISTAKE
"""

import operator
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Annotated, Any, Literal, TypedDict

from langgraph.channels import DeltaChannel
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel, ConfigDict
from telling import TURNS, Steps, Told, folder, question_of, reply_to, size_of, tell

THREAD: Any = {"configurable": {"thread_id": "1"}}


class State(TypedDict, total=False):
    question: str
    answer: str


class Typed(BaseModel):
    """As strict as pydantic gets."""

    model_config = ConfigDict(strict=True, extra="forbid", validate_assignment=True)
    question: str
    verdict: Literal["safe", "unsafe"] = "safe"
    score: int = 0


class Chat(TypedDict):
    messages: Annotated[list[str], operator.add]


def extended(before: list[str], written: Sequence[list[str]]) -> list[str]:
    return [*before, *chain.from_iterable(written)]


class ChatInBeta(TypedDict):
    messages: Annotated[list[str], DeltaChannel(extended)]


def answer(state: State) -> State:
    return {"answer": "forty-two"}


def nothing(state: State) -> State:
    return {}


def unknown_node(told: Told) -> None:
    """The router's annotation lists the nodes that it may return."""

    def route(state: State) -> Literal["answer"]:
        return "anwser"  # type: ignore[return-value]

    graph = StateGraph(State)
    graph.add_node("look", nothing)
    graph.add_node("answer", answer)
    graph.add_edge(START, "look")
    graph.add_conditional_edges("look", route)
    graph.add_edge("answer", END)
    app = graph.compile()
    told.runs()
    app.invoke({"question": "?"})


def undeclared_node(told: Told) -> None:
    """The node's annotation lists where it may go."""

    def look(state: State) -> Command[Literal["answer"]]:
        return Command(goto="anwser")

    graph = StateGraph(State)
    graph.add_node("look", look)
    graph.add_node("answer", answer)
    graph.add_edge(START, "look")
    graph.add_edge("answer", END)
    app = graph.compile()
    told.runs()
    found = app.invoke({"question": "?"})
    told.lost_if("answer" not in found, "the answer")


def label_typo(told: Told) -> None:
    """The label's type is known from the state, and the routes are declared as a mapping."""
    graph = StateGraph(Typed)
    graph.add_node("screen", lambda state: {"verdict": "unsafe"})
    graph.add_node("reply", lambda state: {})
    graph.add_node("refuse", lambda state: {})
    graph.add_edge(START, "screen")
    routes = {"safe": "reply", "unsave": "refuse"}
    graph.add_conditional_edges("screen", lambda state: state.verdict, routes)
    graph.add_edge("reply", END)
    graph.add_edge("refuse", END)
    app = graph.compile()
    told.runs()
    app.invoke({"question": "?"})


def missing_else(told: Told) -> None:
    def route(state: State) -> Literal["answer"] | None:
        return "answer" if state["question"] == "the answer?" else None

    graph = StateGraph(State)
    graph.add_node("look", nothing)
    graph.add_node("answer", answer)
    graph.add_edge(START, "look")
    graph.add_conditional_edges("look", route)
    graph.add_edge("answer", END)
    app = graph.compile()
    told.runs()
    app.invoke({"question": "?"})


def unknown_key(told: Told) -> None:
    graph = StateGraph(Typed)
    graph.add_node("judge", lambda state: {"scor": 3})
    graph.add_edge(START, "judge")
    graph.add_edge("judge", END)
    app = graph.compile()
    told.runs()
    found = app.invoke({"question": "?"})
    told.lost_if("scor" not in found, "the value")


def wrong_type(told: Told) -> None:
    graph = StateGraph(Typed)
    graph.add_node("judge", lambda state: {"score": "high"})
    graph.add_edge(START, "judge")
    graph.add_edge("judge", END)
    app = graph.compile()
    told.runs()
    found = app.invoke({"question": "?"})
    told.lost_if(found["score"] == "high", "the type: a text stands for a number")


def reads_too_early(told: Told) -> None:
    graph = StateGraph(State)
    graph.add_node("shout", lambda state: {"question": state["answer"].upper()})
    graph.add_node("answer", answer)
    graph.add_edge(START, "shout")
    graph.add_edge("shout", "answer")
    graph.add_edge("answer", END)
    app = graph.compile()
    told.runs()
    app.invoke({"question": "?"})


def unreachable(told: Told) -> None:
    graph = StateGraph(State)
    graph.add_node("look", nothing)
    graph.add_node("answer", answer)
    graph.add_edge(START, "look")
    graph.add_edge("look", END)
    graph.add_edge("answer", END)
    app = graph.compile()
    told.runs()
    found = app.invoke({"question": "?"})
    told.lost_if("answer" not in found, "the answer")


def unbounded_loop(told: Told) -> None:
    steps = Steps(told)

    def look(state: State) -> State:
        steps.one()
        return {}

    graph = StateGraph(State)
    graph.add_node("look", look)
    graph.add_edge(START, "look")
    graph.add_conditional_edges("look", lambda state: "look", ["look", END])
    app = graph.compile()
    told.runs()
    app.invoke({"question": "?"})


def two_writers(told: Told) -> None:
    graph = StateGraph(State)
    graph.add_node("one", lambda state: {"answer": "one"})
    graph.add_node("two", lambda state: {"answer": "two"})
    for name in ("one", "two"):
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    app = graph.compile()
    told.runs()
    app.invoke({"question": "?"})


def renamed_node(told: Told) -> None:
    """A run waits for an answer; in the next release its nodes have other names."""

    def asking(saver: SqliteSaver, first: str, second: str) -> Any:
        graph = StateGraph(State)
        graph.add_node(first, nothing)
        graph.add_node(second, lambda state: {"answer": interrupt("Which?")})
        graph.add_edge(START, first)
        graph.add_edge(first, second)
        graph.add_edge(second, END)
        return graph.compile(checkpointer=saver)

    with checkpoints() as saver:
        asking(saver, "look", "ask").invoke({"question": "?"}, THREAD)
        app = asking(saver, "search", "ask_human")
        told.runs()
        found = app.invoke(Command(resume="this one"), THREAD)
    told.lost_if("answer" not in found, "the human's answer")


def repeated_code(told: Told) -> None:
    sent = []

    def ask(state: State) -> State:
        sent.append("a mail")
        return {"answer": interrupt("Which?")}

    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    with checkpoints() as saver:
        app = graph.compile(checkpointer=saver)
        told.runs()
        app.invoke({"question": "?"}, THREAD)
        app.invoke(Command(resume="this one"), THREAD)
    told.lost_if(len(sent) > 1, f"the code before the question ran {len(sent)} times")


def lost_sibling(told: Told) -> None:
    """The sibling has finished when the other branch fails; the run is resumed afterwards."""
    paid, down = [], [True]

    def pay(state: State) -> State:
        paid.append("once")
        return {"answer": "paid"}

    def fail(state: State) -> State:
        time.sleep(0.2)
        if down:
            raise ConnectionError("down")
        return {"question": "!"}

    graph = StateGraph(State)
    for name, node in (("pay", pay), ("fail", fail)):
        graph.add_node(name, node)
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    with checkpoints() as saver:
        app = graph.compile(checkpointer=saver)
        told.runs()
        try:
            app.invoke({"question": "?"}, THREAD)
        except ConnectionError:
            down.clear()
        app.invoke(None, THREAD)
    told.lost_if(len(paid) > 1, f"the finished branch ran {len(paid)} times")


def history_bytes(told: Told) -> None:
    """Each turn adds a question and a reply to the messages, by a reducer."""
    told.runs()
    told.bytes = _bytes_of(Chat)
    told.message = f"with DeltaChannel, which is in beta: {_bytes_of(ChatInBeta) / 1e6:.1f} MB"


def _bytes_of(state: type[Chat] | type[ChatInBeta]) -> int:
    graph = StateGraph(state)
    graph.add_node("reply", lambda state: {"messages": [reply_to(state["messages"][-1])]})
    graph.add_edge(START, "reply")
    graph.add_edge("reply", END)
    path = folder() / "runs.db"
    with SqliteSaver.from_conn_string(str(path)) as saver:
        app = graph.compile(checkpointer=saver)
        for turn in range(TURNS):
            app.invoke({"messages": [question_of(turn)]}, THREAD)
    return size_of(path)


@contextmanager
def checkpoints() -> Iterator[SqliteSaver]:
    with SqliteSaver.from_conn_string(str(folder() / "runs.db")) as saver:
        yield saver


PROGRAMS = (
    *(unknown_node, undeclared_node, label_typo, missing_else, unknown_key, wrong_type),
    *(reads_too_early, unreachable, unbounded_loop, two_writers),
    *(renamed_node, repeated_code, lost_sibling, history_bytes),
)

if __name__ == "__main__":
    tell(PROGRAMS, {}, ("langgraph", "langgraph-checkpoint-sqlite"))
