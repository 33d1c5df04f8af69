"""A run that is held: the only way to write its journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import JsonValue

from ..errors import StoreRequestError
from . import asks, runs
from .journal import Packed, append
from .records import Ask, Entry, Status

if TYPE_CHECKING:
    from .database import Database


class HeldRun:
    """Writes to one run while nobody else may; `Store.lease` gives it.

    Once a method has returned, what it wrote survives the end of this process, SIGKILL included.
    """

    def __init__(
        self, database: Database, run_id: str, number: int, clock: Callable[[], float]
    ) -> None:
        self.run_id = run_id
        self._database, self._number, self._clock = database, number, clock
        self._released = False

    def append(self, *entries: Entry, status: Status | None = None) -> int:
        """Append to the journal, and set the run's status where one is given, all or nothing.

        Returns the seq of the last record; the others have those before it. Without entries only
        the status is set.
        Raises: NotStorable: a payload is not JSON; StoreRequestError: a message's parent or a
        head is not stored, or the lease has ended; StoreError: it can't be written.
        """
        packed = [Packed.of(entry) for entry in entries]
        self._check()
        with self._database.write() as connection:
            return append(connection, self._number, packed, self._clock(), status)

    def redefine(self, chain_yaml: str, entry: Entry) -> int:
        """Replace the run's chain, and append the record of it; returns its seq.

        Raises: as `append`.
        """
        packed = Packed.of(entry)
        self._check()
        with self._database.write() as connection:
            runs.redefine(connection, self._number, chain_yaml)
            return append(connection, self._number, [packed], self._clock())

    def ask(
        self, question: JsonValue, *, node: str = "", branch: str = "", attempt: int = 1
    ) -> int:
        """Append a record of kind "asked" with the question as payload; the run waits.

        Returns its seq, which names the ask: `Store.answer` may give the answer from any process,
        days later, and `receive` takes it.
        Raises: as `append`.
        """
        packed = Packed.of(Entry(asks.ASKED, question, node, branch, attempt))
        self._check()
        with self._database.write() as connection:
            return asks.ask(connection, self._number, packed, self._clock())

    def receive(self, ask: int) -> Ask:
        """Append a record of kind "answered", payload `{"ask": seq, "answer": value}`.

        The status is "running" again, or "waiting" while another ask is not received. Each answer
        is received once: a resumed run finds it in its journal.
        Raises: StoreRequestError: no such ask, no answer yet, or received before; StoreError.
        """
        self._check()
        with self._database.write() as connection:
            return asks.receive(connection, self.run_id, self._number, ask, self._clock())

    def release(self) -> None:
        """End the right to write; `Store.lease` calls it."""
        self._released = True

    def _check(self) -> None:
        if self._released:
            raise StoreRequestError(f"run {self.run_id}: its lease has ended; take a new one")
