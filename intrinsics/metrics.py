"""Scores of a classifier, each with a 95 % bootstrap interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
RESAMPLES = 1000
BINS = 15


@dataclass(frozen=True)
class Predictions:
    """What was found for n examples.

    Shapes: truth, found (n,) label indices; confidence (n,) the probability of the found label;
    score (n,) the probability of the positive label; `positive` its index, None without one.
    """

    truth: Ints
    found: Ints
    confidence: Floats
    score: Floats
    positive: int | None

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each found label is the true one."""
        right: NDArray[np.bool_] = self.truth == self.found
        return right

    def take(self, index: Ints) -> Predictions:
        """The predictions at these places, with repetitions."""
        return Predictions(
            self.truth[index],
            self.found[index],
            self.confidence[index],
            self.score[index],
            self.positive,
        )


Metric: TypeAlias = Callable[[Predictions], float | None]


def accuracy(p: Predictions) -> float:
    """The share of right labels."""
    return float(np.mean(p.right))


def balanced_accuracy(p: Predictions) -> float:
    """The mean over labels of the share found of each."""
    recalls = [np.mean(p.found[p.truth == label] == label) for label in np.unique(p.truth)]
    return float(np.mean(recalls))


def f1(p: Predictions) -> float | None:
    """The harmonic mean of precision and recall of the positive label; None if it never occurs."""
    if p.positive is None:
        return None
    truth, found = p.truth == p.positive, p.found == p.positive
    total = truth.sum() + found.sum()
    return float(2 * (truth & found).sum() / total) if total else None


def auroc(p: Predictions) -> float | None:
    """How often a positive example scores above another; ties count half. None with one class."""
    if p.positive is None:
        return None
    truth = p.truth == p.positive
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return None
    _, place, counts = np.unique(p.score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def ece(p: Predictions) -> float:
    """Expected calibration error: |confidence - accuracy| over equal bins, weighted by size.

    Source: arXiv 1706.04599 §2.
    """
    return _ece(bins(p.confidence), p.confidence - p.right)


def _ece(place: Ints, off: Floats) -> float:
    """The error of rows in these bins. Shapes: place, off (n,), confidence minus rightness."""
    return float(np.abs(np.bincount(place, weights=off, minlength=BINS)).sum() / len(off))


@dataclass(frozen=True)
class PerfectEce:
    """What chance alone gives: the ECE on average, and what it exceeds in one of 40 cases."""

    mean: float
    at_most: float


def perfect_ece(p: Predictions, seed: int = 0) -> PerfectEce:
    """The ECE that a perfectly calibrated judge with these confidences would show.

    It is not 0: a bin of few rows is off by chance. Each label is drawn to be right with the
    probability it was given. Source: Broecker and Smith, Weather and Forecasting 22 (2007).
    """
    random, place, n = np.random.default_rng(seed), bins(p.confidence), len(p.truth)
    found = [
        _ece(place, p.confidence - (random.random(n) < p.confidence)) for _ in range(RESAMPLES)
    ]
    return PerfectEce(float(np.mean(found)), float(np.percentile(found, 97.5)))


def bins(probability: Floats) -> Ints:
    """Which of `BINS` equal parts of 0 to 1 each probability lies in; 1 is in the last."""
    return np.minimum((probability * BINS).astype(np.int64), BINS - 1)


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "f1": f1,
    "auroc": auroc,
    "ece": ece,
}


def resamples(n: int, seed: int = 0) -> Iterator[Ints]:
    """The places of `RESAMPLES` bootstrap samples of n rows, drawn with replacement."""
    random = np.random.default_rng(seed)
    for _ in range(RESAMPLES):
        yield random.integers(0, n, n)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 2.5th and 97.5th percentile; None without values."""
    if not values:
        return None
    return float(np.percentile(values, 2.5)), float(np.percentile(values, 97.5))


def intervals(p: Predictions, seed: int = 0) -> dict[str, tuple[float, float] | None]:
    """The 2.5th and 97.5th percentile of each metric over resampled predictions."""
    samples: dict[str, list[float]] = {name: [] for name in METRICS}
    for index in resamples(len(p.truth), seed):
        resampled = p.take(index)
        for name, metric in METRICS.items():
            value = metric(resampled)
            if value is not None:
                samples[name].append(value)
    return {name: interval(values) for name, values in samples.items()}
