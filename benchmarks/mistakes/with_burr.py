"""Mistakes made with Burr: state typed by pydantic, transitions declared, a persister is there.

python benchmarks/mistakes/with_burr.py MISTAKE
"""

from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal

from burr.core import Application, ApplicationBuilder, ApplicationContext, State, action, when
from burr.core.parallelism import MapActions
from burr.core.persistence import SQLitePersister
from burr.integrations.pydantic import PydanticTypingSystem
from pydantic import BaseModel, ConfigDict
from telling import TURNS, Steps, Told, folder, question_of, reply_to, size_of, tell


class Typed(BaseModel):
    """As strict as pydantic gets."""

    model_config = ConfigDict(strict=True, extra="forbid", validate_assignment=True)
    question: str = "?"
    verdict: Literal["safe", "unsafe"] = "safe"
    score: int = 0


@action(reads=[], writes=[])
def look(state: State) -> State:
    return state


@action(reads=["question"], writes=["answer"])
def answer(state: State) -> State:
    return state.update(answer="forty-two")


@action.pydantic(reads=[], writes=["verdict"])
def screen(state: Typed) -> Typed:
    state.verdict = "unsafe"
    return state


def unknown_node(told: Told) -> None:
    app = (
        ApplicationBuilder()
        .with_actions(look, answer)
        .with_transitions(("look", "anwser"))
        .with_entrypoint("look")
        .with_state(question="?")
        .build()
    )
    told.runs()
    app.run(halt_after=["answer"])


def label_typo(told: Told) -> None:
    app = (
        ApplicationBuilder()
        .with_actions(screen, reply=look.bind(), refuse=look.bind())
        .with_transitions(
            ("screen", "reply", when(verdict="safe")), ("screen", "refuse", when(verdict="unsave"))
        )
        .with_entrypoint("screen")
        .with_typing(PydanticTypingSystem(Typed))
        .with_state(Typed())
        .build()
    )
    told.runs()
    last, _, _ = app.run(halt_after=["reply", "refuse"])
    told.lost_if(last.name == "screen", "the refusal")


def missing_else(told: Told) -> None:
    app = (
        ApplicationBuilder()
        .with_actions(look, answer)
        .with_transitions(("look", "answer", when(question="the answer?")))
        .with_entrypoint("look")
        .with_state(question="?")
        .build()
    )
    told.runs()
    last, _, _ = app.run(halt_after=["answer"])
    told.lost_if(last.name == "look", "the answer")


def unknown_key(told: Told) -> None:
    @action.pydantic(reads=[], writes=["score"])
    def judge(state: Typed) -> Typed:
        state.scor = 3  # type: ignore[attr-defined]
        return state

    _judged(told, judge)


def wrong_type(told: Told) -> None:
    @action.pydantic(reads=[], writes=["score"])
    def judge(state: Typed) -> Typed:
        state.score = "high"  # type: ignore[assignment]
        return state

    _judged(told, judge)


def _judged(told: Told, judge: Any) -> None:
    app = (
        ApplicationBuilder()
        .with_actions(judge)
        .with_entrypoint("judge")
        .with_typing(PydanticTypingSystem(Typed))
        .with_state(Typed())
        .build()
    )
    told.runs()
    app.run(halt_after=["judge"])


def reads_too_early(told: Told) -> None:
    @action(reads=["answer"], writes=["question"])
    def shout(state: State) -> State:
        return state.update(question=state["answer"].upper())

    app = (
        ApplicationBuilder()
        .with_actions(shout, answer)
        .with_transitions(("shout", "answer"))
        .with_entrypoint("shout")
        .with_state(question="?")
        .build()
    )
    told.runs()
    app.run(halt_after=["answer"])


def unreachable(told: Told) -> None:
    app = (
        ApplicationBuilder()
        .with_actions(look, answer)
        .with_entrypoint("look")
        .with_state(question="?")
        .build()
    )
    told.runs()
    _, _, state = app.run(halt_after=["look", "answer"])
    told.lost_if("answer" not in state, "the answer")


def unbounded_loop(told: Told) -> None:
    steps = Steps(told)

    @action(reads=[], writes=[])
    def again(state: State) -> State:
        steps.one()
        return state

    app = (
        ApplicationBuilder()
        .with_actions(again, answer)
        .with_transitions(("again", "answer", when(question="the answer?")), ("again", "again"))
        .with_entrypoint("again")
        .with_state(question="?")
        .build()
    )
    told.runs()
    app.run(halt_after=["answer"])


