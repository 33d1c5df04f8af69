"""The command line's recorded runs, ended by SIGKILL at random moments and resumed elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chains.store import Store

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
CALLS = """\
import time


def step(number: int) -> int:
    time.sleep(0.01)
    with open("log.txt", "a") as file:
        file.write(f"{number}\\n")
    time.sleep(0.01)
    return number + 1
"""
CHAIN = """\
chain: counted
input: {first: int}
nodes:
  one: {function: {call: "calls:step", arguments: {number: input.first}}}
  told: {say: "One is {{ one.value }}."}
  both:
    parallel:
      branches:
        left: {function: {call: "calls:step", arguments: {number: one.value}}}
        right: {function: {call: "calls:step", arguments: {number: 20}}}
        spoken: {say: "Both."}
  again: {function: {call: "calls:step", arguments: {number: both.left.value}}}
  last: {function: {call: "calls:step", arguments: {number: both.right.value}}}
flow:
  - start -> one
  - one -> told
  - told -> both
  - both -> again
  - again -> again: {at_most: 4, then: last}
  - last -> end
output: "{{ last.value }} {{ both.left.value }}"
"""


def command(folder: Path, *arguments: str) -> list[str]:
    code = "from chains.cli import main; main()"
    return [sys.executable, "-c", code, *arguments, "--functions", "calls", "--record", "runs.db"]


def told(folder: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [*command(folder, *arguments), "--json"],
        capture_output=True,
        text=True,
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    plain: dict[str, Any] = json.loads(done.stdout)
    assert plain.pop("run_id")
    del plain["ledger"]
    for node in plain["nodes"]:
        del node["ledger"]
    return plain


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "calls.py").write_text(CALLS)
    (tmp_path / "counted.yaml").write_text(CHAIN)
    (tmp_path / "given.json").write_text(json.dumps({"inputs": {"first": 1}}))
    return tmp_path


def killed(folder: Path, lines: int) -> None:
    """Start a run, and kill it once its functions have been called so often."""
    log = folder / "log.txt"
    log.unlink(missing_ok=True)
    run = command(folder, "run", "counted.yaml", "--input", "given.json")
    with subprocess.Popen(
        run, cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        while process.poll() is None:
            if log.exists() and len(log.read_text().splitlines()) >= lines:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)


@pytest.mark.parametrize(
    "kills", [3, pytest.param(100, marks=pytest.mark.slow)], ids=["three kills", "a hundred kills"]
)
def test_a_run_that_was_killed_comes_to_the_end_of_an_undisturbed_one(
    folder: Path, kills: int
) -> None:
    undisturbed = told(folder, "run", "counted.yaml", "--input", "given.json")
    whole = (folder / "log.txt").read_text().split()
    random = Random(7)
    for _ in range(kills):
        killed(folder, random.randint(1, len(whole)))
        time.sleep(random.random() * 0.02)
        with Store.open(folder / "runs.db", create=False) as store:
            run = store.runs(limit=1)[0]
            held = store.holder(run.run_id)
        assert held is None
        assert told(folder, "resume", run.run_id) == undisturbed
        called = (folder / "log.txt").read_text().split()
        repeated = len(called) - len(whole)
        assert 0 <= repeated <= 2, "only what was in work is done again"
    with Store.open(folder / "runs.db", create=False) as store:
        assert {run.status for run in store.runs()} == {"finished"}
        assert store.check() == []


def test_two_processes_never_run_the_same_run(folder: Path) -> None:
    (folder / "calls.py").write_text(CALLS.replace("0.01", "1.0"))
    run = command(folder, "run", "counted.yaml", "--input", "given.json")
    with subprocess.Popen(
        run,
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        run_id = process.stderr.readline().decode().split()[-1]
        other = subprocess.run(
            command(folder, "resume", run_id),
            cwd=folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        process.kill()
    assert other.returncode == 1
    assert f"run {run_id} is being run by process {process.pid}" in other.stderr
