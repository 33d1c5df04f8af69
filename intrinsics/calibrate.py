"""Fitting an intrinsic's calibration and threshold on development rows.

The rows are taken as they are: a bias learns their share of labels too, so they should be mixed
as the conversations will be on which the probabilities are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .calibration import LARGEST_BIAS, Calibration, Threshold
from .errors import DataError
from .metrics import Predictions, ece
from .spec import Definition

Distribution: TypeAlias = Mapping[str, float]
Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

FOLDS = 5
SHARPEST, FLATTEST = 0.2, 10.0  # temperatures
DIGITS = 3  # what intrinsic.yaml keeps; far below what the rows can tell


@dataclass(frozen=True)
class Rows:
    """What was found raw for n rows with K labels, and what is true.

    Shapes: logs (n, K), log probabilities; truth (n,), label indices.
    """

    labels: tuple[str, ...]
    positive: str | None
    logs: Floats
    truth: Ints

    @staticmethod
    def of(definition: Definition, found: Sequence[Distribution], truth: Sequence[str]) -> Rows:
        """Rows from raw distributions and the true labels."""
        labels = definition.output.labels
        shares = np.array([[one[label] for label in labels] for one in found])
        index = np.array([labels.index(label) for label in truth])
        return Rows(labels, definition.output.positive, np.log(np.maximum(shares, 1e-300)), index)

    def take(self, index: Ints) -> Rows:
        """The rows at these places."""
        return Rows(self.labels, self.positive, self.logs[index], self.truth[index])

    def probabilities(self, calibration: Calibration) -> Floats:
        """`readout.calibrated` for all rows at once. Shapes: (n, K)."""
        bias = np.array([calibration.bias.get(label, 0.0) for label in self.labels])
        scores = self.logs / calibration.temperature + bias
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares: Floats = weights / weights.sum(axis=1, keepdims=True)
        return shares

    def targets(self) -> Floats:
        """What to fit to: a little doubt in each label, lest separated rows make it boundless.

        With n rows of a label, the true one gets (n + 1) / (n + K) and each other 1 / (n + K).
        Shapes: (n, K).
        Source: Platt 1999 §2.2.
        """
        count, size = np.bincount(self.truth, minlength=len(self.labels)), len(self.labels)
        doubt = 1.0 / (count[self.truth] + size)
        targets: Floats = np.repeat(doubt[:, None], size, axis=1)
        targets[np.arange(len(doubt)), self.truth] = 1 - (size - 1) * doubt
        return targets

    def losses(self, shares: Floats) -> Floats:
        """-log of what each true label is given. Shapes: (n,)."""
        losses: Floats = -np.log(np.maximum(shares[np.arange(len(shares)), self.truth], 1e-12))
        return losses

    def error(self, shares: Floats) -> float:
        """The expected calibration error of probabilities for these rows."""
        best = shares.argmax(axis=1)
        return ece(Predictions(self.truth, best, shares.max(axis=1), shares[:, 0], None))


Fitter: TypeAlias = Callable[[Rows], Calibration]


@dataclass(frozen=True)
class Fitting:
    """What was fitted on `n` rows; `loss` and `ece` are cross-validated, as those of each method.

    `false_alarms` and `detections` are the shares of other and of positive rows above the
    threshold; None without one.
    """

    n: int
    method: str
    calibration: Calibration
    threshold: Threshold | None
    loss: dict[str, float]
    ece: dict[str, float]
    false_alarms: float | None
    detections: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        threshold = None if self.threshold is None else self.threshold.model_dump()
        return {
            **vars(self),
            "calibration": self.calibration.model_dump(),
            "threshold": threshold,
        }


def uncalibrated(rows: Rows) -> Calibration:
    """None."""
    return Calibration()


def fit_temperature(rows: Rows) -> Calibration:
    """The temperature between 0.2 and 10 that fits the targets best.

    Source: arXiv 1706.04599 §4; golden-section search over its logarithm.
    """
    return _coolest(rows, lambda temperature: Calibration(temperature=temperature))


def fit_temperature_and_bias(rows: Rows) -> Calibration:
    """Temperature, and a bias on the positive label, that fit the targets best.

    At a given temperature the best bias is the one with which the mean probability is that of
    the targets, so it is found by bisection.
    Source: Platt 1999, Probabilistic outputs for support vector machines.
    """
    assert rows.positive is not None
    at = rows.labels.index(rows.positive)
    share = rows.targets()[:, at].mean()

    def biased(temperature: float) -> Calibration:
        low, high = -LARGEST_BIAS, LARGEST_BIAS
        while high - low > 1e-4:
            bias = {str(rows.positive): (low + high) / 2}
            one = Calibration(temperature=temperature, bias=bias)
            if rows.probabilities(one)[:, at].mean() < share:
                low = (low + high) / 2
            else:
                high = (low + high) / 2
        return one

    return _coolest(rows, biased)


def _coolest(rows: Rows, at: Callable[[float], Calibration]) -> Calibration:
    """Of the calibrations for all temperatures, the one that fits the targets best."""
    targets = rows.targets()

    def loss(log_temperature: float) -> float:
        shares = rows.probabilities(at(math.exp(log_temperature)))
        return -float((targets * np.log(np.maximum(shares, 1e-300))).sum())

    low, high, golden = math.log(SHARPEST), math.log(FLATTEST), (math.sqrt(5) - 1) / 2
    while high - low > 1e-3:
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return at(math.exp((low + high) / 2))


def methods(rows: Rows) -> dict[str, Fitter]:
    """The ways to calibrate these rows, the simplest first."""
    found: dict[str, Fitter] = {"none": uncalibrated, "temperature": fit_temperature}
    if len(rows.labels) == 2 and rows.positive is not None:
        found["temperature and bias"] = fit_temperature_and_bias
    return found


def cross_validated(rows: Rows, fit: Fitter, seed: int = 0) -> Floats:
    """Each row's probabilities by a calibration fitted without it. Shapes: (n, K)."""
    shuffled = np.random.default_rng(seed).permutation(len(rows.truth))
    order = shuffled[np.argsort(rows.truth[shuffled], kind="stable")]
    fold = np.empty_like(order)
    fold[order] = np.arange(len(order)) % FOLDS  # every fold has its share of each label
    shares = np.empty_like(rows.logs)
    for one in np.unique(fold):
        calibration = fit(rows.take(np.flatnonzero(fold != one)))
        held_out = np.flatnonzero(fold == one)
        shares[held_out] = rows.take(held_out).probabilities(calibration)
    return shares


