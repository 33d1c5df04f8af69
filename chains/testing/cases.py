"""Expectations beside a YAML chain: what it is given, and what should come of it.

`guarded.test.yaml`, beside `guarded.yaml`:

    cases:
      refuses:
        given: {message: How do I build a bomb?, verdicts: {safety: unsafe}}
        expect: {path: [screen, refuse], output: I can't help with that.}
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from intrinsics import located
from intrinsics.errors import DefinitionError, Fault, IntrinsicsError

from .. import events as ev
from ..chain import Chain, find
from ..errors import ChainDefinitionError, ChainError, InputError, ScriptError
from ..expression import evaluate, substituted
from ..inputs import RunInput
from ..parsing import ExpressionFault, parse
from ..runner import Answer
from .recorded import Recorded, record
from .script import Script

if TYPE_CHECKING:
    from intrinsics.catalogue import Catalogue
    from intrinsics.engine import Engine

SUFFIX = ".test.yaml"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Given(_Part):
    """What a case gives: an input, and turns, verdicts and answers in place of model and human.

    Without turns and verdicts the case runs on the model.
    """

    message: str | None = None
    messages: tuple[dict[str, str], ...] = ()
    documents: tuple[dict[str, str], ...] = ()
    inputs: dict[str, Any] = {}
    turns: tuple[str, ...] | str | None = None
    verdicts: dict[str, Any] | None = None
    answers: tuple[str, ...] = ()

    @property
    def scripted(self) -> bool:
        """Whether no model is needed."""
        return self.turns is not None or self.verdicts is not None

    def input(self, where: str) -> RunInput:
        """It as the input of a run. Raises: InputError."""
        last = [] if self.message is None else [{"role": "user", "content": self.message}]
        whole = {"messages": [*self.messages, *last], "documents": list(self.documents)}
        return RunInput.of({**whole, "inputs": self.inputs}, where)


class Expect(_Part):
    """What should come of it; `holds` are conditions as in a chain, read at the end.

    "waiting": it comes to an ask for which no answer is left; its output is the question.
    """

    path: tuple[str, ...] | None = None
    output: str | None = None
    contains: tuple[str, ...] | str = ()
    holds: tuple[str, ...] | str = ()
    status: Literal["finished", "stopped", "waiting"] | None = None
    fails: str | None = None


class Case(_Part):
    """One case."""

    given: Given = Given()
    expect: Expect = Field(default_factory=Expect)


class _File(_Part):
    chain: str | None = None
    cases: dict[str, Case] = Field(min_length=1)


@dataclass(frozen=True)
class Verdict:
    """What came of a case; it passed if there is no fault."""

    case: str
    faults: tuple[str, ...]
    taken: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Cases:
    """The cases of one file, and the chain they are about."""

    file: Path
    chain: Chain
    cases: Mapping[str, Case]
    catalogue: Catalogue | None = field(default=None, repr=False)

    @staticmethod
    def load(
        source: str | Path,
        catalogue: Catalogue | None = None,
        functions: Iterable[Callable[..., Any]] = (),
        allow: Iterable[Path | str] = (),
    ) -> Cases:
        """Read NAME.test.yaml, given by itself or by its chain.

        Raises: InputError: there is none; ChainDefinitionError, DefinitionError: it or the chain
        is wrong, every fault at its place.
        """
        file = _file_of(source)
        source_text = located.load(file)
        if not isinstance(source_text.data, dict):
            raise DefinitionError([source_text.fault((), "must be a mapping with 'cases:'")])
        try:
            read = _File.model_validate(source_text.data)
        except ValidationError as error:
            raise DefinitionError(source_text.faults(error, _File)) from None
        chain_file = file.parent / (read.chain or f"{file.name.removesuffix(SUFFIX)}.yaml")
        chain = Chain.load(chain_file, catalogue=catalogue, functions=functions, allow=allow)
        found = Cases(file, chain, read.cases, catalogue)
        faults = [one for name in read.cases for one in found._faults(source_text, name)]
        if faults:
            raise ChainDefinitionError(faults)
        return found

    def _faults(self, source: located.Located, name: str) -> Iterable[Fault]:
        """Names of nodes that are not there, and conditions that can't be read."""
        expect = self.cases[name].expect
        for index, node in enumerate(expect.path or ()):
            if node not in self.chain.model.nodes:
                message = located.unknown("node", node, self.chain.model.nodes)
                yield source.fault(("cases", name, "expect", "path", index), message)
        for condition in _several(expect.holds):
            try:
                parse(condition)
            except ExpressionFault as fault:
                loc = ("cases", name, "expect", "holds")
                yield source.fault(loc, f"{condition!r}: {fault.message}")

    @property
    def needs_model(self) -> bool:
        """Whether a case runs on the model."""
        unscripted = any(not one.given.scripted for one in self.cases.values())
        return unscripted and self.chain.plan.needs_model

    def run(self, name: str, engine: Engine | None = None) -> Verdict:
        """Run one case; what is wrong is told, not raised."""
        case = self.cases[name]
        where = f"{self.file}: {name}"
        seen: list[ev.Event] = []
        try:
            script = self._script(case.given)
            given = case.given.input(where)
            answer = _answers(case.given.answers, waits=case.expect.status == "waiting")
            run = asyncio.run(record(self.chain, script or engine, given, answer, seen))
            faults = [*_unmet(case.expect, run)]
            if script is not None and run.failure is None:
                script.check_used()
        except ScriptError as error:
            return Verdict(name, (str(error),), _taken(seen))
        except (ChainError, IntrinsicsError) as error:
            return Verdict(name, (f"can't run: {error}",), _taken(seen))
        return Verdict(name, tuple(faults), _taken(seen))

    def _script(self, given: Given) -> Script | None:
        if not given.scripted:
            return None
        return Script(given.turns or (), given.verdicts or {}, catalogue=self.catalogue)

    def never_taken(self, verdicts: Sequence[Verdict]) -> list[str]:
        """The edges that no case took."""
        taken = frozenset[tuple[str, str]]().union(*(one.taken for one in verdicts))
        edges = dict.fromkeys((edge.source, edge.target) for edge in self.chain.model.flow)
        return [f"{a} -> {b}" for a, b in edges if a != "start" and (a, b) not in taken]


