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


FORKING = """\
import asyncio, json, os, random, signal, sys, time
from pathlib import Path
from calls import step
from chains import Chain, RunInput
from chains.recorder import recorded, resumed
from chains.runner import run
from chains.store import Store

chain, given = Chain.load("counted.yaml", functions=[step]), RunInput(inputs={"first": 1})
chance, log = random.Random(int(sys.argv[2])), Path("log.txt")


def lines():
    return len(log.read_text().splitlines()) if log.exists() else 0


def child(run_id, name):
    pid = os.fork()
    if pid:
        return pid
    with Store.open(Path("runs.db")) as store:
        opened = resumed(store, run_id, chain) if run_id else recorded(store, chain, given)
        with opened as recorder:
            done = asyncio.run(run(chain, None, given, recorder=recorder, alone=True))
    Path(name).write_text(json.dumps([done.output, done.messages, done.status]))
    os._exit(0)


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


assert ended(child(None, "whole.json")) == 0
whole, steps, killed, repeats = Path("whole.json").read_text(), lines(), 0, []
while killed < int(sys.argv[1]):
    log.unlink(missing_ok=True)
    pid, moment = child(None, "x.json"), chance.randint(0, steps)
    while lines() < moment:
        time.sleep(0.0005)
    time.sleep(chance.random() * 0.02)
    os.kill(pid, signal.SIGKILL)
    if ended(pid) == 0:
        continue  # the kill came after the end
    with Store.open(Path("runs.db")) as store:
        runs = store.runs(limit=1)
    if not runs or runs[0].status == "finished":
        continue  # it came before the run was recorded
    killed += 1
    assert ended(child(runs[0].run_id, "resumed.json")) == 0
    assert Path("resumed.json").read_text() == whole
    repeats.append(lines() - steps)
with Store.open(Path("runs.db")) as store:
    assert {one.status for one in store.runs()} == {"finished"} and store.check() == []
assert all(0 <= one <= 2 for one in repeats), repeats
print(killed, sum(repeats))
"""


def command(folder: Path, *arguments: str) -> list[str]:
    code = "from chains.cli import main; main()"
    return [sys.executable, "-c", code, *arguments, "--functions", "calls", "--record", "runs.db"]


def told(folder: Path, *arguments: str) -> dict[str, Any]:
    """The JSON that a command prints, without what differs from run to run."""
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


def killed(run: list[str], folder: Path, lines: int, later: float) -> None:
    """Start a run, and kill it `later` seconds after its functions have been called so often."""
    log = folder / "log.txt"
    log.unlink(missing_ok=True)
    with subprocess.Popen(
        run, cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        while process.poll() is None:
            if log.exists() and len(log.read_text().splitlines()) >= lines:
                time.sleep(later)
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)


def test_a_killed_command_is_resumed_by_another_to_the_same_end(folder: Path) -> None:
    run = command(folder, "run", "counted.yaml", "--input", "given.json")
    undisturbed = told(folder, "run", "counted.yaml", "--input", "given.json")
    whole = (folder / "log.txt").read_text().split()
    random = Random(folder.name)
    for _ in range(3):
        killed(run, folder, random.randint(1, len(whole)), random.random() * 0.02)
        with Store.open(folder / "runs.db", create=False) as store:
            (killed_run,) = store.runs(limit=1)
            assert store.holder(killed_run.run_id) is None
        if killed_run.status != "finished":  # else the kill came after the end
            assert told(folder, "resume", killed_run.run_id) == undisturbed
        called = (folder / "log.txt").read_text().split()
        repeated = len(called) - len(whole)
        assert 0 <= repeated <= 2, "only what was in work is done again"
    with Store.open(folder / "runs.db", create=False) as store:
        assert {one.status for one in store.runs()} == {"finished"}
        assert store.check() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that begin with no import")
def test_runs_killed_at_a_hundred_random_moments_come_to_the_same_end(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING, "100", "7"],
        capture_output=True,
        text=True,
        cwd=folder,
        env=ENVIRONMENT,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "100"


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
