"""The store of runs: one SQLite file in which runs are recorded, continued, forked and compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from pydantic import JsonValue

from ..errors import RunIsHeld, StoreReadOnly
from . import asks, check, journal, messages, prune, runs
from .database import Database
from .diff import VOLATILE, Difference, difference
from .held import HeldRun
from .lease import Leases
from .prune import Pruned
from .records import Ask, Record, RunInfo, Status
from .runs import Definition

ENDED: tuple[Status, ...] = ("finished", "failed", "stopped")
"""Statuses of runs that may be pruned without being named."""


class Store:
    """Runs in one file, which any number of processes and threads may use at once.

    What a method has stored when it returns survives the end of this process, SIGKILL included;
    where it raises, nothing of it is stored. Every method may raise a StoreError whose class says
    what is wrong with the file (see `chains.errors`); "Raises" names what else.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        """Use `Store.open`."""
        self._database, self._clock = database, clock
        self._leases = Leases(database.path)

    @staticmethod
    def open(
        path: Path | str,
        *,
        create: bool = True,
        read_only: bool = False,
        busy_seconds: float = 10,
        clock: Callable[[], float] = time.time,
    ) -> Store:
        """Open a store; make the file if there is none, bring an older one to the latest version.

        `busy_seconds`: the patience with other processes that are writing.
        Raises: StoreMissing, NotAStore, StoreDamaged, StoreReadOnly, StoreFull, StoreTooNew,
        StoreBusy; the file is as it was.
        """
        database = Database.open(
            Path(path), create=create, read_only=read_only, busy_seconds=busy_seconds
        )
        return Store(database, clock)

    def close(self) -> None:
        """Put all into the one file and let go of it; closing again is fine."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def create(
        self,
        chain: str,
        chain_yaml: str,
        input: JsonValue = None,
        seeds: Mapping[str, int] | None = None,
    ) -> str:
        """Add a run with status "running" and no records; its run_id, which sorts by time.

        Raises: NotStorable: the input is not JSON.
        """
        with self._database.write() as connection:
            return runs.create(connection, chain, chain_yaml, input, seeds or {}, self._clock())

    @contextmanager
    def lease(self, run_id: str) -> Iterator[HeldRun]:
        """Hold a run, which is what writing to its journal takes, until the block ends.

        Nobody else can meanwhile, in this process or another; if this process is killed, others
        can at once. The status is left alone: set it with `append(..., status=...)`.
        Raises: UnknownRun; RunIsHeld: says by which process.
        """
        with self._database.read() as connection:
            number = journal.number_of(connection, run_id)
        if self._database.read_only:
            raise StoreReadOnly(f"{self._database.path}: opened read-only; no run can go on")
        with self._leases.hold(run_id):
            held = HeldRun(self._database, run_id, number, self._clock)
            try:
                yield held
            finally:
                held.release()

    def holder(self, run_id: str) -> int | None:
        """The id of the process that is running a run now, None where nobody is.

        Raises: UnknownRun.
        """
        self.run(run_id)
        return self._leases.holder(run_id)

    def run(self, run_id: str) -> RunInfo:
        """One run. Raises: UnknownRun."""
        with self._database.read() as connection:
            return runs.info(connection, run_id)

    def runs(
        self,
        *,
        status: Collection[Status] | None = None,
        chain: str | None = None,
        before: float | None = None,
        limit: int | None = None,
    ) -> list[RunInfo]:
        """Runs that meet all conditions, the newest first.

        `before`: seconds since 1970; runs that have not changed since.
        """
        with self._database.read() as connection:
            return runs.listed(connection, status=status, chain=chain, before=before, limit=limit)

    def definition(self, run_id: str) -> Definition:
        """The chain's YAML and the input of a run. Raises: UnknownRun."""
        with self._database.read() as connection:
            return runs.definition(connection, run_id)

    def records(self, run_id: str, after: int = 0) -> list[Record]:
        """A run's journal after record `after`, with the past it shares with its parents.

        Raises: UnknownRun.
        """
        with self._database.read() as connection:
            return journal.read(connection, run_id, after)

    def messages(self, head: str) -> list[messages.StoredMessage]:
        """The conversation that ends with the message `head`, a hash as in `Record.head`.

        Raises: StoreRequestError: no such message.
        """
        with self._database.read() as connection:
            return messages.read_messages(connection, head)

    def asks(self, run_id: str | None = None) -> list[Ask]:
        """The asks of a run, or of all runs, oldest first: open, answered and received ones.

        Raises: UnknownRun.
        """
        with self._database.read() as connection:
            return asks.read(connection, run_id)

    def answer(self, run_id: str, answer: JsonValue, ask: int | None = None) -> Ask:
        """Answer an ask, by its seq or the only open one; the run need not be running.

        The run's status stays "waiting" until its next runner calls `HeldRun.receive`.
        Raises: UnknownRun; AlreadyAnswered: says since when; StoreRequestError: nothing, or more
        than one thing, is asked; NotStorable.
        """
        with self._database.write() as connection:
            return asks.answer(connection, run_id, answer, ask, self._clock())

    def fork(self, run_id: str, at_seq: int | None = None, chain_yaml: str | None = None) -> str:
        """A new run whose past is another's up to record `at_seq`, or all of it; its run_id.

        Nothing is copied. Its records go on from there; what was asked in that past and not
        received is open again ("waiting"), else its status is "running", as that of a run which
        was interrupted. `chain_yaml` replaces the chain, for a replay with an edited one.
        Raises: UnknownRun; StoreRequestError: there is no such record.
        """
        with self._database.write() as connection:
            return runs.fork(connection, run_id, at_seq, chain_yaml, self._clock())

    def diff(
        self, first: str, second: str, ignored: Collection[str] = VOLATILE
    ) -> Difference | None:
        """The first record in which two runs differ, aligned by node and attempt; None if equal.

        `ignored`: keys in payloads that don't count. Raises: UnknownRun.
        """
        with self._database.read() as connection:
            return difference(
                journal.read(connection, first, 0), journal.read(connection, second, 0), ignored
            )

    def prune(
        self,
        *,
        older_than: float | None = None,
        status: Collection[Status] = ENDED,
        keep: int = 0,
        dry_run: bool = False,
    ) -> Pruned:
        """Delete runs and what only they refer to, and give the space back.

        `older_than`: seconds since a run last changed. `keep`: so many of the newest that meet
        the other conditions stay. A run that is held, or from which one that stays was forked,
        stays. `dry_run` does it all and takes it back, so its figures are exact.
        """
        before = None if older_than is None else self._clock() - older_than
        with ExitStack() as leases:
            found = self.runs(status=status, before=before)[keep:]
            free, kept = self._held_back(found, leases)
            try:
                with self._database.write() as connection:
                    # a run that was continued before we held it is no longer what was asked for
                    now = runs.listed(connection, status=status, before=before)
                    chosen = [run for run in now if run.run_id in free]
                    going, parents = prune.without_parents(chosen, runs.listed(connection))
                    counts = prune.delete(connection, going)
                    if dry_run:
                        raise _TakenBack
            except _TakenBack:
                pass
        if going and not dry_run:
            self._database.return_space()
        return Pruned(tuple(going), kept | parents, *counts, dry_run)

    def check(self) -> list[str]:
        """What is wrong with the store, a line each; none where all is well.

        Pages, references, the hashes of messages and blobs, gaps in journals.
        """
        with self._database.read() as connection:
            return list(check.faults(connection))

    def _held_back(
        self, found: list[RunInfo], leases: ExitStack
    ) -> tuple[set[str], dict[str, str]]:
        """Hold each run, so that nobody goes on with it while it is deleted."""
        free: set[str] = set()
        kept: dict[str, str] = {}
        for run in found:
            try:
                leases.enter_context(self._leases.hold(run.run_id))
            except RunIsHeld:
                kept[run.run_id] = "it is being run"
            else:
                free.add(run.run_id)
        return free, kept


class _TakenBack(Exception):
    """Ends a transaction whose figures are all that was wanted."""
