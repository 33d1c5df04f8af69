"""Every error that chains raise on purpose, one tree.

ChainError
├── ChainDefinitionError   a chain is wrong; holds every fault with its place
├── InputError             a run's input: messages, documents or input fields
├── OutputError            a result that could not be written
├── ChainRunError          a run could not go on; says at which node, and what to do
├── RunWaits               a recorded run waits for a human; it is no failure
├── ChainChanged           a recorded run's chain is not the one it began with
└── StoreError             runs could not be recorded or read; what was recorded before is intact
    ├── StoreRequestError  what is asked of a store can't be had
    │   ├── UnknownRun         no run of that name in it
    │   ├── AlreadyAnswered    an ask has its answer; says since when
    │   └── NotStorable        a value that JSON can't hold
    ├── RunIsHeld          another process or thread is running this run
    ├── StoreMissing       there is no such file
    ├── NotAStore          a file of another kind
    ├── StoreDamaged       a store whose pages are corrupt
    ├── StoreReadOnly      a store that can't be written
    ├── StoreFull          no space on the disk
    ├── StoreTooNew        written by a later release
    └── StoreBusy          another process kept writing to it for too long
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from intrinsics.errors import Fault

if TYPE_CHECKING:
    from .model import ErrorKind


class ChainError(Exception):
    """Base of all errors that a chain or its caller can cause."""


class ChainDefinitionError(ChainError):
    """A chain that can't run as written; `faults` lists every mistake, in file order."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(set(faults), key=lambda f: (f.file, f.line, f.column)))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class InputError(ChainError):
    """What a run was given can't be used; the message says where and what to do."""


class OutputError(ChainError):
    """A result could not be written; what stood in its place is intact."""


class ChainRunError(ChainError):
    """A run stopped at `node`; the conversation is as it was before the run.

    `reason` is what an error edge names (`chains.model.ERRORS`); `plain` leaves the node out.
    """

    def __init__(self, message: str, node: str | None = None, reason: ErrorKind = "engine") -> None:
        self.node, self.reason, self.plain = node, reason, message
        super().__init__(f"node {node!r}: {message}" if node else message)


class RunWaits(ChainError):
    """A recorded run waits for the answer to a question; resumed, it goes on from there."""

    def __init__(self, node: str, question: str) -> None:
        self.node, self.question = node, question
        super().__init__(f"node {node!r} waits for an answer: {question}")


class ChainChanged(ChainError):
    """A recorded run can't go on as it began: its chain or its model is another one now."""


class StoreError(ChainError):
    """Runs could not be recorded or read; what was recorded before is intact."""


class StoreRequestError(StoreError):
    """What is asked of a store can't be had; the message says what can."""


class UnknownRun(StoreRequestError):
    """No run of that name is in the store."""


class AlreadyAnswered(StoreRequestError):
    """An ask has its answer already, `answered` in seconds since 1970; that one counts."""

    def __init__(self, message: str, answered: float) -> None:
        self.answered = answered
        super().__init__(message)


class NotStorable(StoreRequestError):
    """A value that JSON can't hold, or text that is none; nothing of it was stored."""


class RunIsHeld(StoreError):
    """Another process, or another thread of this one, is running this run."""


class StoreMissing(StoreError):
    """There is no such file."""


class NotAStore(StoreError):
    """A file or folder that is no store of runs; it was not touched."""


class StoreDamaged(StoreError):
    """A store whose pages are corrupt."""


class StoreReadOnly(StoreError):
    """A store that can't be written, by its permissions or as it was opened."""


class StoreFull(StoreError):
    """No space is left; what could not be written whole was not written at all."""


class StoreTooNew(StoreError):
    """A store that a later release has written; it was not touched."""


class StoreBusy(StoreError):
    """Another process kept writing for longer than the patience a store was opened with."""
