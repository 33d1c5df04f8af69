"""Files that are no store, damaged, unwritable, full, too new or old: said so, and left alone."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from chains.errors import (
    NotAStore,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreMissing,
    StoreReadOnly,
    StoreTooNew,
)
from chains.store import Entry, Store
from chains.store.schema import APPLICATION, LATEST, STEPS

NOBODY = 65534


def made(path: Path, records: int = 40) -> str:
    """A store with one run; its id."""
    with Store.open(path) as store:
        run_id = store.create("c", "name: c", {"text": "input " * 1000})
        with store.lease(run_id) as run:
            for i in range(records):
                run.append(Entry("step", {"text": f"{i} {'x' * 3000}"}), status="finished")
    return run_id


@contextmanager
def as_nobody() -> Iterator[None]:
    """Permissions count for everybody but the superuser."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user may reach, as those of pytest are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"not a database at all\n" * 50, "not an SQLite database"), (b"x", "not an SQLite database")],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_of_another_kind_is_refused(
    tmp_path: Path, content: bytes, told: str, read_only: bool
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(NotAStore, match=told):
        Store.open(path, read_only=read_only)
    assert path.read_bytes() == content and os.listdir(tmp_path) == ["notes.txt"]


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE runs (a)")
    before = path.read_bytes()
    with pytest.raises(NotAStore, match="another program, with 1 tables"):
        Store.open(path)
    assert path.read_bytes() == before


def test_missing_files_and_folders_are_told(tmp_path: Path) -> None:
    for read_only in (False, True):
        with pytest.raises(StoreMissing, match=r"none\.db: there is no such file"):
            Store.open(tmp_path / "none.db", create=read_only, read_only=read_only)
    with pytest.raises(StoreMissing, match="there is no folder"):
        Store.open(tmp_path / "nowhere" / "a.db")
    with pytest.raises(NotAStore, match=r"a folder; name a file in it"):
        Store.open(tmp_path)
    assert os.listdir(tmp_path) == []


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    with Store.open(path, create=False) as store:
        assert store.runs() == [] and store.check() == []


def test_a_store_of_a_later_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    made(path)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(StoreTooNew, match=f"version 99, .* up to {LATEST}; update"):
            Store.open(path, read_only=read_only)
    assert path.read_bytes() == before


