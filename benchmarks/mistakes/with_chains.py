"""Mistakes made with alora-chains, in Python or, where Python itself would object, in YAML.

python benchmarks/mistakes/with_chains.py MISTAKE
"""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from telling import TURNS, Told, folder, question_of, size_of, tell

from chains import (
    END,
    START,
    Chain,
    ChainRunError,
    Definition,
    RunInput,
    ask,
    function,
    parallel,
    say,
)
from chains.recorder import Recorder, recorded, resumed
from chains.runner import RunResult, run
from chains.store import Store

CALLS: Counter[str] = Counter()
"""How often functions were called; a chain's functions are those of a module."""


class Judgement(BaseModel):
    """As strict as pydantic gets."""

    model_config = ConfigDict(strict=True, extra="forbid")
    score: int


def look() -> str:
    return "found"


def screen() -> Literal["safe", "unsafe"]:
    return "unsafe"


def shout(text: str) -> str:
    return text.upper()


def unknown_node(told: Told) -> None:
    """In YAML; in Python an edge leads to a name of Python, and its error is a NameError."""
    path = folder() / "careful.yaml"
    path.write_text(
        "chain: careful\n"
        "nodes:\n"
        "  look: {say: Looking.}\n"
        "  answer: {say: Forty-two.}\n"
        "flow:\n"
        "  - start -> look\n"
        "  - look -> anwser\n"
        "  - answer -> end\n"
    )
    chain = Chain.load(path)
    told.runs()
    chain.run(None, RunInput())


def label_typo(told: Told) -> None:
    class Careful(Definition):
        screen = function(screen)
        reply, refuse = say("Forty-two."), say("No.")
        flow = (
            START >> screen,
            screen.when(screen.value == "unsave") >> refuse >> END,
            screen.otherwise >> reply >> END,
        )

    chain = Careful.chain()
    told.runs()
    chain.run(None, RunInput())


def missing_else(told: Told) -> None:
    class Careful(Definition):
        look, answer = function(look), say("Forty-two.")
        flow = (START >> look, look.when(look.value == "nothing") >> answer >> END)

    chain = Careful.chain()
    told.runs()
    chain.run(None, RunInput())


def judge_unknown_key() -> Judgement:
    return Judgement(scor=3)  # type: ignore[call-arg]


def unknown_key(told: Told) -> None:
    class Careful(Definition):
        judged = function(judge_unknown_key)
        flow = (START >> judged >> END,)

    chain = Careful.chain()
    told.runs()
    chain.run(None, RunInput())


def judge_wrong_type() -> int:
    return "high"  # type: ignore[return-value]


def wrong_type(told: Told) -> None:
    class Careful(Definition):
        judged = function(judge_wrong_type)
        flow = (START >> judged >> END,)

    chain = Careful.chain()
    told.runs()
    chain.run(None, RunInput())


def reads_too_early(told: Told) -> None:
    class Careful(Definition):
        answer = function(look)
        shout = function(shout, text=answer.value)
        flow = (START >> shout >> answer >> END,)

    chain = Careful.chain()
    told.runs()
    chain.run(None, RunInput())


def unreachable(told: Told) -> None:
    class Careful(Definition):
        look, answer = function(look), say("Forty-two.")
        flow = (START >> look >> END, answer >> END)

    chain = Careful.chain()
    told.runs()
    chain.run(None, RunInput())


def unbounded_loop(told: Told) -> None:
    """Of nodes that do nothing, so there is nothing to count: it never runs."""

    class Careful(Definition):
        look, answer = function(look), say("Forty-two.")
        flow = (
            START >> look,
            look.when(look.value == "nothing") >> answer >> END,
            look.otherwise >> look,
        )

    chain = Careful.chain()
    told.runs()
    chain.run(None, RunInput())


