"""Calibration and thresholds: what is fitted, what is stored, and what it does to a verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intrinsics.calibrate import (
    Rows,
    cross_validated,
    fit,
    fit_temperature,
    fit_temperature_and_bias,
    fit_threshold,
)
from intrinsics.calibration import Calibration, Threshold
from intrinsics.errors import DataError, DefinitionError
from intrinsics.readout import calibrated
from intrinsics.rewrite import write_fitting
from intrinsics.spec import Definition

GOOD = """\
# Kept by hand.
name: tone
version: 1
judges: Whether the reply is polite.
reads: {last: assistant}
invocation: "<|im_start|>tone\\n"
output: {type: enum, labels: [polite, rude], positive: rude}
threshold:  # what we promise
  at_most_false_alarms: 0.1
base_model: SmolLM2-135M-Instruct
"""
probabilities = st.floats(1e-6, 1 - 1e-6)


def defined(directory: Path, text: str = GOOD) -> Definition:
    directory.mkdir(exist_ok=True)
    (directory / "intrinsic.yaml").write_text(text)
    return Definition.load(directory)


def drawn(n: int, bend: Calibration, seed: int = 0) -> tuple[list[dict[str, float]], list[str]]:
    """Honest probabilities of "rude" bent by `bend`, and truths drawn from the honest ones."""
    random = np.random.default_rng(seed)
    honest = random.beta(0.8, 0.8, n).clip(0.001, 0.999)
    truth = ["rude" if random.random() < p else "polite" for p in honest]
    return [calibrated({"polite": 1 - p, "rude": p}, bend) for p in honest], truth


def rows_of(found: list[dict[str, float]], truth: list[str], definition: Definition) -> Rows:
    return Rows.of(definition, found, truth)


@given(probabilities, st.floats(0.2, 10), st.floats(-5, 5))
def test_all_rows_at_once_are_calibrated_as_one_alone(p: float, heat: float, bias: float) -> None:
    raw, one = {"a": 1 - p, "b": p}, Calibration(temperature=heat, bias={"b": bias})
    rows = Rows(("a", "b"), "b", np.log([[1 - p, p]]), np.array([0]))
    assert rows.probabilities(one)[0] == pytest.approx(list(calibrated(raw, one).values()))


@given(probabilities, probabilities, st.floats(0.2, 10), st.floats(-5, 5))
def test_a_calibration_keeps_the_order(p: float, q: float, heat: float, bias: float) -> None:
    one = Calibration(temperature=heat, bias={"b": bias})
    low, high = (calibrated({"a": 1 - s, "b": s}, one)["b"] for s in sorted((p, q)))
    assert low <= high


def test_the_fitted_temperature_undoes_overconfidence(tmp_path: Path) -> None:
    found, truth = drawn(8000, Calibration(temperature=0.5))
    one = fit_temperature(rows_of(found, truth, defined(tmp_path)))
    assert one.temperature == pytest.approx(2.0, abs=0.15)


def test_the_fitted_bias_undoes_a_leaning(tmp_path: Path) -> None:
    """logit' = logit / 0.5 + 1 is undone by temperature 2 and bias -0.5."""
    found, truth = drawn(8000, Calibration(temperature=0.5, bias={"rude": 1.0}))
    rows = rows_of(found, truth, defined(tmp_path))
    one = fit_temperature_and_bias(rows)
    assert one.temperature == pytest.approx(2.0, abs=0.15)
    assert one.bias["rude"] == pytest.approx(-0.5, abs=0.15)
    assert rows.probabilities(one)[:, 1].mean() == pytest.approx(rows.truth.mean(), abs=1e-3)


@pytest.mark.parametrize(
    ("bend", "method"),
    [
        (Calibration(), "none"),
        (Calibration(temperature=0.4), "temperature"),
        (Calibration(temperature=0.4, bias={"rude": 2.0}), "temperature and bias"),
    ],
)
def test_the_simplest_method_that_is_not_worse_is_taken(
    bend: Calibration, method: str, tmp_path: Path
) -> None:
    fitting = fit(defined(tmp_path), *drawn(600, bend))
    assert fitting.method == method
    assert fitting.ece[method] < 0.05
    assert list(fitting.loss) == ["none", "temperature", "temperature and bias"]