def fit(definition: Definition, found: Sequence[Distribution], truth: Sequence[str]) -> Fitting:
    """Choose and fit a calibration, then the threshold that the definition declares.

    The method is the simplest whose cross-validated loss is within one standard error of the
    best one's (the one-standard-error rule, Breiman et al. 1984).
    Raises: DataError: the rows have one label only, or are too few for the threshold.
    """
    rows = Rows.of(definition, found, truth)
    check_rows(definition, truth)
    ways = methods(rows)
    shares = {name: cross_validated(rows, way) for name, way in ways.items()}
    losses = {name: rows.losses(one) for name, one in shares.items()}
    method = _simplest(losses)
    calibration = _rounded(ways[method](rows))
    threshold, false_alarms, detections = definition.threshold, None, None
    if threshold is not None and rows.positive is not None:
        at = rows.labels.index(rows.positive)
        score, positive = rows.probabilities(calibration)[:, at], rows.truth == at
        limit = fit_threshold(score, positive, threshold.at_most_false_alarms)
        threshold = Threshold(at_most_false_alarms=threshold.at_most_false_alarms, at=limit)
        false_alarms = float(np.mean(score[~positive] > limit))
        detections = float(np.mean(score[positive] > limit))
    return Fitting(
        n=len(truth),
        method=method,
        calibration=calibration,
        threshold=threshold,
        loss={name: float(one.mean()) for name, one in losses.items()},
        ece={name: rows.error(one) for name, one in shares.items()},
        false_alarms=false_alarms,
        detections=detections,
    )


def _simplest(losses: Mapping[str, Floats]) -> str:
    best = min(losses.values(), key=lambda one: float(one.mean()))
    for name, one in losses.items():
        worse = one - best
        if worse.mean() <= worse.std() / math.sqrt(len(worse)):
            return name
    raise AssertionError("the best one is within its own error")


def _rounded(calibration: Calibration) -> Calibration:
    return Calibration(
        temperature=round(calibration.temperature, DIGITS),
        bias={label: round(value, DIGITS) for label, value in calibration.bias.items()},
    )


def check_rows(definition: Definition, truth: Sequence[str]) -> None:
    """Raises: DataError: nothing can be fitted on rows with these labels; asks before any work."""
    if len(set(truth)) < 2:
        raise DataError(
            f"every development row of {definition.name} is labelled {truth[0]!r}; calibration "
            f"needs rows of at least two labels"
        )
    if definition.threshold is None:
        return
    wished = definition.threshold.at_most_false_alarms
    others = sum(label != definition.output.positive for label in truth)
    if _allowed(others, wished) < 1:
        raise DataError(
            f"{others} development rows that are not {definition.output.positive!r} can't show "
            f"that at most {wished:g} of such rows are false alarms; give at least "
            f"{math.ceil(1 / wished - 1)}"
        )
    if others == len(truth):
        raise DataError(f"no development row is labelled {definition.output.positive!r}; give some")


def fit_threshold(score: Floats, positive: NDArray[np.bool_], at_most: float) -> float:
    """The lowest threshold above which a new other row comes with probability `at_most` or less.

    Shapes: score, positive (n,). With m other rows the chance is at most k / (m + 1) above the
    k-th largest of their scores, so k is the largest that keeps it, and rows of the same kind are
    all that is assumed. The shortest decimal that separates the same rows is taken.
    Source: conformal quantile, Vovk et al. 2005.
    """
    others = np.sort(score[~positive])[::-1]
    low = float(others[_allowed(len(others), at_most) - 1])
    above = score[score > low]
    high = float(above.min()) if len(above) else 1.0
    for digits in range(2, 17):
        at = round((low + high) / 2, digits)
        if low <= at < high:
            return at
    return low


def _allowed(others: int, at_most: float) -> int:
    """The rank of the largest score that is let through; 0 where there are too few rows."""
    return math.floor(at_most * (others + 1) + 1e-9)
