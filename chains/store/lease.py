"""At most one runner for a run: a lock on a file beside the database.

Why `flock`. The kernel drops it when its holder ends, however that happens: no heartbeat, no
expiry that a busy holder could miss, nothing to clean up after SIGKILL. It belongs to one opening
of the file, so it keeps threads of a process apart too, which POSIX record locks do not. A child
made by `fork` shares the opening and would keep the lock for a dead parent, so it closes it at
once; a program started by `exec` never inherits it. The file is removed when the lease ends: a
lock counts only if the name still leads to the file that was locked.
"""

from __future__ import annotations

import json
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import RunIsHeld, StoreError, StoreReadOnly

_TRIES, _PAUSE_SECONDS = 5, 0.01  # who looks whether a run is held has the lock for a moment
_TOLD_BYTES = 80


class Leases:
    """The leases that one opened store holds."""

    def __init__(self, database: Path) -> None:
        self._database = database.resolve()  # one file for all paths to it
        self._held: set[int] = set()
        forgotten = weakref.ref(self)
        if hasattr(os, "register_at_fork"):  # where processes fork
            os.register_at_fork(after_in_child=lambda: _forget(forgotten()))

    @contextmanager
    def hold(self, run_id: str) -> Iterator[None]:
        """Keep everybody else from running a run. Raises: RunIsHeld: somebody has it."""
        _check_system()
        path = self._path(run_id)
        file = self._locked(path, run_id)
        self._held.add(file)
        try:
            told = json.dumps({"pid": os.getpid(), "since": time.time()})
            with suppress(OSError):  # a full disk: the lock holds without it
                # over what a killed holder wrote; ext4 flushes a truncated file at closing, 1 ms
                os.pwrite(file, told.ljust(_TOLD_BYTES).encode(), 0)
            yield
        finally:
            if file in self._held:  # not in a child, where it is closed
                self._held.discard(file)
                path.unlink(missing_ok=True)
                os.close(file)

    def holder(self, run_id: str) -> int | None:
        """The process that is running a run; None where nobody is. Changes: nothing."""
        path = self._path(run_id)
        if not path.exists():
            return None
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            _flock(file, shared=True)
        except BlockingIOError:
            return int(_told(path).get("pid", 0))
        else:
            return None  # left behind by a holder that was killed
        finally:
            os.close(file)

    def _path(self, run_id: str) -> Path:
        return self._database.with_name(f"{self._database.name}-lease-{run_id}")

    def _locked(self, path: Path, run_id: str) -> int:
        for last in (*[False] * (_TRIES - 1), True):
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise StoreReadOnly(
                    f"{path}: cannot be made ({error.strerror}), so run {run_id} can't be held; "
                    "check the permissions of the folder"
                ) from error
            locked = False
            try:
                locked = _lock(file, path)
            finally:
                if not locked:
                    os.close(file)
            if locked:
                return file
            if not last:
                time.sleep(_PAUSE_SECONDS)
        told = _told(path)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(told.get("since")))
        raise RunIsHeld(
            f"run {run_id} is being run by process {told.get('pid', 'unknown')} since {since}; "
            "wait for it, or stop it"
        )


def _flock(file: int, *, shared: bool = False) -> None:
    """Raises: BlockingIOError: somebody else has it."""
    import fcntl  # not on Windows; see `_check_system`

    fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _check_system() -> None:
    """Raises: StoreError: a system without these locks, where runs can still be read."""
    try:
        import fcntl  # noqa: F401
    except ImportError:
        message = "runs can be recorded on POSIX systems only: this one has no flock"
        raise StoreError(message) from None


def _lock(file: int, path: Path) -> bool:
    try:
        _flock(file)
        return os.path.samestat(os.fstat(file), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be locked ({error.strerror}); keep the store on a local disk"
        ) from error


def _told(path: Path) -> dict[str, Any]:
    """What a holder says of itself; nothing while it is just beginning or ending."""
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _forget(leases: Leases | None) -> None:
    for file in leases._held if leases is not None else ():
        os.close(file)
    if leases is not None:
        leases._held.clear()