def test_no_row_is_judged_by_what_was_fitted_on_it(tmp_path: Path) -> None:
    """A fit that gives away whether it saw a row: every row must be told no."""
    found, truth = drawn(53, Calibration())
    rows = rows_of(found, truth, defined(tmp_path))
    seen: list[set[float]] = []

    def spy(part: Rows) -> Calibration:
        seen.append(set(part.logs[:, 1].tolist()))
        return Calibration()

    assert cross_validated(rows, spy) == pytest.approx(rows.probabilities(Calibration()))
    for value in rows.logs[:, 1].tolist():
        assert sum(value not in part for part in seen) == 1


@given(
    st.lists(st.sampled_from([i / 20 for i in range(21)]), min_size=19, max_size=80),
    st.lists(st.sampled_from([i / 20 for i in range(21)]), min_size=1, max_size=20),
    st.sampled_from([0.05, 0.1, 0.3]),
)
def test_a_threshold_keeps_the_promise_and_is_the_lowest_that_does(
    others: list[float], positives: list[float], at_most: float
) -> None:
    score = np.array(others + positives)
    positive = np.array([False] * len(others) + [True] * len(positives))
    at = fit_threshold(score, positive, at_most)
    allowed = int(at_most * (len(others) + 1) + 1e-9)
    alarms = (score > at) & ~positive
    assert alarms.sum() < allowed
    lower = score[(score <= at) & ~positive].max()
    assert (score[~positive] >= lower).sum() >= allowed


def test_new_rows_raise_no_more_false_alarms_than_promised() -> None:
    """The mean over many draws, which is what is promised; a single one may be above."""
    random = np.random.default_rng(0)
    rates = []
    for _ in range(2000):
        score = random.random(41)
        positive = np.array([False] * 40 + [True])
        rates.append(1 - fit_threshold(score, positive, 0.1))  # uniform: the rate of new rows
    assert np.mean(rates) < 0.1


@pytest.mark.parametrize("copies", [1, 2])
def test_a_handful_of_rows_is_enough_to_go_on(copies: int, tmp_path: Path) -> None:
    definition = defined(tmp_path, GOOD.replace("alarms: 0.1", "alarms: 0.5"))
    found = [{"polite": 0.6, "rude": 0.4}, {"polite": 1.0, "rude": 0.0}] * copies
    fitting = fit(definition, found, ["rude", "polite"] * copies)
    assert fitting.n == 2 * copies and 0.2 <= fitting.calibration.temperature <= 10


def test_rows_that_are_told_apart_do_not_make_it_boundless(tmp_path: Path) -> None:
    """Ten rows can't show more than 11 in 12, however far apart they lie."""
    found = [{"polite": p, "rude": 1 - p} for p in [0.9] * 10 + [0.1] * 10]
    rows = rows_of(found, ["polite"] * 10 + ["rude"] * 10, defined(tmp_path))
    for one in (fit_temperature(rows), fit_temperature_and_bias(rows)):
        assert rows.probabilities(one)[0] == pytest.approx([11 / 12, 1 / 12], abs=1e-3)


def test_a_threshold_decides_the_value(tmp_path: Path) -> None:
    text = GOOD.replace("alarms: 0.1", "alarms: 0.1\n  at: 0.8")
    definition = defined(tmp_path, text)
    assert definition.value_of({"polite": 0.3, "rude": 0.7}) == "polite"
    assert definition.value_of({"polite": 0.2, "rude": 0.8}) == "polite"
    assert definition.value_of({"polite": 0.1, "rude": 0.9}) == "rude"
    unfitted = defined(tmp_path)
    assert unfitted.value_of({"polite": 0.3, "rude": 0.7}) == "rude"


