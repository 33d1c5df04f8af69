"""Continuous batching: one thread that computes what all requests want next, in shared forwards.

Every request is a generator that yields what it wants and gets logits. Each round takes the decode
steps and intrinsic rows of all requests and fills up with chunks of prefill. Requests share a
forward, never a fate: one that fails is taken out, the others are computed again without it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .errors import RequestError, TimedOut
from .job import Got, Job, Want
from .kv import Segment
from .model import Model, Row
from .retention import MIN_SHARED_TOKENS, KVStats, Retention

IDLE_CHUNK_TOKENS = 512  # of prefill in a round in which nobody decodes
BUSY_CHUNK_TOKENS = 96  # when somebody does: the round stays short, and loses nothing per token
FORWARD_TOKENS = 4096  # of one forward, whose activations take memory too
LIGHT_TOKENS = 16  # so few pending tokens ride on any round
MAX_ACTIVE = 64
_ROOM_SECONDS = 0.005  # between two looks of a task that waits for room


@dataclass(frozen=True)
class Stats:
    """What an engine is doing: its KV memory, requests in work and waiting, forwards so far."""

    kv: KVStats
    active: int
    waiting: int
    forwards: int


class _Worker(threading.Thread):
    """An engine's thread. The interpreter waits for its end: torn down inside torch, it aborts."""


@dataclass(frozen=True)
class _Part:
    """One request's share of a forward; `whole` if it gets all it wants."""

    job: Job[Any]
    rows: tuple[Row, ...]
    pending: int
    whole: bool


class Scheduler:
    """Runs jobs on one model. The thread starts with the first job and ends with the last.

    No thread that is idle stays: torch's workers would be slower for whoever computes meanwhile.
    """

    def __init__(self, model: Model, retention: Retention, queue: int) -> None:
        """`queue`: how many requests may be in work or waiting. Raises: RequestError: below 1."""
        if queue < 1:
            raise RequestError(f"queue = {queue}; it must hold at least 1 request")
        self.model = model
        self.retention = retention
        self.queue = queue
        self._waiting: deque[Job[Any]] = deque()
        self._active: list[Job[Any]] = []
        self._changed = threading.Condition()
        self._thread: _Worker | None = None

    def submit(self, job: Job[Any]) -> None:
        """Take a job in; where the queue is full, wait for room. Raises: TimedOut."""
        with self._changed:
            while self._full():
                error = job.overdue()
                if error is not None:
                    raise TimedOut(f"{error}: {self.queue} others were before it") from None
                self._changed.wait(_left(job))
            if self._thread is None:
                thread = _Worker(target=self._run, name="engine")
                thread.start()  # it waits for the lock; where it can't start, no job is lost
                self._thread = thread
            self._waiting.append(job)

    def submit_all(self, jobs: Sequence[Job[Any]]) -> None:
        """Take jobs in at once, so that they share the next forward. Raises: TimedOut."""
        with self._changed:
            for job in jobs:
                self.submit(job)

    async def room(self) -> None:
        """Wait, in a task, until a job can be taken in without blocking the loop."""
        while self._full():
            await asyncio.sleep(_ROOM_SECONDS)

    def stats(self) -> Stats:
        """What it is doing now."""
        with self._changed:
            return Stats(
                self.retention.stats(), len(self._active), len(self._waiting), self.model.forwards
            )

    def _full(self) -> bool:
        return len(self._waiting) + len(self._active) >= self.queue

    @torch.inference_mode()
    def _run(self) -> None:
        try:
            while self._take_in():
                parts = self._plan()
                if parts:
                    self._compute(parts)
        except BaseException as error:  # a fault of this module: nobody may wait for ever
            with self._changed:
                left, self._thread = [*self._active, *self._waiting], None
                self._active.clear()
                self._waiting.clear()
                self._changed.notify_all()
            for job in left:
                with suppress(Exception):
                    job.fail(error)
            raise

    def _take_in(self) -> bool:
        """Drop who is late or gone, start who was waiting. False: nothing is left to do."""
        with self._changed:
            self._changed.notify_all()  # the last round may have made room
            if not (self._waiting or self._active) or _program_is_over():
                self._thread = None
                return False
            late = [(job, error) for job in self._waiting if (error := job.overdue())]
            for job, _ in late:
                self._waiting.remove(job)
            room = MAX_ACTIVE - len(self._active)
            fresh = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
            self._active.extend(fresh)
        for job, error in late:
            job.fail(error)
        for job in list(self._active):
            error = job.overdue()
            if error is not None:
                self._drop(job, error)
            elif job.want is None:
                self._go_on(job, None)
        return True

    def _go_on(self, job: Job[Any], got: Got | None) -> None:
        """Let a request run to its next want. Changes: the active jobs, where it ends or fails."""
        before = job.want
        try:
            job.want = job.steps.send(got)  # type: ignore[arg-type]
            self._check(job.want)
            if before is None or before.draft is not job.want.draft:
                self._admit(job.want)
        except StopIteration as end:
            self._active.remove(job)
            job.finish(end.value)
        except BaseException as error:
            self._drop(job, error)

    def _drop(self, job: Job[Any], error: BaseException) -> None:
        self._active.remove(job)
        job.fail(error)

    def _check(self, want: Want) -> None:
        """Raises: ContextTooLong; RequestError: more rows than fit into a forward."""
        self.model.check_fits(len(want.draft.ids))
        if want.tokens > FORWARD_TOKENS:
            raise RequestError(
                f"{want.tokens} tokens of intrinsics and labels do not fit into one forward of "
                f"{FORWARD_TOKENS}; ask fewer intrinsics at once or shorten their instructions"
            )

    def _admit(self, want: Want) -> None:
        """Find shared prefixes, then make sure that all drafts fit to their ends.

        Raises: MemoryBudgetError: this one does not.
        """
        self._advance(want)
        drafts = {id(job.want.draft): job.want.draft for job in self._active if job.want}
        missing = sum(draft.missing + LIGHT_TOKENS for draft in drafts.values())
        self.retention.make_room(missing * self.model.token_bytes)

    def _advance(self, want: Want) -> None:
        draft = want.draft
        if draft.adapter is None:
            last = len(draft.ids) - want.read
            found = self.retention.advance(draft.branch, draft.ids, last)
            draft.reused += found

    def _plan(self) -> list[_Part]:
        """One round: everything light, then prefill up to the round's size."""
        light: list[Job[Any]] = []
        heavy: list[Job[Any]] = []
        for job in self._active:
            pending = len(_wanted(job).draft.pending)
            (light if pending <= LIGHT_TOKENS else heavy).append(job)
        parts: list[_Part] = []
        used = 0
        for job in light:  # the oldest first; who finds no room comes in the next round
            cost = len(_wanted(job).draft.pending) + _wanted(job).tokens
            if not parts or used + cost <= FORWARD_TOKENS:
                parts.append(_part(job, FORWARD_TOKENS))
                used += cost
        decoding = any(_wanted(part.job).read for part in parts)
        if used > FORWARD_TOKENS // 2:
            return parts
        room = max((BUSY_CHUNK_TOKENS if decoding else IDLE_CHUNK_TOKENS) - used, LIGHT_TOKENS)
        return parts + self._chunks(heavy, room)

    def _chunks(self, heavy: Sequence[Job[Any]], room: int) -> list[_Part]:
        """Chunks of prefill: half for the oldest, so that it is never starved, then short first.

        Of several that begin alike only one is computed now; the others then find it.
        """
        begun: set[tuple[Segment | None, int, tuple[int, ...]]] = set()
        ready = []
        for job in heavy:
            want = _wanted(job)
            self._advance(want)
            draft = want.draft
            start = (draft.branch.tail, draft.branch.length, draft.pending[:MIN_SHARED_TOKENS])
            if draft.adapter is not None or start not in begun:
                ready.append(job)
            if draft.adapter is None:
                begun.add(start)
        ready[1:] = sorted(ready[1:], key=lambda job: len(_wanted(job).draft.pending))
        parts: list[_Part] = []
        for job in ready:
            share = room // 2 if not parts and len(ready) > 1 else room
            if share < LIGHT_TOKENS and parts:
                break
            parts.append(_part(job, share))
            room -= parts[-1].pending
        return parts

    def _compute(self, parts: Sequence[_Part]) -> None:
        """One forward for all parts; where it fails, one for each, so that only the cause fails."""
        rows: list[Row] = []
        for part in parts:
            first = len(rows)
            rows += [
                row if row.after is None else replace(row, after=row.after + first)
                for row in part.rows
            ]
        started = time.perf_counter()
        failure: Exception | None = None
        try:
            logits = self.model.forward(rows) if rows else []
        except Exception as error:
            failure = error
        if failure is not None and len(parts) == 1:
            self._drop(parts[0].job, failure)
            return
        if failure is not None:
            del failure  # it holds what the forward wrote, and would stay as the next one's context
            for part in parts:
                self._compute([part])
            return
        seconds = time.perf_counter() - started
        for part in parts:
            own, logits = logits[: len(part.rows)], logits[len(part.rows) :]
            self._deliver(part, own, seconds, len(parts) - 1)

    def _deliver(self, part: _Part, logits: Sequence[Tensor], seconds: float, beside: int) -> None:
        want = _wanted(part.job)
        want.draft.computed += part.pending
        want.draft.forwards += bool(part.rows)
        want.draft.seconds += seconds
        if want.draft.adapter is None:
            self.retention.use(want.draft.branch)
        if part.whole:
            first = 1 if part.pending else 0
            following = logits[0] if first else torch.empty(0)
            self._go_on(part.job, Got(following, logits[first:], beside))


