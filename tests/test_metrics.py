"""The scores, against values worked by hand and naive twins."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from intrinsics.metrics import METRICS, Predictions, auroc, ece, intervals, perfect_ece


def predictions(truth: list[int], scores: list[float]) -> Predictions:
    score = np.array(scores)
    found = (score >= 0.5).astype(np.int64)
    return Predictions(np.array(truth), found, np.maximum(score, 1 - score), score, positive=1)


HAND = predictions([1, 1, 1, 0, 0], [0.9, 0.6, 0.3, 0.7, 0.1])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 3 / 5),
        ("balanced_accuracy", (2 / 3 + 1 / 2) / 2),
        ("f1", 2 * 2 / (3 + 3)),
        ("auroc", 4 / 6),
    ],
)
def test_scores_worked_by_hand(name: str, expected: float) -> None:
    assert METRICS[name](HAND) == pytest.approx(expected)


def test_auroc_counts_pairs_and_halves_ties() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 60).tolist()
    scores = (random.integers(0, 10, 60) / 10).tolist()
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for (s, a), (t, b) in itertools.product(
            zip(truth, scores, strict=True), zip(truth, scores, strict=True)
        )
        if s == 1 and t == 0
    ]
    assert auroc(predictions(truth, scores)) == pytest.approx(sum(pairs) / len(pairs))


def test_ece_of_a_calibrated_and_of_a_boastful_classifier() -> None:
    truth = [1, 1, 1, 0] * 10
    assert ece(predictions(truth, [0.75] * 40)) == pytest.approx(0.0)
    assert ece(predictions(truth, [0.99] * 40)) == pytest.approx(0.24)


def test_chance_alone_gives_a_perfect_judge_an_error_that_falls_with_rows() -> None:
    few, many = (perfect_ece(predictions([1] * n, [0.75] * n)) for n in (40, 4000))
    assert few.mean == pytest.approx(10 * many.mean, rel=0.1)  # as one over the root of n
    # one bin of n rows: the mean distance of a share from 0.75, and 2.24 standard deviations of it
    deviation = (0.75 * 0.25 / 4000) ** 0.5
    assert many.mean == pytest.approx((2 / np.pi) ** 0.5 * deviation, rel=0.1)
    assert many.at_most == pytest.approx(2.24 * deviation, rel=0.1)


def test_one_class_leaves_the_ranking_undefined() -> None:
    assert auroc(predictions([1, 1], [0.2, 0.9])) is None
    assert intervals(predictions([1, 1], [0.2, 0.9]))["auroc"] is None


def test_intervals_hold_the_score_and_are_the_same_each_time() -> None:
    first = intervals(HAND)
    assert first == intervals(HAND)
    for name, interval in first.items():
        value = METRICS[name](HAND)
        assert interval is not None and value is not None
        assert interval[0] <= value <= interval[1]