def test_damage_is_told_where_it_is_met(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    run_id = made(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        for page in range(4, size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    with Store.open(path) as store, pytest.raises(StoreDamaged, match="restore a copy"):
        store.records(run_id)
    with path.open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(StoreDamaged, match=r"damaged \("), Store.open(path) as store:
        store.runs()


def test_a_missing_blob_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    run_id = made(path, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("DELETE FROM blobs")
    with Store.open(path) as store, pytest.raises(StoreDamaged, match=r"blob .* is missing"):
        store.records(run_id)


def test_a_store_that_cannot_be_written_can_be_read(open_folder: Path) -> None:
    path = open_folder / "a.db"
    run_id = made(path)
    path.chmod(0o444)
    open_folder.chmod(0o555)
    with as_nobody():
        with pytest.raises(StoreReadOnly, match="check the permissions"):
            Store.open(path)
        with Store.open(path, read_only=True) as store:
            assert len(store.records(run_id)) == 40
            with pytest.raises(StoreReadOnly, match="opened read-only"):
                store.create("c", "")
            with pytest.raises(StoreReadOnly), store.lease(run_id):
                pass
        with pytest.raises(StoreReadOnly, match="check the permissions"):
            Store.open(open_folder / "new.db")
    path.chmod(0o000)
    with as_nobody(), pytest.raises(StoreReadOnly, match="check the permissions"):
        Store.open(path, read_only=True)
    assert os.listdir(open_folder) == ["a.db"]


def test_a_folder_that_becomes_unwritable_refuses_a_lease(open_folder: Path) -> None:
    path = open_folder / "a.db"
    run_id = made(path)
    with Store.open(path) as store:
        open_folder.chmod(0o555)
        with as_nobody(), pytest.raises(StoreReadOnly, match="can't be held"), store.lease(run_id):
            pass


def test_a_full_database_keeps_what_it_had_and_goes_on_with_space(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db") as store:
        run_id = store.create("c", "")
        raw = store._database.connection
        (pages,) = raw.execute("PRAGMA page_count").fetchone()
        raw.execute(f"PRAGMA max_page_count = {pages + 20}")
        fill(store, run_id)
        raw.execute("PRAGMA max_page_count = 1000000")
        with store.lease(run_id) as run:
            run.append(Entry("again"))


def fill(store: Store, run_id: str) -> None:
    """Append until the disk is full; every append that returned is there, and nothing else."""
    done: list[int] = []
    with store.lease(run_id) as run, pytest.raises(StoreFull, match="no space left"):
        for i in range(100_000):
            entries = [Entry("a", {"i": i, "text": f"{i} {'x' * 9000}"}), Entry("b", i)]
            done += [run.append(*entries)]
    records = store.records(run_id)
    assert done and len(records) == 2 * len(done) == done[-1]
    assert [one.payload for one in records if one.kind == "b"] == list(range(len(done)))
    assert store.check() == []


def test_a_disk_that_is_really_full_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only the superuser may make a small disk")
    try:
        with Store.open(disk / "a.db") as store:
            run_id = store.create("c", "")
            fill(store, run_id)
        with Store.open(disk / "a.db") as store:
            assert store.check() == []
            assert store.prune(status=["running"], dry_run=True).runs
        (disk / "ballast").write_bytes(b"x" * (shutil.disk_usage(disk).free // 4096 * 4096))
        with pytest.raises(StoreFull):
            Store.open(disk / "b.db")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_another_writer_is_waited_for_and_then_told(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Store.open(path, busy_seconds=0.05) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as raw:
            raw.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreBusy, match="another process keeps it locked"):
                store.create("c", "")
            assert store.runs() == []  # readers never wait
        assert store.create("c", "")
    with pytest.raises(StoreError, match="closed database"):
        store.runs()
    store.close()


def old_file(path: Path, version: int) -> None:
    """A store as the release of that version left it, with a run of two records."""
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
        for step in STEPS[:version]:
            for statement in step:
                raw.execute(statement)
        raw.execute(
            "INSERT INTO runs VALUES (1, '20250101-000000000-0000abcd', 'old', 'h', "
            "'\"name: old\"', '{\"a\":1}', '{}', 'finished', 2, 1.0, 2.0, NULL, NULL)"
        )
        for seq in (1, 2):
            raw.execute(
                "INSERT INTO journal (run, seq, kind, node, branch, payload, at) "
                "VALUES (1, ?, 'step', 'n', '', '{\"x\":true}', 1.5)",
                (seq,),
            )


@pytest.mark.parametrize("version", range(1, LATEST + 1))
def test_a_store_of_any_earlier_version_is_brought_up(tmp_path: Path, version: int) -> None:
    path, fresh = tmp_path / "old.db", tmp_path / "new.db"
    old_file(path, version)
    if version < LATEST:
        with pytest.raises(StoreReadOnly, match=f"of version {version}.*open it once for writing"):
            Store.open(path, read_only=True)
    with Store.open(path) as store:
        [run] = store.runs()
        assert (run.chain, run.records, run.status) == ("old", 2, "finished")
        assert [(one.payload, one.attempt) for one in store.records(run.run_id)] == [
            ({"x": True}, 1)
        ] * 2
        with store.lease(run.run_id) as held:
            assert held.append(Entry("step", attempt=2)) == 3
        assert store.check() == []
    with Store.open(fresh):
        pass
    assert schema(path) == schema(fresh)


def schema(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as raw:
        told = raw.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
        told += raw.execute("PRAGMA user_version").fetchall()
        told += raw.execute("PRAGMA application_id").fetchall()
    assert told[-1] == (APPLICATION,)
    return told


def test_a_migration_that_fails_leaves_the_old_version(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old_file(path, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        # as if half of the step had been done by hand
        raw.execute("ALTER TABLE journal ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1")
    before = schema(path)
    with pytest.raises(StoreError, match="duplicate column name"):
        Store.open(path)
    assert schema(path) == before


def test_a_closed_store_is_one_file(tmp_path: Path) -> None:
    made(tmp_path / "a.db")
    assert os.listdir(tmp_path) == ["a.db"]