def _wanted(job: Job[Any]) -> Want:
    assert job.want is not None, "a job in work has said what it wants"
    return job.want


def _part(job: Job[Any], room: int) -> _Part:
    """As much of what a job wants as fits into `room` tokens of prefill."""
    want = _wanted(job)
    draft, pending = want.draft, want.draft.pending
    whole = len(pending) <= room and len(pending) + want.tokens <= max(room, FORWARD_TOKENS // 2)
    # what is read later is left for later: the last chunk has all tokens that are read
    chunk = pending if whole else pending[: min(room, len(pending) - max(want.read, 1))]
    rows: list[Row] = []
    if chunk:
        read = tuple(range(len(chunk) - want.read, len(chunk))) if whole else ()
        ahead = len(pending) - len(chunk) + draft.expected
        start = min(max(draft.active_from - draft.branch.length, 0), len(chunk))
        rows.append(
            Row(chunk, draft.branch, None, draft.adapter, start, read, store=True, ahead=ahead)
        )
    if whole:
        rows += want.rows(0 if chunk else None)
    return _Part(job, tuple(rows), len(chunk), whole)


def _left(job: Job[Any]) -> float | None:
    return None if job.deadline is None else max(0.0, job.deadline - time.monotonic())


def _program_is_over() -> bool:
    """Whether nobody is left who could take a result: the interpreter only waits for engines."""
    if threading.main_thread().is_alive():
        return False
    others = (thread for thread in threading.enumerate() if not isinstance(thread, _Worker))
    return not any(thread.is_alive() and not thread.daemon for thread in others)
