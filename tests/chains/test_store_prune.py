"""What is pruned goes, with all that only it referred to; everything else stays."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from chains.store import ROOT, STATUSES, Entry, Store, StoredMessage


def talk(store: Store, text: str, parent: str = ROOT, run_id: str | None = None) -> str:
    """A finished run that said something long; its id."""
    name = run_id or store.create("chat", "name: chat", {"text": "input " * 100})
    with store.lease(name) as run:
        message = StoredMessage("user", text * 200, (1, 2, 3), parent)
        run.append(
            Entry("said", {"output": text * 200, "list": [text] * 900}, messages=(message,)),
            status="finished",
        )
    return name


def test_pruning_takes_what_only_the_pruned_runs_had(tmp_path: Path) -> None:
    now = [1_700_000_000.0]
    with Store.open(tmp_path / "runs.db", clock=lambda: now[0]) as store:
        old = talk(store, "only the old one says this")
        shared = talk(store, "both say this")
        now[0] += 100
        new = talk(store, "both say this")
        dry = store.prune(older_than=50, dry_run=True)
        assert {run.run_id for run in dry.runs} == {old, shared} and dry.dry_run
        assert len(store.runs()) == 3
        done = store.prune(older_than=50)
        assert (done.messages, done.blobs, done.records) == (1, 2, 2)
        assert (dry.messages, dry.blobs, dry.bytes) == (done.messages, done.blobs, done.bytes)
        assert [run.run_id for run in store.runs()] == [new]
        assert store.records(new)[0].payload["list"] == ["both say this"] * 900
        assert store.definition(new).input == {"text": "input " * 100}
        assert store.check() == []
        assert store.prune(older_than=50).runs == ()


def test_a_run_that_is_held_or_has_a_fork_that_stays_is_kept(tmp_path: Path) -> None:
    with Store.open(tmp_path / "runs.db") as store:
        first = talk(store, "a")
        fork = store.fork(first)
        held, waiting = talk(store, "b"), store.create("c", "")
        with store.lease(waiting) as run:
            run.ask("?")
        with store.lease(held):
            told = store.prune(status=["finished"])
        assert told.runs == ()
        assert told.kept == {held: "it is being run", first: f"run {fork} was forked from it"}
        assert {run.run_id for run in store.prune().runs} == {held}
        assert {run.run_id for run in store.runs()} == {first, fork, waiting}
        assert len(store.prune(status=STATUSES).runs) == 3
        assert store.runs() == [] and store.check() == []


def test_the_newest_are_kept_and_the_file_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with Store.open(path) as store:
        runs = [talk(store, f"run {i} says {'x' * 100}") for i in range(30)]
        store.close()
    before = path.stat().st_size
    with Store.open(path) as store:
        assert len(store.prune(keep=2).runs) == 28
        assert [run.run_id for run in store.runs()] == runs[:-3:-1]
    assert path.stat().st_size < before / 3


def test_the_list_is_filtered(tmp_path: Path) -> None:
    with Store.open(tmp_path / "runs.db") as store:
        first, second = talk(store, "a"), store.create("other", "")
        assert [run.run_id for run in store.runs()] == [second, first]
        assert [run.run_id for run in store.runs(chain="other")] == [second]
        assert [run.run_id for run in store.runs(status=["finished"])] == [first]
        assert [run.run_id for run in store.runs(limit=1)] == [second]
        assert store.runs(before=0) == []


def test_the_check_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with Store.open(path) as store:
        run_id = talk(store, "long text")
        store.create("c", "")
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE blobs SET value = '\"changed\"' WHERE value LIKE '\"long%'")
        raw.execute("UPDATE runs SET last = 5 WHERE run_id = ?", (run_id,))
        raw.execute("DELETE FROM blobs WHERE value LIKE '\"input%'")
    raw.close()
    with Store.open(path) as store:
        told = "\n".join(store.check())
    assert "its text has changed" in told and "it has changed" in told
    assert f"run {run_id}: 1 records of its own, where 5 were appended" in told
    assert f"run {run_id}: blob" in told and "is missing" in told
