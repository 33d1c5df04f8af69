"""Mistakes made with Haystack: components with declared inputs and outputs, in a pipeline.

python benchmarks/mistakes/with_haystack.py MISTAKE
"""

from typing import Any

from haystack import Pipeline, component
from haystack.components.joiners import BranchJoiner
from haystack.components.routers import ConditionalRouter
from haystack.core.errors import BreakpointException, PipelineRuntimeError
from haystack.dataclasses.breakpoints import Breakpoint
from telling import Steps, Told, tell


@component
class Look:
    @component.output_types(found=str)
    def run(self, question: str) -> dict[str, str]:
        return {"found": question}


@component
class Answer:
    @component.output_types(answer=str)
    def run(self, found: str) -> dict[str, str]:
        return {"answer": "forty-two"}


@component
class Screen:
    @component.output_types(verdict=str)
    def run(self, question: str) -> dict[str, str]:
        return {"verdict": "unsafe"}


@component
class Judge:
    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found

    @component.output_types(score=int)
    def run(self, question: str) -> dict[str, Any]:
        return self.found


def unknown_node(told: Told) -> None:
    pipeline = Pipeline()
    pipeline.add_component("look", Look())
    pipeline.add_component("answer", Answer())
    pipeline.connect("look.found", "anwser.found")
    told.runs()
    pipeline.run({"look": {"question": "?"}})


def label_typo(told: Told) -> None:
    pipeline = Pipeline()
    pipeline.add_component("screen", Screen())
    pipeline.add_component("route", ConditionalRouter([_way("safe"), _way("unsave")]))
    pipeline.connect("screen.verdict", "route.verdict")
    told.runs()
    pipeline.run({"screen": {"question": "?"}})


def missing_else(told: Told) -> None:
    pipeline = Pipeline()
    pipeline.add_component("screen", Screen())
    pipeline.add_component("route", ConditionalRouter([_way("safe")]))
    pipeline.connect("screen.verdict", "route.verdict")
    told.runs()
    pipeline.run({"screen": {"question": "?"}})


def unknown_key(told: Told) -> None:
    found = _judged(told, {"scor": 3})
    told.lost_if("scor" not in found, "the value")


def wrong_type(told: Told) -> None:
    found = _judged(told, {"score": "high"})
    told.lost_if(found["score"] == "high", "the type: a text stands for a number")


def _judged(told: Told, output: dict[str, Any]) -> dict[str, Any]:
    pipeline = Pipeline()
    pipeline.add_component("judge", Judge(output))
    told.runs()
    found: dict[str, Any] = pipeline.run({"judge": {"question": "?"}})["judge"]
    return found


def reads_too_early(told: Told) -> None:
    """The component reads what no connection brings."""
    pipeline = Pipeline()
    pipeline.add_component("answer", Answer())
    told.runs()
    pipeline.run({})


def unreachable(told: Told) -> None:
    """Nothing is connected to the component that answers."""
    pipeline = Pipeline()
    pipeline.add_component("look", Look())
    pipeline.add_component("answer", Answer())
    told.runs()
    pipeline.run({"look": {"question": "?"}})


def unbounded_loop(told: Told) -> None:
    steps = Steps(told)

    @component
    class Again:
        @component.output_types(verdict=str, question=str)
        def run(self, question: str) -> dict[str, str]:
            steps.one()
            return {"verdict": "unsafe", "question": question}

    pipeline = Pipeline()
    pipeline.add_component("join", BranchJoiner(str))
    pipeline.add_component("again", Again())
    pipeline.add_component("route", ConditionalRouter([_way("safe"), _way("unsafe")]))
    pipeline.connect("join.value", "again.question")
    pipeline.connect("again.verdict", "route.verdict")
    pipeline.connect("route.unsafe", "join.value")
    told.runs()
    pipeline.run({"join": {"value": "?"}})


def two_writers(told: Told) -> None:
    pipeline = Pipeline()
    pipeline.add_component("one", Look())
    pipeline.add_component("two", Look())
    pipeline.add_component("answer", Answer())
    pipeline.connect("one.found", "answer.found")
    pipeline.connect("two.found", "answer.found")
    told.runs()
    pipeline.run({"one": {"question": "?"}, "two": {"question": "?"}})


def renamed_node(told: Told) -> None:
    """A run stops at a breakpoint; in the next release its components have other names."""

    def pipeline(first: str, second: str) -> Pipeline:
        made = Pipeline()
        made.add_component(first, Look())
        made.add_component(second, Answer())
        made.connect(f"{first}.found", f"{second}.found")
        return made

    snapshot = _stopped(pipeline("look", "answer"), "answer", {"look": {"question": "?"}})
    resumed = pipeline("search", "reply")
    told.runs()
    resumed.run({}, pipeline_snapshot=snapshot)


def repeated_code(told: Told) -> None:
    """A breakpoint is the only way to wait; a human's answer can't be handed in there."""
    sent = []

    @component
    class Ask:
        @component.output_types(found=str)
        def run(self, question: str) -> dict[str, str]:
            sent.append("a mail")
            return {"found": question}

    pipeline = Pipeline()
    pipeline.add_component("ask", Ask())
    pipeline.add_component("answer", Answer())
    pipeline.connect("ask.found", "answer.found")
    told.runs()
    snapshot = _stopped(pipeline, "answer", {"ask": {"question": "?"}})
    pipeline.run({}, pipeline_snapshot=snapshot)
    told.lost_if(len(sent) > 1, f"the code before the question ran {len(sent)} times")


def lost_sibling(told: Told) -> None:
    """The sibling has finished when the other branch fails; the run goes on from the snapshot."""
    paid, down = [], [True]

    @component
    class Pay:
        @component.output_types(paid=str)
        def run(self, question: str) -> dict[str, str]:
            paid.append("once")
            return {"paid": "paid"}

    @component
    class ThenFail:
        @component.output_types(failed=str)
        def run(self, question: str) -> dict[str, str]:
            if down:
                raise ConnectionError("down")
            return {"failed": "!"}

    pipeline = Pipeline()
    pipeline.add_component("a", Pay())  # components that could run at once do so by their names
    pipeline.add_component("b", ThenFail())
    told.runs()
    try:
        pipeline.run({"a": {"question": "?"}, "b": {"question": "?"}})
    except PipelineRuntimeError as error:
        down.clear()
        found = pipeline.run({}, pipeline_snapshot=error.pipeline_snapshot)
    told.lost_if(len(paid) > 1, f"the finished branch ran {len(paid)} times")
    told.lost_if("a" not in found, "the finished branch's result")


def _way(label: str) -> dict[str, Any]:
    """A route that is taken for one verdict."""
    condition = f"{{{{ verdict == '{label}' }}}}"
    return {"condition": condition, "output": label, "output_name": label, "output_type": str}


def _stopped(pipeline: Pipeline, at: str, inputs: dict[str, Any]) -> Any:
    """The snapshot of a run that is stopped before a component."""
    try:
        pipeline.run(inputs, break_point=Breakpoint(at))
    except BreakpointException as stop:
        return stop.pipeline_snapshot
    raise AssertionError("the breakpoint was not reached")


ABSENT = {
    "undeclared_node": "a component goes nowhere by itself; all connections are declared",
    "history_bytes": "a run is not recorded; a snapshot is of one breakpoint or failure",
}

PROGRAMS = (
    *(unknown_node, label_typo, missing_else, unknown_key, wrong_type, reads_too_early),
    *(unreachable, unbounded_loop, two_writers, renamed_node, repeated_code, lost_sibling),
)

if __name__ == "__main__":
    tell(PROGRAMS, ABSENT, ("haystack-ai",))
