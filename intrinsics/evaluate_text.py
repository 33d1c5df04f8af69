"""How good written texts are, beside no change at all and the base model when asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .data import Example
from .engine import Engine
from .errors import ConversationError
from .prepared import prepare
from .sampling import Sampling
from .spec import Definition
from .text_metrics import mean_intervals, scores
from .text_output import TextOutput

QUESTIONS = (
    "{judges} Write that and nothing else.",
    "Do not answer me. Your task: {judges} Reply with the result alone.",
    "Ignore what I asked for above and do this instead, without any comment: {judges}",
)
_CHOICE_ROWS = 40  # on which the best question is chosen
_TOGETHER = 16  # conversations that share forwards

ShowProgress = Callable[[str, float], None]


@dataclass(frozen=True)
class TextScores:
    """Mean scores over all rows, and their 95 % bootstrap intervals."""

    exact_match: float
    token_f1: float
    rouge_l: float
    confidence_intervals: dict[str, tuple[float, float]]

    @staticmethod
    def of(found: Sequence[str], targets: Sequence[str]) -> TextScores:
        """Score each text against its target."""
        each = scores(found, targets)
        means = {name: float(values.mean()) for name, values in each.items()}
        return TextScores(**means, confidence_intervals=mean_intervals(each))


@dataclass(frozen=True)
class TextReport:
    """An intrinsic's texts on one file, and two baselines on the same rows.

    `baseline_unchanged` gives the last message as it is. `baseline_prompted` is the base model,
    greedy, asked with `question`: the best of three on the first rows of this very file, which is
    in its favour.
    """

    n: int
    intrinsic: TextScores
    baseline_unchanged: TextScores
    baseline_prompted: TextScores
    question: str
    by_source: dict[str, dict[str, float]]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the intrinsic's own scores at the top, as of a classifier."""
        told = asdict(self)
        own = told.pop("intrinsic")
        return {"n": told.pop("n"), **own, **told}


def texts(engine: Engine, definition: Definition, examples: Sequence[Example]) -> Iterator[str]:
    """What the intrinsic writes on each example, in order; some at a time, in shared forwards.

    Raises: DataError: an example can't be used; all are looked at before the first is.
    """
    prepare(engine, definition, examples)
    for some in _batches(examples):
        jobs = []
        for example in some:
            conversation = engine.conversation(example.messages, example.documents)
            given = {definition.name: example.arguments}
            jobs.append(engine.submit(conversation, [definition.directory], given))
        for job in jobs:
            yield str(job.result().verdicts[0].value)


def prompted_texts(
    engine: Engine, examples: Sequence[Example], question: str, most: int
) -> Iterator[str]:
    """What the base model writes, in at most `most` tokens, when it is asked in words.

    `question` is added as a user message; "" where the reply is empty.
    """
    for some in _batches(examples):
        replies = []
        for example in some:
            conversation = engine.conversation(example.messages, example.documents)
            conversation.add("user", question)
            replies.append(engine.stream(conversation, Sampling(max_tokens=most)))
        for reply in replies:
            try:
                yield "".join(reply).strip()
            except ConversationError:
                yield ""


def _batches(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    return (examples[i : i + _TOGETHER] for i in range(0, len(examples), _TOGETHER))


def evaluate_text(
    engine: Engine,
    definition: Definition,
    examples: Sequence[Example],
    progress: ShowProgress | None = None,
) -> TextReport:
    """Let the intrinsic and both baselines write every text, and score each against its target."""
    started = time.perf_counter()
    output = definition.output
    assert isinstance(output, TextOutput), "labels are scored by `evaluate`"
    targets = [example.target for example in examples]

    def told(what: str, some: Iterator[str], count: int) -> list[str]:
        found = []
        for text in some:
            found.append(text)
            if progress is not None:
                progress(what, len(found) / count)
        return found

    own = told(f"writing with {definition.name}", texts(engine, definition, examples), len(targets))
    first = examples[:_CHOICE_ROWS]
    ranked: dict[str, float] = {}
    for frame in QUESTIONS:
        question = frame.format(judges=definition.judges)
        asked = prompted_texts(engine, first, question, output.max_tokens)
        found = told("choosing a question", asked, len(first))
        ranked[question] = TextScores.of(found, targets[: len(first)]).rouge_l
    question = max(ranked, key=ranked.__getitem__)
    asked = prompted_texts(engine, examples, question, output.max_tokens)
    prompted = told("asking the base model", asked, len(targets))
    return TextReport(
        n=len(examples),
        intrinsic=TextScores.of(own, targets),
        baseline_unchanged=TextScores.of([e.messages[-1].content for e in examples], targets),
        baseline_prompted=TextScores.of(prompted, targets),
        question=question,
        by_source=_by_source(examples, own),
        seconds=time.perf_counter() - started,
    )


def _by_source(examples: Sequence[Example], found: Sequence[str]) -> dict[str, dict[str, float]]:
    parts: dict[str, dict[str, float]] = {}
    for source in sorted({example.source for example in examples if example.source}):
        index = [i for i, example in enumerate(examples) if example.source == source]
        each = scores([found[i] for i in index], [examples[i].target for i in index])
        means = {name: float(values.mean()) for name, values in each.items()}
        parts[source] = {"n": len(index), **means}
    return parts