def test_a_threshold_of_a_bool_gives_truth_values(tmp_path: Path) -> None:
    text = GOOD.replace("type: enum, labels: [polite, rude], positive: rude", "type: bool")
    definition = defined(tmp_path, text.replace("alarms: 0.1", "alarms: 0.1\n  at: 0.2"))
    assert definition.value_of({"true": 0.3, "false": 0.7}) is True
    assert definition.value_of({"true": 0.1, "false": 0.9}) is False


def test_what_is_fitted_is_written_and_everything_else_stays(tmp_path: Path) -> None:
    definition = defined(tmp_path / "tone")
    path = definition.directory / "intrinsic.yaml"
    path.chmod(0o640)
    fitting = fit(definition, *drawn(600, Calibration(temperature=0.4, bias={"rude": 2.0})))
    write_fitting(definition.directory, fitting)
    again = Definition.load(definition.directory)
    assert again.calibration == fitting.calibration
    assert again.threshold == fitting.threshold
    lines = path.read_text().splitlines()
    assert [line for line in lines if line in GOOD.splitlines()] == GOOD.splitlines()
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(definition.directory.iterdir()) == [path]


def test_a_bias_that_is_no_longer_needed_goes(tmp_path: Path) -> None:
    text = GOOD + "calibration:\n  temperature: 2.0  # fitted\n  bias: {rude: 1.0}\n"
    definition = defined(tmp_path, text)
    write_fitting(tmp_path, fit(definition, *drawn(600, Calibration(temperature=0.4))))
    told = (tmp_path / "intrinsic.yaml").read_text()
    assert "bias" not in told and "# fitted" in told


def test_a_file_that_can_not_be_replaced_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = defined(tmp_path)
    fitting = fit(definition, *drawn(200, Calibration()))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(DefinitionError, match="No space left"):
        write_fitting(tmp_path, fitting)
    assert (tmp_path / "intrinsic.yaml").read_text() == GOOD
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        (["polite"] * 30, "every development row of tone is labelled 'polite'"),
        (["polite"] * 8 + ["rude"] * 9, "8 development rows .* give at least 9"),
    ],
)
def test_rows_that_can_not_tell_are_refused(
    truth: list[str], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=expected):
        fit(defined(tmp_path), [{"polite": 0.5, "rude": 0.5}] * len(truth), truth)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("base", "calibration: {bias: {blunt: 1}}\nbase", ":10:14: bias is on 'blunt', which is"),
        ("base", "calibration: {bias: {rude: .inf}}\nbase", "the bias of 'rude' is inf; it is"),
        ("base", "calibration: {bias: {rude: 1, polite: 1}}\nbase", "bias names 2 labels"),
        ("base", "calibration: {bias: {rude: 1}, knots: []}\nbase", "unknown key 'knots'"),
        ("alarms: 0.1", "alarms: 5", ":9:25: input should be less than 1; it is 5"),
        ("alarms: 0.1", "alarms: 0.1\n  at: 1.1", ":10:7: input should be less than or equal"),
        ("  at_most", "  at_mots", "unknown key 'at_mots_false_alarms'; did you mean"),
        (", positive: rude", "", ":9:3: a threshold is for the positive label, and the output"),
        ("type: enum", "type: probability", ":9:3: a probability is the value itself"),
        ("[polite, rude]", "[polite, rude, odd]", None),
    ],
)
def test_a_wrong_calibration_or_threshold_is_told_at_its_place(
    old: str, new: str, expected: str | None, tmp_path: Path
) -> None:
    text = GOOD.replace(old, new)
    if expected is None:  # a threshold goes with three labels, a bias does not
        assert defined(tmp_path, text).threshold == Threshold(at_most_false_alarms=0.1)
        text, expected = text + "calibration: {bias: {rude: 1}}\n", "there are 3: leave it out"
    with pytest.raises(DefinitionError) as caught:
        defined(tmp_path, text)
    assert expected in str(caught.value)
