"""Mistakes made with alora-chains, in Python or, where Python itself would object, in YAML.

python benchmarks/mistakes/with_chains.py MISTAKE
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict
from telling import Told, folder, tell

from chains import END, START, Chain, Definition, RunInput, function, parallel, say


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


ABSENT = {
    "undeclared_node": "a node goes nowhere by itself; all edges are declared",
    **dict.fromkeys(
        ("renamed_node", "repeated_code", "lost_sibling", "history_bytes"),
        "a run is not recorded yet",
    ),
}

PROGRAMS = (
    *(unknown_node, label_typo, missing_else, unknown_key, wrong_type),
    *(reads_too_early, unreachable, unbounded_loop, two_writers),
)

if __name__ == "__main__":
    tell(PROGRAMS, ABSENT, ("alora-chains",))
