"""A request in the engine's hands: what it wants computed next, and how its caller waits for it."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from .draft import Draft
from .errors import Cancelled, RequestError, TimedOut
from .model import Row

T = TypeVar("T")


def _no_rows(_: int | None) -> Sequence[Row]:
    return ()


@dataclass(frozen=True)
class Want:
    """What a request needs from the model: its draft computed to the end, and rows after that.

    `read` asks for the logits that follow each of the draft's last `read` tokens. `rows` builds the
    further rows, given the row in the same forward they come after (None: the draft is computed
    already); `tokens` is how many tokens they have.
    """

    draft: Draft
    read: int = 0
    rows: Callable[[int | None], Sequence[Row]] = _no_rows
    tokens: int = 0


@dataclass(frozen=True)
class Got:
    """The logits for a `Want`: `next` after the draft's last tokens, and those of its rows.

    `beside` is how many other requests shared the forward.
    Shapes: next (want.read, vocabulary), rows[i] (len(row.read), vocabulary).
    """

    next: Tensor
    rows: Sequence[Tensor]
    beside: int


Steps = Generator[Want, Got, T]


def failing(error: Exception) -> Steps[Any]:
    """Steps of a request that failed before its first."""
    raise error
    yield  # what makes it a generator


class Job(Generic[T]):
    """One request. Wait for it with `result()` in a thread or with `await` in a task.

    A job that is cancelled, or late, leaves no trace but what other requests may reuse.
    """

    def __init__(self, steps: Steps[T], timeout: float | None = None) -> None:
        """`timeout` in seconds from now. Raises: RequestError: it is not positive."""
        if timeout is not None and not timeout > 0:
            raise RequestError(f"timeout = {timeout}; it is a number of seconds above 0")
        self.steps = steps
        self.timeout = timeout
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.want: Want | None = None
        self._future: Future[T] = Future()
        self._given_up = False

    def result(self) -> T:
        """Wait for the result. Raises: what the request met; TimedOut, Cancelled."""
        try:
            return self._future.result()
        except FutureCancelled as error:
            raise Cancelled("the request was cancelled") from error
        except BaseException:
            self.cancel()  # interrupted while waiting: nobody will ask again
            raise

    def __await__(self) -> Generator[object, None, T]:
        """Wait in a task; cancelling the task cancels the job."""
        waiting = asyncio.wrap_future(self._future)
        try:
            return (yield from waiting.__await__())
        except asyncio.CancelledError:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Give it up: its rows are freed before the next forward. Safe from any thread."""
        self._given_up = True

    def overdue(self) -> Exception | None:
        """The reason why it should not go on, if there is one."""
        if self._given_up or self._future.cancelled():
            return Cancelled("the request was cancelled")
        if self.deadline is not None and time.monotonic() > self.deadline:
            return TimedOut(f"the request was not done within {self.timeout:g} seconds")
        return None

    def when_done(self, put: Callable[[None], None]) -> None:
        """Call `put(None)` once there is a result or an error, from the thread that knows first."""
        self._future.add_done_callback(lambda _: put(None))

    def discard(self, release: Callable[[T], object]) -> None:
        """Let go of a result that nobody will take, now or when it comes."""

        def done(future: Future[T]) -> None:
            if not future.cancelled() and future.exception() is None:
                release(future.result())

        self._future.add_done_callback(done)

    def finish(self, value: T) -> None:
        """Hand over the result. Called by the scheduler."""
        if self._future.set_running_or_notify_cancel():
            self._future.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Undo what the request began, and hand over the error. Called by the scheduler."""
        self.steps.close()
        traceback.clear_frames(error.__traceback__)  # they hold keys and values
        if self._future.set_running_or_notify_cancel():
            self._future.set_exception(error)
