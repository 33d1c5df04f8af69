"""Curves against values worked by hand and naive twins."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intrinsics.curves import (
    FALSE_ALARMS,
    RiskPoint,
    RocPoint,
    confusion,
    operating_points,
    reliability,
    risk_coverage,
    roc,
    wilson,
)
from intrinsics.metrics import Predictions, accuracy, auroc, ece

# Scores of one digit: ties are frequent.
ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), min_size=1, max_size=40)


def predictions(rows: list[tuple[int, int]]) -> Predictions:
    truth = np.array([label for label, _ in rows])
    score = np.array([tenths / 10 for _, tenths in rows])
    found = (score >= 0.5).astype(np.int64)
    return Predictions(truth, found, np.maximum(score, 1 - score), score, positive=1)


HAND = predictions([(1, 9), (0, 8), (1, 8), (1, 4), (0, 3), (0, 1)])


def test_roc_worked_by_hand() -> None:
    assert roc(HAND) == [
        RocPoint(None, 0, 0),
        RocPoint(0.9, 0, 1 / 3),
        RocPoint(0.8, 1 / 3, 2 / 3),  # two of one score: a slope
        RocPoint(0.4, 1 / 3, 1),
        RocPoint(0.1, 1, 1),  # 0.3 lies between the two
    ]


def test_risk_against_coverage_worked_by_hand() -> None:
    # confidences .9 (right), .8 (wrong, right), .6 (wrong), .7 (right), .9 (right)
    assert risk_coverage(HAND) == [
        RiskPoint(0.9, 2 / 6, 0),
        RiskPoint(0.8, 4 / 6, 1 / 4),
        RiskPoint(0.7, 5 / 6, 1 / 5),
        RiskPoint(0.6, 1, 2 / 6),
    ]


def test_confusion_has_the_true_labels_as_rows() -> None:
    assert confusion(HAND, 2) == [[2, 1], [1, 2]]


@pytest.mark.parametrize(
    ("successes", "n", "expected"),
    [(8, 10, (0.4902, 0.9433)), (0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0))],
)
def test_wilson_intervals_as_tables_have_them(
    successes: int, n: int, expected: tuple[float, float]
) -> None:
    assert wilson(successes, n) == pytest.approx(expected, abs=5e-5)


@given(ROWS)
def test_the_area_under_the_roc_curve_is_the_auroc(rows: list[tuple[int, int]]) -> None:
    p = predictions(rows)
    corners = roc(p)
    if corners is None:
        assert auroc(p) is None and len(set(p.truth.tolist())) == 1
        return
    rates = [(at.false_positive_rate, at.true_positive_rate) for at in corners]
    area = sum(
        (right - left) * (low + high) / 2
        for (left, low), (right, high) in itertools.pairwise(rates)
    )
    assert area == pytest.approx(auroc(p))
    assert rates[0] == (0, 0) and rates[-1] == (1, 1) and rates == sorted(rates)


@given(ROWS)
def test_each_corner_has_the_rates_of_its_threshold(rows: list[tuple[int, int]]) -> None:
    p = predictions(rows)
    truth = p.truth == 1
    for at in (roc(p) or [])[1:]:
        assert at.threshold is not None
        called = p.score >= at.threshold
        assert at.true_positive_rate == called[truth].mean()
        assert at.false_positive_rate == called[~truth].mean()


@given(ROWS)
def test_no_threshold_finds_more_for_as_few_false_alarms(rows: list[tuple[int, int]]) -> None:
    p = predictions(rows)
    corners = roc(p)
    if corners is None:
        return
    truth = p.truth == 1
    for most, at in zip(FALSE_ALARMS, operating_points(corners), strict=True):
        assert at.at_most == most and at.false_positive_rate <= most
        allowed = [t for t in np.unique(p.score) if (p.score >= t)[~truth].mean() <= most]
        best = max((float((p.score >= t)[truth].mean()) for t in allowed), default=0.0)
        assert at.true_positive_rate == best


@given(ROWS)
def test_the_bins_hold_every_row_and_their_gaps_are_the_ece(rows: list[tuple[int, int]]) -> None:
    p = predictions(rows)
    bins = reliability(p.confidence, p.right)
    assert sum(one.count for one in bins) == len(rows)
    gaps = sum(one.count * abs(one.probability - one.share) for one in bins)
    assert gaps / len(rows) == pytest.approx(ece(p))
    for one in bins:
        # a mean is rounded, so it may leave its bin by the last bit
        assert one.low - 1e-12 <= one.probability <= one.high + 1e-12
        assert one.interval[0] - 1e-12 <= one.share <= one.interval[1] + 1e-12


@given(ROWS)
def test_risk_is_the_share_of_errors_among_the_surest(rows: list[tuple[int, int]]) -> None:
    p = predictions(rows)
    curve = risk_coverage(p)
    assert [at.confidence for at in curve] == sorted(set(p.confidence.tolist()), reverse=True)
    for at in curve:
        answered = p.confidence >= at.confidence
        assert at.coverage == answered.mean()
        assert at.risk == pytest.approx(1 - p.right[answered].mean())
    assert curve[-1].risk == pytest.approx(1 - accuracy(p))


@given(ROWS)
def test_the_diagonal_of_the_confusion_is_what_was_right(rows: list[tuple[int, int]]) -> None:
    p = predictions(rows)
    counts = np.array(confusion(p, 2))
    assert counts.sum() == len(rows)
    assert counts.trace() == p.right.sum()


def test_without_a_positive_label_there_is_no_roc() -> None:
    p = Predictions(HAND.truth, HAND.found, HAND.confidence, HAND.score, None)
    assert roc(p) is None