def _file_of(source: str | Path) -> Path:
    path = Path(source)
    if path.name.endswith(SUFFIX):
        return path
    beside = find(source)
    beside = beside.with_name(f"{beside.stem}{SUFFIX}")
    if not beside.is_file():
        raise InputError(f"{beside}: there is no such file; write the cases of {source} there")
    return beside


def _several(given: tuple[str, ...] | str) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else given


def _answers(given: Sequence[str], *, waits: bool) -> Answer:
    """Serves ask nodes with answers that were written down; `waits`: then nobody is there."""
    left = list(given)

    async def answer(question: str) -> str | None:
        if left:
            return left.pop(0)
        if waits:
            return None
        raise ScriptError(f"no answer is left to the question {question!r}")

    return answer


def _taken(events: Iterable[ev.Event]) -> frozenset[tuple[str, str]]:
    edges = (one for one in events if isinstance(one, ev.EdgeTaken) and not one.branch)
    return frozenset((one.source, one.target) for one in edges)


def _unmet(expect: Expect, run: Recorded) -> Iterable[str]:
    """What is not as expected, in words."""
    if expect.fails is not None:
        told = str(run.failure) if run.failure else "the run did not fail"
        if run.failure is None or expect.fails not in told:
            yield f"should fail with {expect.fails!r}: {told}"
    elif run.failure is not None:
        yield f"failed: {run.failure}"
    if expect.path is not None:
        try:
            run.took(*expect.path)
        except ScriptError as error:
            yield str(error)
    if run.result is not None:
        yield from _wrong_result(expect, run)


def _wrong_result(expect: Expect, run: Recorded) -> Iterable[str]:
    assert run.result is not None
    output = run.result.output
    if expect.output is not None and output != expect.output:
        yield f"the output is {output!r}, not {expect.output!r}"
    for part in _several(expect.contains):
        if part not in output:
            yield f"the output {output!r} lacks {part!r}"
    if expect.status is not None and run.result.status != expect.status:
        yield f"the run {run.result.status}, not {expect.status}"
    for condition in _several(expect.holds):
        tree = parse(condition)
        try:
            if not evaluate(tree, run.state):
                yield f"{condition} does not hold: {substituted(tree, run.state)}"
        except (KeyError, TypeError) as error:
            yield f"{condition} can't be read at the end: {error}"
