"""Paired comparison: by hand, against an enumeration of all outcomes, and what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import tiny_engine, write_intrinsic
from intrinsics.errors import RequestError
from intrinsics.metrics import METRICS, Predictions
from intrinsics.paired import check_comparable, compare, mcnemar
from intrinsics.spec import Definition


def predictions(truth: list[int], scores: list[float]) -> Predictions:
    score = np.array(scores)
    found = (score >= 0.5).astype(np.int64)
    return Predictions(np.array(truth), found, np.maximum(score, 1 - score), score, positive=1)


TRUTH = [1, 1, 1, 0, 0, 0]
FIRST = predictions(TRUTH, [0.9, 0.8, 0.7, 0.2, 0.1, 0.6])
SECOND = predictions(TRUTH, [0.9, 0.3, 0.4, 0.7, 0.1, 0.8])


def test_rows_are_counted_by_who_was_right() -> None:
    found = compare(FIRST, SECOND)
    assert (found.both_right, found.only_first, found.only_second, found.both_wrong) == (2, 3, 0, 1)
    assert found.mcnemar_p == 2 / 8


def test_differences_are_the_first_minus_the_second() -> None:
    found = compare(FIRST, SECOND)
    assert found.differences["accuracy"].value == pytest.approx(3 / 6)
    for name, one in found.differences.items():
        ours, theirs = METRICS[name](FIRST), METRICS[name](SECOND)
        assert ours is not None and theirs is not None and one.interval is not None
        assert one.value == pytest.approx(ours - theirs)
        assert one.interval[0] <= ours - theirs <= one.interval[1]
    back = compare(SECOND, FIRST).differences["auroc"]
    assert back.value == pytest.approx(-(found.differences["auroc"].value or 0))


def test_the_same_predictions_differ_by_nothing_in_every_resample() -> None:
    found = compare(FIRST, FIRST)
    assert found.mcnemar_p == 1
    for one in found.differences.values():
        assert one.value == 0 and one.interval == (0, 0)


def test_one_class_leaves_the_difference_of_auroc_undefined() -> None:
    one = predictions([1, 1], [0.9, 0.2])
    assert compare(one, one).differences["auroc"].value is None
    assert compare(one, one).differences["auroc"].interval is None


@given(st.integers(0, 9), st.integers(0, 9))
def test_mcnemar_counts_the_outcomes_of_fair_coins(first: int, second: int) -> None:
    n, apart = first + second, abs(first - second)
    outcomes = list(itertools.product((1, -1), repeat=n)) if n <= 12 else []
    if not outcomes:
        assert mcnemar(first, second) == mcnemar(second, first) <= 1
        return
    as_uneven = sum(abs(sum(coins)) >= apart for coins in outcomes)
    assert mcnemar(first, second) == pytest.approx(as_uneven / 2**n)


def test_mcnemar_of_thousands_of_rows_is_finite() -> None:
    assert 0 < mcnemar(900, 1100) < 1e-4
    assert mcnemar(0, 5000) == 0.0  # below what a float can hold


def test_what_does_not_answer_the_same_question_is_not_compared(tmp_path: Path) -> None:
    engine = tiny_engine()
    one = Definition.load(write_intrinsic(engine, tmp_path, "one"))
    other = Definition.load(write_intrinsic(engine, tmp_path, "other", ("yes", "maybe")))
    turned = Definition.load(write_intrinsic(engine, tmp_path, "turned", ("no", "yes")))
    with pytest.raises(RequestError, match="compared with itself"):
        check_comparable(one, one)
    with pytest.raises(RequestError, match=r"maybe, yes as labels, but no, yes in .*same labels"):
        check_comparable(one, other)
    with pytest.raises(RequestError, match="no as positive label, but yes in"):
        check_comparable(one, turned)