def two_writers(told: Told) -> None:
    """A node writes its own slot of the state; what two can both write is the conversation."""

    class Careful(Definition):
        both = parallel(one=say("One."), two=say("Two."))
        flow = (START >> both >> END,)

    chain = Careful.chain()
    told.runs()
    chain.run(None, RunInput())


def renamed_node(told: Told) -> None:
    """A run waits for an answer; in the next release its nodes have other names."""

    class Before(Definition):
        name = "careful"
        look, which = function(look), ask("Which?")
        flow = (START >> look >> which >> END,)

    class After(Definition):
        name = "careful"
        search, which_one = function(look), ask("Which?")
        flow = (START >> search >> which_one >> END,)

    path = folder() / "runs.db"
    run_id = _begin(path, Before.chain())
    chain = After.chain()
    told.runs()
    found = _go_on(path, run_id, chain, "this one")
    told.lost_if(found.output != "this one", "the human's answer")


def send() -> str:
    CALLS["mail"] += 1
    return "a mail"


def repeated_code(told: Told) -> None:
    class Careful(Definition):
        sent, which = function(send), ask("Which?")
        flow = (START >> sent >> which >> END,)

    CALLS.clear()
    path, chain = folder() / "runs.db", Careful.chain()
    told.runs()
    _go_on(path, _begin(path, chain), chain, "this one")
    told.lost_if(CALLS["mail"] > 1, f"the code before the question ran {CALLS['mail']} times")


def pay() -> str:
    CALLS["paid"] += 1
    return "paid"


def fail() -> str:
    CALLS["tried"] += 1
    if CALLS["tried"] == 1:
        raise ConnectionError("down")
    return "!"


def lost_sibling(told: Told) -> None:
    """The run is resumed after the failure."""

    class Careful(Definition):
        both = parallel(pay=function(pay), fail=function(fail))
        flow = (START >> both >> END,)

    CALLS.clear()
    path, chain = folder() / "runs.db", Careful.chain()
    told.runs()
    with Store.open(path) as store, recorded(store, chain, RunInput()) as recorder:
        try:
            _play(chain, recorder)
        except ChainRunError:
            told.lost_if(not CALLS["paid"], "the other branch")
    _go_on(path, recorder.run_id, chain)
    told.lost_if(CALLS["paid"] > 1, f"the finished branch ran {CALLS['paid']} times")


def history_bytes(told: Told) -> None:
    """Each turn adds a question and a reply to the conversation of a run, which waits after it."""

    class Chat(Definition):
        question, reply = ask("Next?"), say("Reply: {{ user }}")
        flow = (START >> question >> reply, reply.again(question, at_most=TURNS, then=END))

    path, chain = folder() / "runs.db", Chat.chain()
    told.runs()
    run_id = _begin(path, chain)
    for turn in range(TURNS):
        _go_on(path, run_id, chain, question_of(turn))
    told.bytes = size_of(path)


def _begin(path: Path, chain: Chain) -> str:
    """The id of a recorded run, which waits for an answer now."""
    with Store.open(path) as store, recorded(store, chain, RunInput()) as recorder:
        _play(chain, recorder)
    return recorder.run_id


def _go_on(path: Path, run_id: str, chain: Chain, answer: str | None = None) -> RunResult:
    with Store.open(path) as store:
        if answer is not None:
            store.answer(run_id, answer)
        with resumed(store, run_id, chain) as recorder:
            return _play(chain, recorder)


def _play(chain: Chain, recorder: Recorder) -> RunResult:
    return asyncio.run(run(chain, None, recorder.given, recorder=recorder, alone=True))


ABSENT = {"undeclared_node": "a node goes nowhere by itself; all edges are declared"}

PROGRAMS = (
    *(unknown_node, label_typo, missing_else, unknown_key, wrong_type),
    *(reads_too_early, unreachable, unbounded_loop, two_writers),
    *(renamed_node, repeated_code, lost_sibling, history_bytes),
)

if __name__ == "__main__":
    tell(PROGRAMS, ABSENT, ("alora-chains",))
