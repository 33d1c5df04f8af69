"""`chains calibrate` on a tiny engine: judge, fit, rewrite; and what it refuses before any work."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from chains.cli import main
from chains.commands.calibrate import fit_and_write, show
from conftest import tiny_engine, write_intrinsic
from intrinsics.data import Example
from intrinsics.engine import Engine
from intrinsics.messages import Message
from intrinsics.readout import calibrated
from intrinsics.spec import Definition


def rows(count: int) -> list[Example]:
    """The label says whether the text is long."""
    return [
        Example(
            id=f"r{i}",
            messages=(Message(role="user", content="x" * (1 + i % 7)),),
            label="yes" if i % 7 > 3 else "no",
        )
        for i in range(count)
    ]


def with_threshold(engine: Engine, folder: Path) -> Definition:
    directory = write_intrinsic(engine, folder, "judge")
    with (directory / "intrinsic.yaml").open("a") as file:
        file.write("threshold: {at_most_false_alarms: 0.2}\n")
    return Definition.load(directory)


def test_what_is_fitted_is_what_verdicts_are_read_with(tmp_path: Path) -> None:
    engine = tiny_engine()
    definition = with_threshold(engine, tmp_path)
    fitting = fit_and_write(engine, definition, rows(42))
    again = Definition.load(definition.directory)
    assert (again.calibration, again.threshold) == (fitting.calibration, fitting.threshold)
    assert json.loads(json.dumps(fitting.to_dict()))["threshold"]["at_most_false_alarms"] == 0.2
    assert fitting.threshold is not None and fitting.threshold.at is not None
    alarms, others = 0, 0
    fresh = tiny_engine()  # an engine keeps the definitions it has read
    for row in rows(42):
        verdict = fresh.call(fresh.conversation(row.messages), definition.directory)
        assert verdict.distribution == calibrated(verdict.raw_distribution, again.calibration)
        assert (verdict.value == "yes") is (verdict.p("yes") > fitting.threshold.at)
        others += row.label == "no"
        alarms += row.label == "no" and verdict.value == "yes"
    assert alarms / others == pytest.approx(fitting.false_alarms) and alarms / others <= 0.2


def test_it_shows_what_was_tried_and_what_was_taken(tmp_path: Path) -> None:
    engine = tiny_engine()
    fitting = fit_and_write(engine, with_threshold(engine, tmp_path), rows(42))
    out = StringIO()
    show(fitting, Console(file=out, width=80))
    told = out.getvalue()
    assert "42 rows" in told and "temperature and bias" in told and told.count("taken") == 1
    assert "threshold: at most 0.2 false alarms, at " in told


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["no"] * 9, "every development row of judge is labelled 'no'"),
        (["no", "yes", "yes"], "1 development rows that are not 'yes' can't show"),
    ],
)
def test_rows_that_can_not_tell_are_refused_before_the_model_is_loaded(
    labels: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    definition = with_threshold(tiny_engine(), tmp_path)
    before = (definition.directory / "intrinsic.yaml").read_bytes()
    data = tmp_path / "dev.jsonl"
    lines = [
        {"id": str(i), "messages": [{"role": "user", "content": "Hi."}], "label": label}
        for i, label in enumerate(labels)
    ]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(SystemExit) as caught:
        main(["calibrate", str(definition.directory), "--dev", str(data), "--json"])
    assert caught.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == "" and message in shown.err
    assert (definition.directory / "intrinsic.yaml").read_bytes() == before
