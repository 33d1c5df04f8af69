"""Typed values are read from exact probabilities of whole alternatives."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from intrinsics.calibration import Calibration
from intrinsics.readout import Candidates, calibrated

END = 9
runs = st.lists(st.integers(0, 8), min_size=1, max_size=4).map(tuple)


def logits_after(run: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(10, generator=torch.Generator().manual_seed(hash(run) % 2**31))


@given(st.sets(runs, min_size=2, max_size=6))
def test_each_label_weighs_the_product_of_its_tokens(labels: set[tuple[int, ...]]) -> None:
    candidates = Candidates.of({str(run): run for run in labels}, END)
    found = candidates.distribution({run: logits_after(run) for run in candidates.inner})
    weights = {
        label: math.prod(
            float(logits_after(ids[:i]).double().softmax(0)[ids[i]]) for i in range(len(ids))
        )
        for label, ids in candidates.ids.items()
    }
    for label, weight in weights.items():
        assert found[label] == pytest.approx(weight / sum(weights.values()), rel=1e-9)


@given(st.sets(runs, min_size=2, max_size=6))
def test_no_label_is_the_beginning_of_another(labels: set[tuple[int, ...]]) -> None:
    ids = Candidates.of({str(run): run for run in labels}, END).ids.values()
    assert not any(a == b[: len(a)] for a, b in itertools.permutations(ids, 2))


@given(st.sets(runs, min_size=2, max_size=6))
def test_the_rows_to_compute_cover_every_inner_run_once(labels: set[tuple[int, ...]]) -> None:
    candidates = Candidates.of({str(run): run for run in labels}, END)
    covered = {run[:size] for run in candidates.extra for size in range(len(run) + 1)} | {()}
    assert covered == set(candidates.inner)


def test_temperature_flattens_and_sharpens() -> None:
    raw = {"a": 0.8, "b": 0.2}
    assert calibrated(raw, Calibration()) == raw
    assert calibrated(raw, Calibration(temperature=2.0))["a"] == pytest.approx(2 / 3)
    assert calibrated(raw, Calibration(temperature=0.5))["a"] == pytest.approx(16 / 17)
    hot = calibrated({"a": 1.0, "b": 0.0}, Calibration(temperature=2.0))
    assert hot["a"] == pytest.approx(1.0)


def test_a_bias_shifts_the_odds() -> None:
    found = calibrated({"a": 0.8, "b": 0.2}, Calibration(bias={"b": math.log(4)}))
    assert found == pytest.approx({"a": 0.5, "b": 0.5})
