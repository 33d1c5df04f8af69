"""What stands in the model's place in a test: turns and verdicts that were written down."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from types import TracebackType
from typing import Any

from intrinsics.catalogue import Catalogue
from intrinsics.errors import NO_MODELS, IntrinsicsError
from intrinsics.messages import Document, Message
from intrinsics.reads import check_reads, settled_distribution
from intrinsics.sampling import Sampling
from intrinsics.spec import Definition

from ..errors import ScriptError
from ..talk import PlainOpener, PlainTalk
from ..written import Answer, distribution, value_of
from .played import PlayedFanOut, PlayedGeneration, PlayedJob, PlayedModel, PlayedVerdict


class Script:
    """Answers what a chain asks of the model, in an engine's place; no model is loaded.

        with Script(turns=["Paris."], verdicts={"safety": ["safe"]}) as script:
            result = chain.run(script, given)

    `turns` are the replies in the order they are asked for, `verdicts` those of each intrinsic in
    its order. A value that is no list is given as often as it is asked for.
    Leaving the `with` block raises a ScriptError if something was not used.
    """

    def __init__(
        self,
        turns: Sequence[str] | str = (),
        verdicts: Mapping[str, Sequence[Answer] | Answer] | None = None,
        *,
        catalogue: Catalogue | None = None,
    ) -> None:
        """Prepare it. Raises: ScriptError, RequestError: an intrinsic or a value there can't be."""
        self.catalogue = catalogue or Catalogue()
        self.chat = None  # nothing is read by tokens
        self.model = PlayedModel()
        self._turns = _Lines("turn", turns)
        self._verdicts: dict[str, _Lines] = {}
        self._settled: dict[str, None] = {}  # those with verdicts that were settled without asking
        for name, given in (verdicts or {}).items():
            definition = self.catalogue.get(name)
            lines = _Lines(name, given)
            for answer in lines.all:
                _distribution(definition, answer)
            self._verdicts[name] = lines

    @staticmethod
    def random(seed: int, catalogue: Catalogue | None = None) -> Script:
        """Any valid answer to anything: labels, probabilities and texts drawn by `seed`."""
        return _Random(seed, catalogue)

    def __enter__(self) -> Script:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.check_used()

    def check_used(self) -> None:
        """Raises: ScriptError: some of it was never asked for; all of that is named."""
        left = [text for one in (self._turns, *self._verdicts.values()) for text in one.left()]
        if left:
            told = f"the run never came to {'; '.join(left)}"
            settled = [name for name in self._settled if any(self._verdicts[name].left())]
            for name in settled:
                told += f"; {name} was not asked where there were no documents"
            raise ScriptError(told)

    def conversation(
        self, messages: Iterable[Message] = (), documents: Iterable[Document] = ()
    ) -> PlainTalk:
        """A conversation of plain text."""
        return PlainOpener().conversation(messages, documents)

    def prefill(self, conversation: PlainTalk) -> None:
        """There is nothing to compute."""

    def stream(
        self, conversation: PlainTalk, sampling: Sampling | None = None, watch: Any = None
    ) -> PlayedGeneration:
        """The next turn, word by word. Raises: ScriptError: there is none."""
        if watch is not None:
            raise ScriptError("guards of sentences need a model; script a guard of the reply")
        return PlayedGeneration(conversation, self.turn())

    def turn(self) -> str:
        """The next reply. Raises: ScriptError: there is none."""
        return str(self._turns.next())

    def answer(self, definition: Definition) -> Answer:
        """The next verdict of an intrinsic. Raises: ScriptError: there is none."""
        if definition.name not in self._verdicts:
            known = ", ".join(self._verdicts) or "none"
            raise ScriptError(f"the script has no verdicts of {definition.name}; it has {known}")
        answer: Answer = self._verdicts[definition.name].next()
        return answer

    def fan_out(
        self, conversation: PlainTalk, intrinsics: Sequence[str], arguments: Any = None
    ) -> PlayedFanOut:
        """The next verdict of each; what the engine refuses to ask is refused here too.

        Raises: ScriptError: there is none; ConversationError: it lacks what is judged.
        """
        return PlayedFanOut(tuple(self._verdict(name, conversation) for name in intrinsics))

    def submit(
        self, conversation: PlainTalk, intrinsics: Sequence[str], arguments: Any = None
    ) -> PlayedJob:
        """`fan_out`, as a job that is done."""
        return PlayedJob(self.fan_out(conversation, intrinsics, arguments))

    def submit_all(
        self, requests: Iterable[tuple[PlainTalk, Sequence[str], Any]]
    ) -> list[PlayedJob]:
        """`submit` for several; one that can't be asked fails alone, as the engine's does."""
        jobs = []
        for request in requests:
            try:
                jobs.append(self.submit(*request))
            except IntrinsicsError as error:
                jobs.append(PlayedJob(error))
        return jobs

    def _verdict(self, name: str, talk: PlainTalk) -> PlayedVerdict:
        definition = self.catalogue.get(name)
        known = settled_distribution(definition, talk)
        if known is not None:
            if name in self._verdicts:
                self._settled[name] = None
            return PlayedVerdict(name, definition.value_of(known), known, asked=False)
        check_reads(definition, talk)
        answer = self.answer(definition)
        found = _distribution(definition, answer)
        return PlayedVerdict(name, value_of(definition, answer, found), found)


class _Random(Script):
    """Draws instead of reading."""

    def __init__(self, seed: int, catalogue: Catalogue | None = None) -> None:
        super().__init__(catalogue=catalogue)
        self._draw = Random(seed)

    def turn(self) -> str:
        words = ("one", "two", "yes", "no", "perhaps", "Paris", "17")
        return " ".join(self._draw.choices(words, k=self._draw.randint(1, 6)))

    def answer(self, definition: Definition) -> Answer:
        labels = definition.output.labels
        if not labels:
            return self.turn()
        weights = [self._draw.expovariate(1) + 1e-9 for _ in labels]
        return {label: one / sum(weights) for label, one in zip(labels, weights, strict=True)}


class _Lines:
    """What is said one after another, or one thing again and again."""

    def __init__(self, what: str, given: Any) -> None:
        self.what = what
        self._always = not isinstance(given, Sequence) or isinstance(given, str)
        self.all: list[Any] = [given] if self._always else list(given)
        self._used = 0

    def next(self) -> Any:
        """Raises: ScriptError: all of it has been said."""
        if self._always:
            self._used = 1
            return self.all[0]
        if self._used == len(self.all):
            raise ScriptError(
                f"the script has {len(self.all)} of {self.what}, and one more is asked for"
            )
        self._used += 1
        return self.all[self._used - 1]

    def left(self) -> Iterator[str]:
        """What was not said."""
        for number, line in enumerate(self.all[self._used :], start=self._used + 1):
            yield f"{self.what} {number}, {line!r}"


def _distribution(definition: Definition, answer: Answer) -> dict[str, float]:
    """Raises: ScriptError: no answer of that intrinsic."""
    try:
        return distribution(definition, answer)
    except ValueError as error:
        raise ScriptError(str(error)) from None


@contextmanager
def no_models() -> Iterator[None]:
    """Loading a model fails inside: a test that should need none is told where it does."""
    before = os.environ.get(NO_MODELS)
    os.environ[NO_MODELS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[NO_MODELS]
        else:
            os.environ[NO_MODELS] = before
