"""How good an intrinsic is on labelled data, and how good the base model is when it is asked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .data import Example
from .engine import Engine
from .judged import Cost, Judged, cost, judge
from .metrics import METRICS, PerfectEce, Predictions, accuracy, intervals, perfect_ece
from .model import Row
from .readout import Candidates, Ids
from .spec import Definition

Distribution = Mapping[str, float]


@dataclass(frozen=True)
class Report:
    """The scores of an intrinsic on one file; an undefined one (a single class) is None.

    `ece_if_perfect` is what a perfectly calibrated judge would show on as many rows.
    """

    n: int
    accuracy: float
    balanced_accuracy: float
    f1: float | None
    auroc: float | None
    ece: float
    ece_if_perfect: PerfectEce
    confidence_intervals: dict[str, tuple[float, float] | None]
    baseline_majority: float
    by_source: dict[str, dict[str, float]]
    seconds: float
    cost: Cost | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def distributions(
    engine: Engine, definition: Definition, examples: Sequence[Example]
) -> Iterator[dict[str, float]]:
    """The raw distribution of the intrinsic on each example, in order.

    Raises: DataError: an example can't be judged; all are looked at before the first is.
    """
    for one in judge(engine, definition, examples):
        yield one.verdict.raw_distribution


def prompted(
    engine: Engine, definition: Definition, examples: Sequence[Example], question: str
) -> Iterator[dict[str, float]]:
    """What the base model says when it is asked in words, scored over the same labels.

    `question` is added as a user message; the labels are scored as the beginning of the reply.
    """
    labels = {label: engine.chat.text(label) for label in definition.output.labels}
    candidates = Candidates.of(labels, engine.chat.end_id)
    for example in examples:
        conversation = engine.conversation(example.messages, example.documents)
        conversation.add("user", question)
        head = (*conversation.ids, *engine.chat.reply_head(conversation.roles))
        yield _score(engine, head, candidates)


@torch.inference_mode()
def _score(engine: Engine, prompt: Ids, candidates: Candidates) -> dict[str, float]:
    branch = engine.model.tree.branch()
    rows = [Row(prompt, branch, read=(len(prompt) - 1,))]
    rows += [Row(run, branch, after=0, read=tuple(range(len(run)))) for run in candidates.extra]
    first, *others = engine.model.forward(rows)
    logits: dict[Ids, Tensor] = {(): first[0]}
    for run, part in zip(candidates.extra, others, strict=True):
        logits |= {run[: i + 1]: part[i] for i in range(len(run))}
    return candidates.distribution(logits)


def evaluate(
    engine: Engine,
    definition: Definition,
    examples: Sequence[Example],
    progress: Callable[[str, float], None] | None = None,
) -> Report:
    """Judge every example and score the verdicts against the labels."""
    started = time.perf_counter()
    judged = judge_all(engine, definition, examples, progress)
    found = [one.verdict.distribution for one in judged]
    return report(definition, examples, found, time.perf_counter() - started, cost(judged))


def judge_all(
    engine: Engine,
    definition: Definition,
    examples: Sequence[Example],
    progress: Callable[[str, float], None] | None = None,
) -> list[Judged]:
    """Judge every example; `progress` is told the share that is done."""
    judged: list[Judged] = []
    for one in judge(engine, definition, examples):
        judged.append(one)
        if progress is not None:
            progress(f"judging with {definition.name}", len(judged) / len(examples))
    return judged


def report(
    definition: Definition,
    examples: Sequence[Example],
    found: Sequence[Distribution],
    seconds: float,
    spent: Cost | None = None,
) -> Report:
    """The scores of distributions that were found before."""
    scored = predictions(definition, examples, found)
    sources = sorted({example.source for example in examples if example.source})
    by_source: dict[str, dict[str, float]] = {}
    for source in sources:
        index = np.array([i for i, e in enumerate(examples) if e.source == source])
        part = scored.take(index)
        by_source[source] = {"n": len(index), "accuracy": accuracy(part)}
        ranking = METRICS["auroc"](part)
        if ranking is not None:
            by_source[source]["auroc"] = ranking
    most = Counter(example.label for example in examples).most_common(1)[0][1]
    scores: dict[str, Any] = {name: metric(scored) for name, metric in METRICS.items()}
    return Report(
        n=len(examples),
        **scores,
        ece_if_perfect=perfect_ece(scored),
        confidence_intervals=intervals(scored),
        baseline_majority=most / len(examples),
        by_source=by_source,
        seconds=seconds,
        cost=spent,
    )


def predictions(
    definition: Definition, examples: Sequence[Example], found: Sequence[Distribution]
) -> Predictions:
    """The examples' labels and what was found, as indices into the definition's labels."""
    labels = list(definition.output.labels)
    shares = np.array([[distribution[label] for label in labels] for distribution in found])
    best = np.array([labels.index(definition.label_of(distribution)) for distribution in found])
    positive = definition.output.positive
    at = None if positive is None else labels.index(positive)
    return Predictions(
        truth=np.array([labels.index(example.label) for example in examples]),
        found=best,
        confidence=shares[np.arange(len(best)), best],
        score=shares[:, at or 0],
        positive=at,
    )
