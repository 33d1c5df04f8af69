"""Several processes at one store: killed ones lose nothing, and no two run the same run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from chains.errors import RunIsHeld
from chains.store import Entry, Store
from chains.store.lease import _lock

KILLS = 30
APPEND = """
import sys
from chains.store import ROOT, Entry, Store, StoredMessage
store = Store.open(sys.argv[1])
head = ROOT
with store.lease(sys.argv[2]) as run:
    i = store.run(sys.argv[2]).records // 2
    while True:
        message = StoredMessage("user", f"{i} " * 300, tuple(range(i % 50)), head)
        entries = Entry("said", {"i": i}, messages=(message,)), Entry("long", f"{i} " * 999)
        print(run.append(*entries), message.hash, flush=True)
        i, head = i + 1, message.hash
"""
HOLD = """
import sys, time
from chains.store import Store
with Store.open(sys.argv[1]).lease(sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""
ANSWER = """
import sys
from chains.errors import AlreadyAnswered
from chains.store import Store
store = Store.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    store.answer(sys.argv[2], sys.argv[3])
    print("stored")
except AlreadyAnswered as error:
    print(f"refused {error.answered} {error}")
"""
OPEN = """
import sys
from chains.store import Entry, Store
print("ready", flush=True)
sys.stdin.readline()
with Store.open(sys.argv[1]) as store:
    with store.lease(store.create("c", "name: c")) as run:
        for i in range(20):
            run.append(Entry("step", i))
print("done")
"""
FORK = """
import os, sys, time
from chains.errors import StoreError
from chains.store import Store
store = Store.open(sys.argv[1])
with store.lease(sys.argv[2]) as run:
    child = os.fork()
    if child == 0:
        try:
            run.append()
        except StoreError as error:
            assert "opened before a fork" in str(error)
            store.close()
            time.sleep(600)
        os._exit(1)
    print(child, flush=True)
    time.sleep(600)
"""


def started(script: str, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    told = process.stdout.readline()
    assert told, "the process ended early"
    return told.strip()


def killed(process: subprocess.Popen[str]) -> str:
    """Kill it; what it had told by then."""
    process.kill()
    told, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    return told


def say_go(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Let all of them go on at once, when all are ready; what each tells."""
    assert [line(process) for process in processes] == ["ready"] * len(processes)
    for process in processes:
        pipe: IO[str] | None = process.stdin
        assert pipe is not None
        pipe.write("\n")
        pipe.flush()
    return [process.communicate(timeout=120)[0].strip() for process in processes]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def created(path: Path) -> str:
    with Store.open(path) as store:
        return store.create("c", "name: c")


def test_a_killed_process_loses_no_append_that_was_acknowledged(path: Path) -> None:
    run_id, chance = created(path), random.Random(5)
    for _ in range(KILLS):
        process = started(APPEND, path, run_id)
        told = line(process)
        time.sleep(chance.random() * 0.05)
        acknowledged = f"{told}\n{killed(process)}".splitlines()
        # the last line may be cut, and the first one that `communicate` reads
        last, head = [one for one in acknowledged if len(one.rpartition(" ")[2]) == 64][-1].split()
        with Store.open(path) as store:
            records = store.records(run_id)
            assert len(records) >= int(last)
            assert len(records) % 2 == 0, "half of an append"
            assert [one.payload["i"] for one in records[::2]] == list(range(len(records) // 2))
            assert records[-1].payload == f"{len(records) // 2 - 1} " * 999
            assert records[int(last) - 2].head == head and store.messages(head)
            assert store.holder(run_id) is None
            assert store.check() == []


def test_a_run_is_held_by_one_process_and_free_once_that_is_killed(path: Path) -> None:
    run_id = created(path)
    process = started(HOLD, path, run_id)
    assert line(process) == "held"
    with Store.open(path) as store:
        assert store.holder(run_id) == process.pid
        with pytest.raises(RunIsHeld, match=f"by process {process.pid} since 20"):
            store.lease(run_id).__enter__()
        killed(process)
        with store.lease(run_id) as run:
            assert store.holder(run_id) == os.getpid()
            run.append(Entry("mine"))
    assert os.listdir(path.parent) == ["runs.db"]


def test_a_child_does_not_keep_the_lease_of_its_dead_parent(path: Path) -> None:
    run_id = created(path)
    process = started(FORK, path, run_id)
    child = int(line(process))
    try:
        time.sleep(0.2)  # the child has left the lease, the parent has it still
        with Store.open(path) as store:
            assert store.holder(run_id) == process.pid
            process.kill()
            process.wait()
            with store.lease(run_id) as run:
                run.append(Entry("mine"))
        os.kill(child, 0)  # it has lived on all the while
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate()


def test_of_many_threads_one_at_a_time_holds_a_run(path: Path) -> None:
    run_id, inside, most, done = created(path), [0], [0], [0]
    with Store.open(path) as store:

        def work() -> None:
            for _ in range(20):
                try:
                    with store.lease(run_id) as run:
                        inside[0] += 1
                        most[0] = max(most[0], inside[0])
                        done[0] = run.append(Entry("step"))
                        inside[0] -= 1
                except RunIsHeld:
                    continue

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [1]
        assert store.run(run_id).records == done[0] > 0


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(path: Path) -> None:
    run_id = created(path)
    place = path.with_name(f"{path.name}-lease-{run_id}")
    with Store.open(path) as store:
        with store.lease(run_id):
            late = os.open(place, os.O_RDWR)  # waits its turn, while the holder ends
        assert not _lock(late, place)
        with store.lease(run_id):
            assert not _lock(late, place)
        os.close(late)


def test_threads_share_a_store(path: Path) -> None:
    with Store.open(path) as store:
        runs = [store.create("c", "") for _ in range(4)]

        def work(run_id: str) -> None:
            with store.lease(run_id) as run:
                for i in range(50):
                    run.append(Entry("step", f"{i} " * 200))

        threads = [threading.Thread(target=work, args=(run_id,)) for run_id in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for run_id in runs:
            assert [r.payload for r in store.records(run_id)] == [f"{i} " * 200 for i in range(50)]
        assert store.check() == []


@pytest.fixture
def racers(path: Path) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    run_id = created(path)
    with Store.open(path) as store, store.lease(run_id) as run:
        run.ask({"question": "Go on?"}, node="human")
    yield run_id, [started(ANSWER, path, run_id, name) for name in ("first", "second")]


def test_of_two_answers_one_counts(
    path: Path, racers: tuple[str, list[subprocess.Popen[str]]]
) -> None:
    run_id, processes = racers
    told = say_go(processes)
    assert sorted(one.split()[0] for one in told) == ["refused", "stored"]
    winner = ["first", "second"][told.index("stored")]
    _, answered, message = next(one for one in told if one != "stored").split(" ", 2)
    with Store.open(path) as store:
        [ask] = store.asks(run_id)
        assert (ask.answer, ask.answered) == (winner, float(answered))
        assert json.loads(json.dumps(ask.to_dict()))["answered"] in message
        with store.lease(run_id) as run:
            assert run.receive(ask.seq).answer == winner


def test_processes_that_open_a_new_store_at_once_all_write_to_it(path: Path) -> None:
    told = say_go([started(OPEN, path) for _ in range(4)])
    assert told == ["done"] * 4
    with Store.open(path) as store:
        assert [run.records for run in store.runs()] == [20] * 4
        assert store.check() == []
