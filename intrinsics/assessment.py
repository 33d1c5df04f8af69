"""Everything that a report on an intrinsic tells, as plain data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel

from .curves import (
    Bin,
    OperatingPoint,
    RiskPoint,
    RocPoint,
    confusion,
    operating_points,
    reliability,
    risk_coverage,
    roc,
)
from .data import Example
from .engine import Engine
from .evaluate import Report, judge_all, predictions, report
from .judged import cost
from .metrics import Predictions
from .paired import Paired, compare
from .prepared import conversations
from .spec import Definition

WORST = 20
DIFFERING = 50


@dataclass(frozen=True)
class Mistake:
    """A row that was judged wrongly: `row` counts the rows of the file from 1.

    `confidence` is the probability of the label that was found.
    """

    row: int
    example: Example
    found: str
    confidence: float


@dataclass(frozen=True)
class Disagreement:
    """A row on which two intrinsics find different labels, and how sure each is of its own."""

    row: int
    example: Example
    found: str
    confidence: float
    other_found: str
    other_confidence: float


@dataclass(frozen=True)
class Against:
    """Another intrinsic on the same rows: its scores and ROC curve, and the two row by row.

    Of the rows that differ, `disagreements` shows those where the two are surest together.
    """

    report: Report
    roc: list[RocPoint] | None
    paired: Paired
    differing: int
    disagreements: tuple[Disagreement, ...]


@dataclass(frozen=True)
class Assessment:
    """The scores of an intrinsic and what lies behind them.

    `reliability` is of the found label's probability, as the ECE has it; `reliability_positive`
    of the positive label's. What needs a positive label, or both classes, is None without.
    """

    report: Report
    labels: tuple[str, ...]
    positive: str | None
    confusion: list[list[int]]
    reliability: list[Bin]
    reliability_positive: list[Bin] | None
    roc: list[RocPoint] | None
    operating_points: list[OperatingPoint] | None
    risk_coverage: list[RiskPoint]
    mistakes: int
    worst: tuple[Mistake, ...]
    against: Against | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the scores at the top, everything else beside them."""
        told: dict[str, Any] = _plain(self)
        return {**told.pop("report"), **told}


def assess(
    engine: Engine,
    definition: Definition,
    examples: Sequence[Example],
    other: Definition | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Assessment:
    """Judge every example, with the other intrinsic too if there is one.

    Changes: the engine forgets both adapters, since the two may have one name, and releases its
    keys and values.
    Raises: DataError: an example can't be judged; AdapterError: an adapter can't be used.
    """
    both = [definition] if other is None else [definition, other]
    for one in both:  # nothing is judged before both are known to be usable on these rows
        engine.intrinsic(one.directory)
        engine.forget(one.directory)
    if other is not None:
        conversations(engine, other, examples)
    reports, scored = [], []
    for one in both:
        started = time.perf_counter()
        judged = judge_all(engine, one, examples, progress)
        seconds = time.perf_counter() - started
        engine.forget(one.directory)
        engine.release()  # so that the other one's rows cost what these did
        found = [each.verdict.distribution for each in judged]
        reports.append(report(definition, examples, found, seconds, cost(judged)))
        scored.append(predictions(definition, examples, found))
    against = None
    if other is not None:
        against = _against(definition, examples, reports[1], scored[0], scored[1])
    return _assessment(definition, examples, reports[0], scored[0], against)


def _assessment(
    definition: Definition,
    examples: Sequence[Example],
    scores: Report,
    p: Predictions,
    against: Against | None,
) -> Assessment:
    labels = definition.output.labels
    corners = roc(p)
    wrong = np.flatnonzero(~p.right)
    worst = wrong[np.argsort(-p.confidence[wrong], kind="stable")][:WORST]
    return Assessment(
        report=scores,
        labels=labels,
        positive=definition.output.positive,
        confusion=confusion(p, len(labels)),
        reliability=reliability(p.confidence, p.right),
        reliability_positive=None
        if p.positive is None
        else reliability(p.score, p.truth == p.positive),
        roc=corners,
        operating_points=None if corners is None else operating_points(corners),
        risk_coverage=risk_coverage(p),
        mistakes=len(wrong),
        worst=tuple(
            Mistake(i + 1, examples[i], labels[p.found[i]], float(p.confidence[i]))
            for i in worst.tolist()
        ),
        against=against,
    )


def _against(
    definition: Definition,
    examples: Sequence[Example],
    scores: Report,
    ours: Predictions,
    theirs: Predictions,
) -> Against:
    labels = definition.output.labels
    differing = np.flatnonzero(ours.found != theirs.found)
    surest = np.argsort(-(ours.confidence + theirs.confidence)[differing], kind="stable")
    return Against(
        report=scores,
        roc=roc(theirs),
        paired=compare(ours, theirs),
        differing=len(differing),
        disagreements=tuple(
            Disagreement(
                row=i + 1,
                example=examples[i],
                found=labels[ours.found[i]],
                confidence=float(ours.confidence[i]),
                other_found=labels[theirs.found[i]],
                other_confidence=float(theirs.confidence[i]),
            )
            for i in differing[surest][:DIFFERING].tolist()
        ),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value):
        return {name: _plain(part) for name, part in vars(value).items()}
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