def renamed_node(told: Told) -> None:
    """A run waits for an answer; in the next release its actions have other names."""

    @action(reads=[], writes=["answer"])
    def take(state: State, said: str) -> State:
        return state.update(answer=said)

    def asking(path: Path, first: str, second: str) -> Application:
        return _recorded(path, (first, second), **{first: look.bind(), second: take.bind()})

    path = folder() / "runs.db"
    asking(path, "look", "ask").run(halt_before=["ask"])
    app = asking(path, "search", "ask_human")
    told.runs()
    _, _, state = app.run(halt_after=["ask_human"], inputs={"said": "this one"})
    told.lost_if("answer" not in state, "the human's answer")


def repeated_code(told: Told) -> None:
    """What is done before the question is an action of its own: there is no other way to wait."""
    sent = []

    @action(reads=[], writes=[])
    def ask(state: State) -> State:
        sent.append("a mail")
        return state

    @action(reads=[], writes=["answer"])
    def take(state: State, said: str) -> State:
        return state.update(answer=said)

    def asking(path: Path) -> Application:
        return _recorded(path, ("ask", "take"), ask=ask, take=take)

    path = folder() / "runs.db"
    asking(path).run(halt_before=["take"])
    told.runs()
    asking(path).run(halt_after=["take"], inputs={"said": "this one"})
    told.lost_if(len(sent) > 1, f"the code before the question ran {len(sent)} times")


def lost_sibling(told: Told) -> None:
    """The sibling has finished when the other branch fails; the run is resumed afterwards.

    What is recorded of branches is what Burr does if not told otherwise: all of them.
    """
    paid, down = [], [True]

    @action(reads=[], writes=["answer"])
    def pay(state: State) -> State:
        paid.append("once")
        return state.update(answer="paid")

    @action(reads=[], writes=["answer"])
    def fail(state: State) -> State:
        if down:
            raise ConnectionError("down")
        return state.update(answer="!")

    class Both(MapActions):
        def actions(
            self, state: State, context: ApplicationContext, inputs: dict[str, Any]
        ) -> Generator[Any, None, None]:
            yield pay
            yield fail

        def reduce(self, state: State, states: Generator[State, None, None]) -> State:
            return state.update(answer=[one["answer"] for one in states])

        @property
        def reads(self) -> list[str]:
            return []

        @property
        def writes(self) -> list[str]:
            return ["answer"]

    path = folder() / "runs.db"
    told.runs()
    try:
        _recorded(path, ("both", "look"), both=Both(), look=look.bind()).run(halt_after=["both"])
    except ConnectionError:
        down.clear()
    _recorded(path, ("both", "look"), both=Both(), look=look.bind()).run(halt_after=["both"])
    told.lost_if(len(paid) > 1, f"the finished branch ran {len(paid)} times")


def history_bytes(told: Told) -> None:
    """Each turn adds a question and a reply to the messages."""

    @action(reads=["messages"], writes=["messages"])
    def ask(state: State, question: str) -> State:
        return state.append(messages=question)

    @action(reads=["messages"], writes=["messages"])
    def reply(state: State) -> State:
        return state.append(messages=reply_to(state["messages"][-1]))

    path = folder() / "runs.db"
    app = _recorded(path, ("ask", "reply"), ("reply", "ask"), ask=ask, reply=reply)
    told.runs()
    for turn in range(TURNS):
        app.run(halt_after=["reply"], inputs={"question": question_of(turn)})
    told.bytes = size_of(path)


def _recorded(path: Path, *transitions: tuple[str, str], **actions: Any) -> Application:
    """An application whose run is in a file, and goes on from there if there is one."""
    persister = SQLitePersister(str(path), connect_kwargs={"check_same_thread": False})
    persister.initialize()
    return (
        ApplicationBuilder()
        .with_actions(**actions)
        .with_transitions(*transitions)
        .initialize_from(
            persister,
            resume_at_next_action=True,
            default_state={"messages": []},
            default_entrypoint=transitions[0][0],
        )
        .with_state_persister(persister)
        .with_identifiers(app_id="1", partition_key="1")
        .build()
    )


ABSENT = {
    "undeclared_node": "an action goes nowhere by itself; all transitions are declared",
    "two_writers": "branches have states of their own, which the caller's code joins",
}

PROGRAMS = (
    *(unknown_node, label_typo, missing_else, unknown_key, wrong_type),
    *(reads_too_early, unreachable, unbounded_loop),
    *(renamed_node, repeated_code, lost_sibling, history_bytes),
)

if __name__ == "__main__":
    tell(PROGRAMS, ABSENT, ("apache-burr",))
