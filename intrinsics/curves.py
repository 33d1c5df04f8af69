"""Curves behind a classifier's scores: reliability, ROC, risk against coverage, confusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metrics import BINS, Floats, Ints, Predictions, bins

FALSE_ALARMS = (0.01, 0.05, 0.1, 0.2)
_Z = 1.959963984540054  # of a two-sided 95 % interval


@dataclass(frozen=True)
class Bin:
    """The predictions whose probability lies between `low` and `high`.

    `probability` is their mean, `share` how many of them came true, `interval` that share's 95 %
    Wilson interval.
    """

    low: float
    high: float
    count: int
    probability: float
    share: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class RocPoint:
    """The rates when every score of at least `threshold` counts as positive; None: no score."""

    threshold: float | None
    false_positive_rate: float
    true_positive_rate: float


@dataclass(frozen=True)
class OperatingPoint:
    """The threshold that finds most for at most a share `at_most` of false alarms."""

    at_most: float
    threshold: float | None
    false_positive_rate: float
    true_positive_rate: float


@dataclass(frozen=True)
class RiskPoint:
    """Answering only where the confidence is at least `confidence`: how often, and how wrongly."""

    confidence: float
    coverage: float
    risk: float


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share, n at least 1.

    Source: E. B. Wilson, Probable inference, JASA 22 (1927).
    """
    share, spread = successes / n, _Z * _Z / n
    middle = share + spread / 2
    half = _Z * math.sqrt((share * (1 - share) + spread / 4) / n)
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def confusion(p: Predictions, labels: int) -> list[list[int]]:
    """How often each true label (rows) was found to be each label (columns)."""
    counts = np.bincount(p.truth * labels + p.found, minlength=labels * labels)
    matrix: list[list[int]] = counts.reshape(labels, labels).tolist()
    return matrix


def reliability(probability: Floats, true: NDArray[np.bool_]) -> list[Bin]:
    """What was claimed against what came true, in the bins of the ECE; empty ones are left out.

    Shapes: both (n,).
    Source: arXiv 1706.04599 §2.
    """
    place = bins(probability)
    found = []
    for number in np.unique(place).tolist():
        inside = place == number
        count, successes = int(inside.sum()), int(true[inside].sum())
        found.append(
            Bin(
                low=number / BINS,
                high=(number + 1) / BINS,
                count=count,
                probability=float(probability[inside].mean()),
                share=successes / count,
                interval=wilson(successes, count),
            )
        )
    return found


def roc(p: Predictions) -> list[RocPoint] | None:
    """The corners of the ROC curve from (0, 0) to (1, 1); None without both classes."""
    if p.positive is None:
        return None
    truth = p.truth == p.positive
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return None
    scores, hits, misses = _cumulated(p.score, truth)
    corners = [RocPoint(None, 0.0, 0.0)]
    for i, score in enumerate(scores):
        if i == len(scores) - 1 or not _straight(i, hits, misses):
            corners.append(RocPoint(float(score), misses[i] / negatives, hits[i] / positives))
    return corners


def operating_points(corners: Sequence[RocPoint]) -> list[OperatingPoint]:
    """The best corner of a ROC curve for each of `FALSE_ALARMS`."""
    found = []
    for most in FALSE_ALARMS:
        allowed = [corner for corner in corners if corner.false_positive_rate <= most]
        best = max(allowed, key=lambda corner: corner.true_positive_rate)
        found.append(OperatingPoint(most, **vars(best)))
    return found


def risk_coverage(p: Predictions) -> list[RiskPoint]:
    """The share of errors among the most confident verdicts, from few of them to all.

    Verdicts of one confidence are answered together or not at all.
    Source: Geifman and El-Yaniv, arXiv 1705.08500.
    """
    confidences, right, wrong = _cumulated(p.confidence, p.right)
    n = len(p.truth)
    return [
        RiskPoint(float(confidence), (good + bad) / n, bad / (good + bad))
        for confidence, good, bad in zip(confidences, right, wrong, strict=True)
    ]


def _cumulated(score: Floats, true: NDArray[np.bool_]) -> tuple[Floats, list[int], list[int]]:
    """The distinct scores from the highest down, and how many true and others have at least it."""
    distinct, place = np.unique(-score, return_inverse=True)
    hits: Ints = np.bincount(place, weights=true, minlength=len(distinct)).astype(np.int64)
    misses: Ints = np.bincount(place, weights=~true, minlength=len(distinct)).astype(np.int64)
    return -distinct, np.cumsum(hits).tolist(), np.cumsum(misses).tolist()


def _straight(i: int, hits: Sequence[int], misses: Sequence[int]) -> bool:
    """Whether the curve goes on after place i in the direction, up or right, that it came in."""
    up = (hits[i] - (hits[i - 1] if i else 0), hits[i + 1] - hits[i])
    right = (misses[i] - (misses[i - 1] if i else 0), misses[i + 1] - misses[i])
    return up == (0, 0) or right == (0, 0)
