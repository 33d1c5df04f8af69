"""One SQLite file, opened and closed with care; its errors become ours."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import (
    NotAStore,
    NotStorable,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreMissing,
    StoreReadOnly,
    StoreRequestError,
    StoreTooNew,
)
from .schema import APPLICATION, LATEST, migrate
from .values import Missing

_HEADER = b"SQLite format 3\0"
_OLDEST_SQLITE = (3, 37, 0)  # STRICT tables


class Database:
    """A connection that threads may share: each use of it waits for the one before."""

    def __init__(self, path: Path, connection: sqlite3.Connection, read_only: bool) -> None:
        self.path, self.read_only = path, read_only
        self.connection = connection
        self._lock = threading.RLock()
        self._process = os.getpid()

    @staticmethod
    def open(path: Path, *, create: bool, read_only: bool, busy_seconds: float) -> Database:
        """Open a store's file; make it, or bring it to the latest version, where that is needed.

        Raises: StoreError: its subclass says what is wrong; the file is as it was.
        """
        _check_path(path, create and not read_only)
        with translated(path):
            connection = _connect(path, create, read_only, busy_seconds)
            try:
                _prepare(connection, path, read_only, busy_seconds)
            except BaseException:
                connection.close()
                raise
        return Database(path, connection, read_only)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A look at one state of the file, whatever others write meanwhile. Raises: StoreError."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all that is done in it is stored, or nothing. Raises: StoreError."""
        if self.read_only:
            raise StoreReadOnly(f"{self.path}: opened read-only; open it for writing to change it")
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        if os.getpid() != self._process:
            raise StoreError(f"{self.path}: opened before a fork; open it again in the child")
        with self._lock, translated(self.path):
            self.connection.execute(begin)
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:  # a full disk has rolled back already
                    self.connection.execute("ROLLBACK")
                raise

    def return_space(self) -> None:
        """Give what was freed back to the disk. Raises: StoreError."""
        with self._lock, translated(self.path):
            # `execute` would take one step, which is one page
            self.connection.executescript("PRAGMA incremental_vacuum")
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Put everything into the one file, and let go of it; again is fine."""
        if os.getpid() != self._process:
            return  # SQLite's connections are not to be touched in a child; the parent closes it
        with self._lock:
            try:
                if not self.read_only:
                    self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.Error:  # closed before, or no space: the log beside the file has it all
                pass
            finally:
                self.connection.close()


def _check_path(path: Path, create: bool) -> None:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StoreError(
            f"{path}: Python's SQLite is {sqlite3.sqlite_version}, and 3.37 is needed; "
            "use a later Python"
        )
    if path.is_dir():
        raise NotAStore(f"{path}: a folder; name a file in it, such as {path / 'runs.db'}")
    if not path.parent.is_dir():
        raise StoreMissing(f"{path}: there is no folder {path.parent}; make it first")
    if not create and not path.exists():
        raise StoreMissing(f"{path}: there is no such file; `chains run --record` makes one")
    with suppress(OSError), path.open("rb") as file:  # what can't be read, SQLite will say
        start = file.read(len(_HEADER))
        if start and start != _HEADER:  # SQLite would take a file of a few bytes for an empty one
            raise NotAStore(f"{path}: not an SQLite database; name another file")


def _connect(path: Path, create: bool, read_only: bool, busy: float) -> sqlite3.Connection:
    place = path.absolute().as_uri()
    mode = "ro" if read_only else "rwc" if create else "rw"
    connection = _connected(f"{place}?mode={mode}", busy)
    if not read_only:
        return connection
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        log = Path(f"{path}-wal")
        if log.exists() and log.stat().st_size:
            raise
        # in a folder that can't be written SQLite can't share it; nor can anybody write to it
        return _connected(f"{place}?mode=ro&immutable=1", busy)
    return connection


def _connected(uri: str, busy: float) -> sqlite3.Connection:
    return sqlite3.connect(
        uri, timeout=busy, uri=True, isolation_level=None, check_same_thread=False
    )


def _prepare(connection: sqlite3.Connection, path: Path, read_only: bool, busy: float) -> None:
    """Refuse what is no store or too new, before anything is changed; then set up and migrate."""
    version = _version(connection, path)
    connection.execute("PRAGMA foreign_keys = ON")
    if read_only:
        if version != LATEST:
            raise StoreReadOnly(
                f"{path}: of version {version}, and has to be brought to {LATEST}, which opening "
                "it read-only can't do; open it once for writing"
            )
        return
    if version == 0:  # decides how a new file is laid out, so it goes first
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    _log_ahead(connection, busy)
    connection.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing
    connection.execute("PRAGMA journal_size_limit = 4194304")
    migrate(connection)  # begins to write, which tells at once where that is not possible


def _version(connection: sqlite3.Connection, path: Path) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION and (tables or version or application):
        raise NotAStore(
            f"{path}: an SQLite database of another program, with {tables} tables and indexes; "
            "name another file"
        )
    if version > LATEST:
        raise StoreTooNew(
            f"{path}: of version {version}, and this release knows up to {LATEST}; "
            "update alora-chains, or name another file"
        )
    return int(version)


def _log_ahead(connection: sqlite3.Connection, busy: float) -> None:
    """Switch to the write-ahead log; SQLite does not wait by itself if another is switching."""
    deadline = time.monotonic() + busy
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if _primary(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _primary(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as errors of a store: what, where, and what to do about it."""
    try:
        yield
    except sqlite3.Error as error:
        raise _told(path, error) from error
    except UnicodeEncodeError as error:
        raise NotStorable(
            f"{path}: not text at character {error.start}: {error.reason}; "
            "half of a surrogate pair can't be stored"
        ) from error
    except json.JSONDecodeError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> StoreDamaged:
    return StoreDamaged(
        f"{path}: damaged ({error}); restore a copy, or read what is left with "
        f"`sqlite3 {path} .recover`"
    )


def _told(path: Path, error: sqlite3.Error) -> StoreError:
    code, extended = _primary(error), getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_NOTADB:
        return NotAStore(f"{path}: not an SQLite database; name another file")
    if code == sqlite3.SQLITE_CORRUPT or isinstance(error, Missing) or "decode" in str(error):
        return _damaged(path, error)
    if code == sqlite3.SQLITE_FULL or extended == sqlite3.SQLITE_IOERR_SHMSIZE:
        return StoreFull(f"{path}: no space left, nothing of this was stored; free some space")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return StoreReadOnly(
            f"{path}: cannot be written or opened ({error}); check the permissions of the file and "
            "of its folder"
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"{path}: another process keeps it locked; try again when that is done")
    if extended == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        return StoreRequestError(f"{path}: refers to a message or run that is not stored here")
    if extended == sqlite3.SQLITE_CONSTRAINT_CHECK:
        return NotStorable(f"{path}: a value it can't hold ({error}); nested too deeply?")
    return StoreError(f"{path}: {error}")
