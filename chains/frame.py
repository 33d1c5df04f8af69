"""A flow in progress: takes a node, runs it, chooses an edge, and tells what happens.

The chain itself is a frame, and so is a sub-chain and each branch of a node that runs several.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from intrinsics.errors import IntrinsicsError, TimedOut
from intrinsics.ledger import Ledger
from intrinsics.template import TemplateFault

from . import events as ev
from .errors import ChainRunError
from .leave import Try, leave
from .limits import OutOfBudget, Part, Used, is_limited, limited, spent
from .model import END, START, ErrorKind, Node
from .steps import FREE, QUIET, TELLING, Outcome, Step

if TYPE_CHECKING:
    from intrinsics.conversation import Conversation

    from .plan import Plan
    from .runner import Run
    from .talk import Talk

_NO_ERROR = {"node": "", "reason": "", "message": ""}


class Names(Mapping[str, Any]):
    """What templates and conditions may read, made when it is read: plain data."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def __getitem__(self, name: str) -> Any:
        frame = self._frame
        if name in frame.state:
            return frame.state[name]
        if name in frame.local:
            return frame.local[name]
        if name == "user":
            said = reversed(frame.talk.messages)
            return next((one.content for one in said if one.role == "user"), "")
        if name == "messages":
            return [one.model_dump() for one in frame.talk.messages]
        if name == "documents":
            return [one.model_dump() for one in frame.talk.documents]
        if name == "error":
            return frame.error
        if frame.outer is None:
            raise KeyError(name)
        return frame.outer[name]

    def __contains__(self, name: object) -> bool:
        try:
            self[str(name)]
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        own = dict.fromkeys((*self._frame.state, "user", "messages", "documents", "error"))
        return iter(own | dict.fromkeys(self._frame.outer or ()))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Frame:
    """What a flow has come to: its state, its conversation, its counts and costs.

    `path` is the branch it is, `begin` where its conversation stood. `outputs` are those of its
    nodes as told, `total` what they cost together, `steps` how many have run.
    """

    def __init__(
        self,
        run: Run,
        plan: Plan,
        talk: Talk,
        path: str = "",
        state: dict[str, Any] | None = None,
        outer: Names | None = None,
        local: dict[str, Any] | None = None,
    ) -> None:
        self.run, self.plan, self.talk, self.path = run, plan, talk, path
        self.state, self.outer, self.local = state or {}, outer, local or {}
        self.begin = talk.mark
        self.names = Names(self)
        self.error: dict[str, str] = _NO_ERROR
        self.total, self.steps, self.said, self.stopped = Ledger(), 0, "", False
        self.elapsed = self.started = run.elapsed
        self.outputs: dict[str, Any] = {}
        self.attempts: dict[str, int] = {}
        self.taken: dict[int, int] = {}
        self.marks: dict[str, int] = {}
        self.said_before: dict[str, str] = {}
        self.began: dict[str, Used] = {}
        self.tries: dict[int, list[Try]] = {}
        self.ahead: dict[str, Outcome] = {}
        self.finished: dict[str, dict[str, Frame]] = {}
        self.heads: list[str] = [""]  # the recorded hash after each message; the root's first

    def branch(
        self, path: str, talk: Talk | None = None, local: dict[str, Any] | None = None
    ) -> Frame:
        """A frame for one node inside a node: it reads all that this one does."""
        fork = self.talk.fork() if talk is None else talk
        frame = Frame(self.run, self.plan, fork, path, outer=self.names, local=local)
        if talk is None:
            frame.heads = self.heads[: self.talk.mark + 1]
        return frame

    def sub(self, path: str, plan: Plan, state: dict[str, Any]) -> Frame:
        """A frame for a sub-chain, on this conversation."""
        frame = Frame(self.run, plan, self.talk, path, state)
        frame.heads = self.heads
        return frame

    def stamp(self) -> dict[str, Any]:
        """Run, time and branch for an event."""
        return {"run": self.run.id, "at": self.run.now(), "branch": self.path}

    def rewind(self, mark: int) -> int:
        """Go back in the conversation; how many messages and blocks went. Changes: the heads."""
        dropped = self.talk.mark - mark
        del self.heads[self.talk.standing(mark) + 1 :]
        self.talk.rewind(mark)
        return dropped

    def conversation(self) -> Conversation:
        """The conversation with the tokens that a model reads."""
        assert self.run.engine is not None, "a run without an engine has plain texts"
        return cast("Conversation", self.talk)

    async def flow(self) -> AsyncGenerator[ev.Event, None]:
        """Go from start to end. Raises: ChainRunError: no error edge took it on; RunWaits."""
        here, failure = START, None
        while True:
            target, told = leave(self, here, failure)
            for event in told:
                yield event
            if target == END:
                return
            here, failure = target, None
            step = self._begin(here, self.plan.model.nodes[here])
            try:
                yield step.started
                if not step.tells and self.run.recorder is None:
                    await self._quietly(step)  # the short way: generators cost more than nodes
                    if step.failure is None:
                        yield self._finish(step)
                        continue
                async with aclosing(self._attempts(step)) as events:
                    async for event in events:
                        yield event
            except OutOfBudget:
                self.finished.pop(here, None)
                for event in self._undo(step):
                    yield event
            except ChainRunError as error:
                failure = self._caught(here, error)

    def _caught(self, name: str, error: ChainRunError) -> ErrorKind:
        """The reason that an error edge takes on. Raises: ChainRunError: there is no such edge."""
        if not self.plan.catches(name, error.reason):
            raise error
        self.error = {"node": name, "reason": error.reason, "message": error.plain}
        return error.reason

    async def perform(self, name: str, node: Node) -> AsyncGenerator[ev.Event, None]:
        """Run one node, again where its retry says so.

        Raises: ChainRunError: it failed for good; RunWaits; OutOfBudget: no seconds are left.
        """
        step = self._begin(name, node)
        yield step.started
        async with aclosing(self._attempts(step)) as events:
            async for event in events:
                yield event

    def _begin(self, name: str, node: Node) -> Step:
        """The next attempt of a node. Changes: the counts."""
        attempt = self.attempts[name] = self.attempts.get(name, 0) + 1
        self.marks[name], self.said_before[name] = self.talk.mark, self.said
        del self.heads[self.talk.mark + 1 :]
        if name in self.plan.budgeted:
            self.began.setdefault(name, Used(self.steps, self.total.computed, self.elapsed))
        group = () if name in self.ahead or self.outer else self.plan.fused.get(name, ())
        tells = node.kind not in QUIET or self._seconds_left() is not None
        return Step(self, name, node, attempt, group, tells=tells or is_limited(node))

    async def _quietly(self, step: Step) -> None:
        """Run a node without events of its own."""
        try:
            step.outcome = await QUIET[step.node.kind](step, step.node)
        except (IntrinsicsError, ChainRunError) as error:
            step.failure = _failure(error, step.name)

    async def _attempt(self, step: Step) -> AsyncGenerator[ev.Event, None]:
        """Run a node once, or recall that it was."""
        if self._recalled(step):
            return
        try:
            async with aclosing(self._limited(step)) as events:
                async for event in events:
                    yield event
        except (IntrinsicsError, ChainRunError) as error:
            step.failure = _failure(error, step.name)
            if self.run.recorder is not None:
                self.run.recorder.failed(step, step.failure, self.run.now())

    async def _attempts(self, step: Step) -> AsyncGenerator[ev.Event, None]:
        """A node that has begun, and maybe failed, to its end."""
        node, failures = step.node, 0
        while True:
            if step.failure is None:
                async with aclosing(self._attempt(step)) as events:
                    async for event in events:
                        yield event
            failure = step.failure
            if failure is None:
                yield self._finish(step)
                return
            failures += 1
            yield ev.NodeFailed(
                **step.stamp(), attempt=step.attempt, reason=failure.reason, error=failure.plain
            )
            for event in self._undo(step):
                yield event
            if node.retry is None or failures > node.retry.times:
                self.finished.pop(step.name, None)
                raise failure
            pause = node.retry.pause(failures)
            yield ev.Retried(**step.stamp(), attempt=step.attempt + 1, pause_seconds=pause)
            await asyncio.sleep(pause if step.recalled is None else 0)
            step = self._begin(step.name, node)
            yield step.started

    def _seconds_left(self) -> float | None:
        budget = self.plan.model.budget
        if budget is None or budget.seconds is None or self.stopped or self.outer is not None:
            return None
        return max(1e-3, budget.seconds - (self.run.now() - self.started))

    async def _limited(self, step: Step) -> AsyncGenerator[ev.Event, None]:
        events = _events(step)
        left = self._seconds_left()
        bounded = left is not None or is_limited(step.node)
        try:
            async with aclosing(limited(events, step, left) if bounded else events) as told:
                async for event in told:
                    yield event
        except OutOfBudget:
            self.elapsed = self.run.elapsed = self.run.now()
            if self.run.recorder is not None:
                self.run.recorder.cut(step, self.elapsed)
            raise

    def _recalled(self, step: Step) -> bool:
        """Whether the step was recorded; then it is as it was. Raises: OutOfBudget: cut short."""
        recorder = self.run.recorder
        found = None if recorder is None else recorder.recall(step)
        if found is None:
            return False
        self.elapsed = self.run.elapsed = step.recalled = found.elapsed
        self.run.go_on_at(found.elapsed)
        step.failure = found.failure
        if found.outcome is not None:
            step.outcome = found.outcome
        elif found.failure is None:
            raise OutOfBudget(f"node {step.name!r} was cut short")
        return True

    def _undo(self, step: Step) -> Iterator[ev.Event]:
        """What a node said before it failed was never said."""
        mark = self.marks[step.name]
        dropped = self.rewind(mark)
        self.ahead.clear()
        if dropped:
            yield ev.RolledBack(**step.stamp(), messages=dropped)

    def _finish(self, step: Step) -> ev.NodeFinished:
        name, outcome, recalled = step.name, step.outcome, step.recalled
        if outcome.said is not None:
            self.said = outcome.said
        self.state[name], self.outputs[name] = outcome.state, outcome.output
        if outcome.ledger is not FREE:
            self.total += outcome.ledger
        self.steps += 1
        self.elapsed = self.run.elapsed = now = self.run.now() if recalled is None else recalled
        if recalled is None and self.run.recorder is not None:
            self.run.recorder.finished(step, now)
        return ev.NodeFinished(
            run=self.run.id,
            at=now,
            branch=self.path,
            node=name,
            kind=step.node.kind,
            output=outcome.output,
            ledger=outcome.ledger.to_dict(),
            recalled=recalled is not None,
        )

    def output(self) -> str:
        """What the flow gives in the end. Raises: ChainRunError: its template fails."""
        text = self.plan.model.output
        if text is None:
            return self.said
        template, reads = self.plan.template(text)
        names = {name: self.names[name] for name in reads if name in self.names}
        try:
            return template.render({**names, "said": self.said})
        except TemplateFault as fault:
            raise ChainRunError(f"output: {fault.message}", reason="template") from fault

    def over_budget(self) -> tuple[Part, float] | None:
        """Which part of the chain's own budget is spent, and its limit."""
        budget = self.plan.model.budget
        if budget is None or self.stopped:
            return None
        used = Used(self.steps, self.total.computed, self.elapsed - self.started)
        return spent(budget, used)


async def _events(step: Step) -> AsyncGenerator[ev.Event, None]:
    if step.node.kind in QUIET:
        step.outcome = await QUIET[step.node.kind](step, step.node)
        return
    async with aclosing(TELLING[step.node.kind](step, step.node)) as events:
        async for event in events:
            yield event


def _failure(error: IntrinsicsError | ChainRunError, name: str) -> ChainRunError:
    if isinstance(error, ChainRunError):
        if error.node is not None:
            return error
        named = ChainRunError(error.plain, name, error.reason)
    else:
        reason: ErrorKind = "timeout" if isinstance(error, TimedOut) else "engine"
        named = ChainRunError(str(error), name, reason)
    named.__cause__ = error
    return named
