"""Scores of a judge with their 95 % bootstrap intervals, and of one judge beside another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from intrinsics.calibrate import Rows, fit_temperature
from intrinsics.calibration import Calibration, likeliest
from intrinsics.data import Example
from intrinsics.metrics import (
    METRICS,
    Floats,
    Predictions,
    interval,
    intervals,
    perfect_ece,
    resamples,
)
from intrinsics.paired import differences
from intrinsics.readout import calibrated
from intrinsics.train_settings import TrainSettings
from task import Found, Task


def calibrate(task: Task, found: Found) -> tuple[Calibration, dict[str, Predictions]]:
    """A judge's calibration, and with it its verdicts on every split.

    The shipped intrinsic's is the one it ships with, threshold included; any other judge's
    temperature is fitted on dev, and its verdict is the likelier label.
    """
    raw = {
        split: [dict(zip(task.labels, row.tolist(), strict=True)) for row in shares]
        for split, shares in found.shares.items()
    }
    if found.shipped:
        calibration = task.definition.calibration
    else:
        rows = Rows.of(task.definition, raw["dev"], [row.label for row in task.dev])
        calibration = fit_temperature(rows)
    verdicts = {}
    for split, distributions in raw.items():
        honest = [list(calibrated(one, calibration).values()) for one in distributions]
        label_of = task.definition.label_of if found.shipped else likeliest
        verdicts[split] = predictions(task, task.splits[split], np.array(honest), label_of)
    return calibration, verdicts


def predictions(
    task: Task,
    rows: Sequence[Example],
    shares: Floats,
    label_of: Callable[[Mapping[str, float]], str] = likeliest,
) -> Predictions:
    """The verdicts on `rows` beside their labels. Shapes: shares (rows, labels)."""
    positive = task.definition.output.positive
    at = None if positive is None else task.labels.index(positive)
    told = (dict(zip(task.labels, row.tolist(), strict=True)) for row in shares)
    found = np.array([task.labels.index(label_of(one)) for one in told], dtype=np.int64)
    return Predictions(
        truth=np.array([task.labels.index(row.label) for row in rows]),
        found=found,
        confidence=shares[np.arange(len(found)), found],
        score=shares[:, at or 0],
        positive=at,
    )


def quality(p: Predictions) -> tuple[float, float]:
    """What choices on dev go by: balanced accuracy, and at a tie AUROC."""
    return METRICS["balanced_accuracy"](p) or 0.0, METRICS["auroc"](p) or 0.0


def best_on_dev(
    task: Task, trials: Iterable[tuple[TrainSettings, Path, Floats]]
) -> tuple[Path, dict[str, Any]]:
    """The best of trained adapters, and what is told of the choice and of all that were tried.

    A trial is the settings, the adapter and its shares on dev. Shapes: shares (rows, labels).
    """
    tried = []
    for settings, adapter, shares in trials:
        score = quality(predictions(task, task.dev, shares))
        told: dict[str, Any] = {"rank": settings.rank, "learning_rate": settings.learning_rate}
        told |= {"dev_balanced_accuracy": score[0], "dev_auroc": score[1]}
        tried.append((score, told, adapter))
    _, chosen, best = max(tried, key=lambda one: one[0])
    return best, {**chosen, "runs": len(tried), "tried": [told for _, told, _ in tried]}


def scores(rows: Sequence[Example], p: Predictions) -> dict[str, Any]:
    """All scores of a split and, where its rows come from several, of each source."""
    told = {**_scores(p), "ece_if_perfect": asdict(perfect_ece(p))}
    sources = sorted({row.source for row in rows if row.source})
    if len(sources) > 1:
        told["by_source"] = {}
        for source in sources:
            at = np.array([i for i, row in enumerate(rows) if row.source == source])
            told["by_source"][source] = _scores(p.take(at))
    return told


def difference(ours: Predictions, other: Predictions) -> dict[str, Any]:
    """Each metric of one judge minus that of another, with the paired interval."""
    return {
        name: {"difference": apart.value, "confidence_interval": apart.interval}
        for name, apart in differences(ours, other).items()
    }


def false_positive_rate(p: Predictions) -> float | None:
    """The share of rows of other labels that were found positive; None without such a row."""
    if p.positive is None or (p.truth == p.positive).all():
        return None
    return float(np.mean(p.found[p.truth != p.positive] == p.positive))


def _scores(p: Predictions) -> dict[str, Any]:
    size = len(p.truth)
    alarms = [false_positive_rate(p.take(index)) for index in resamples(size)]
    ends: dict[str, Any] = dict(intervals(p))
    ends["false_positive_rate"] = interval([alarm for alarm in alarms if alarm is not None])
    return {
        "n": size,
        "negatives": None if p.positive is None else int((p.truth != p.positive).sum()),
        **{name: metric(p) for name, metric in METRICS.items()},
        "false_positive_rate": false_positive_rate(p),
        "confidence_intervals": ends,
    }
