"""What guards find, and what a trip leads to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from intrinsics.errors import IntrinsicsError
from intrinsics.ledger import Ledger

from .. import events as ev
from ..errors import ChainRunError
from ..kinds import Guard
from .check import judged, verdicts
from .step import Step

if TYPE_CHECKING:
    from intrinsics.conversation import Conversation
    from intrinsics.fanout import FanOut, Verdict
    from intrinsics.job import Job


@dataclass(frozen=True)
class Found:
    """What one guard found: a verdict, or why there is none."""

    guard: Guard
    verdict: Verdict | None
    ledger: Ledger
    error: str | None = None

    @property
    def p(self) -> float | None:
        """The probability of the guard's label."""
        return None if self.verdict is None else self.verdict.p(self.guard.label)

    @property
    def tripped(self) -> bool:
        """Whether the guard blocks; one that could not judge does, unless it is optional."""
        if self.p is None:
            return not self.guard.optional
        return self.p > self.guard.above

    def events(self, step: Step) -> Iterator[ev.Event]:
        """The verdict, and the trip."""
        if self.verdict is not None:
            yield from verdicts(step, judged({self.guard.check: self.verdict}, self.ledger))
        if self.tripped or self.error is not None:
            yield trip(step, self.guard, self.p, self.error)


def trip(step: Step, guard: Guard, p: float | None, error: str | None = None) -> ev.GuardTripped:
    """The event of a guard that tripped."""
    return ev.GuardTripped(
        **step.stamp(),
        guard=guard.check,
        stage=guard.at,
        label=guard.label,
        p=p,
        then="pass" if error is not None and guard.optional else guard.then,
        error=error,
    )


class Looking:
    """Guards that judge conversations; they are asked at once and share a forward."""

    def __init__(self, step: Step, asked: Sequence[tuple[Guard, Conversation]]) -> None:
        """Begin."""
        self._asked: list[tuple[Guard, Job[FanOut] | str]] = []
        engine = step.engine()
        for guard, talk in asked:
            arguments = {key: step.render(text) for key, text in guard.arguments.items()}
            try:
                job = engine.submit(talk, [guard.check], {guard.check: arguments})
            except IntrinsicsError as error:
                self._asked.append((guard, str(error)))
            else:
                self._asked.append((guard, job))

    async def found(self) -> list[Found]:
        """What they found, in order."""
        return [await self._one(guard, job) for guard, job in self._asked]

    @staticmethod
    async def _one(guard: Guard, job: Job[FanOut] | str) -> Found:
        if isinstance(job, str):
            return Found(guard, None, Ledger(), job)
        try:
            found = await job
        except IntrinsicsError as error:
            return Found(guard, None, Ledger(), str(error))
        return Found(guard, found[guard.check], found.ledger)

    def cancel(self) -> None:
        """Nobody wants to know any more."""
        for _, job in self._asked:
            if not isinstance(job, str):
                job.cancel()


def first_tripped(found: Sequence[Found]) -> Guard | None:
    """The guard that decides: the first that tripped and does not only tell."""
    tripped = (one.guard for one in found if one.tripped and one.guard.then != "pass")
    return next(tripped, None)


def failed(step: Step, guard: Guard, times: int = 1) -> ChainRunError:
    """The failure of a turn that a guard does not let pass."""
    often = f" {times} times" if times > 1 else ""
    message = f"the guard {guard.check} found {guard.label!r}{often} at the {guard.at}"
    return ChainRunError(message, step.name, "guard")
