"""Runs a chain from an input to a result, and tells what happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from contextvars import copy_context
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from uuid import uuid4

from intrinsics.errors import IntrinsicsError
from intrinsics.messages import Message

from . import events as ev
from .errors import ChainRunError, InputError, RunWaits
from .frame import Frame
from .inputs import RunInput, typed_inputs
from .prompts import Prompts
from .talk import Opener, PlainOpener, Talk

if TYPE_CHECKING:
    from intrinsics.conversation import Conversation
    from intrinsics.engine import Engine

    from .chain import Chain
    from .recorder import Recorder
    from .testing import Script

# Puts a question to a human; None: nobody answers now, and the run waits.
Answer: TypeAlias = Callable[[str], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class NodeResult:
    """One node's part in a run."""

    name: str
    kind: str
    output: Any
    ledger: Mapping[str, Any]


@dataclass(frozen=True)
class RunResult:
    """A run at its end; `to_dict` is what `chains run --json` prints.

    `status` is "finished", "stopped" where a spent budget led to the end, or "waiting" where a
    recorded run asks a human; its `output` is the question then. `nodes` are the
    chain's own, not those inside others.
    """

    chain: str
    status: str
    output: str
    # not in the repr, which asyncio makes of every result when a run ends
    messages: tuple[dict[str, str], ...] = field(repr=False)
    nodes: tuple[NodeResult, ...] = field(repr=False)
    ledger: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "chain": self.chain,
            "status": self.status,
            "output": self.output,
            "messages": list(self.messages),
            "nodes": [asdict(node) for node in self.nodes],
            "ledger": dict(self.ledger),
        }


class Run:
    """One run of a chain on one conversation; iterate over `events` once."""

    def __init__(
        self,
        chain: Chain,
        engine: Engine | Script | None,
        given: RunInput,
        conversation: Conversation | None = None,
        answer: Answer | None = None,
        *,
        alone: bool = False,
        recorder: Recorder | None = None,
        source: str | None = None,
        heard: bool = True,
    ) -> None:
        """Prepare it. `conversation` goes on an earlier one; `answer` serves ask nodes.

        `recorder` keeps the run, and recalls what was run before; `source` is told to it.
        `heard`: somebody reads the events; else prompts, which take time, are not told.

        `engine` may be None for a chain that never calls the model. `alone`: nothing else needs
        this event loop, so a function may block it.
        Raises: InputError, ConversationError: the input can't be used; nothing has changed.
        """
        if engine is None and chain.plan.needs_model:
            raise InputError(f"{chain.name} calls the model; give it an engine")
        self.chain, self.answer, self.alone = chain, answer, alone
        self.engine = cast("Engine | None", engine)  # a script stands in for all a node asks of it
        self.given = given.model_dump(mode="json")
        self.prompts = Prompts(engine.chat if engine is not None and heard else None)
        self.opener: Opener = PlainOpener() if engine is None else engine
        self.model = chain.model
        state = {"input": typed_inputs(self.model, given.inputs)}
        talk = self._conversation(given) if conversation is None else conversation
        self.before = 0
        if conversation is not None:
            self.before = conversation.mark
            self._extend(conversation, given)
        self.recorder, self._source = recorder, source
        self.id = uuid4().hex[:12] if recorder is None else recorder.run_id
        self.elapsed = 0.0
        self._started = time.perf_counter()
        self.frame = Frame(self, chain.plan, talk, state=state)

    @property
    def conversation(self) -> Talk:
        """What is said."""
        return self.frame.talk

    def _conversation(self, given: RunInput) -> Talk:
        messages = [*self._opening(given), *given.messages]
        return self.opener.conversation(messages, given.documents)

    def _opening(self, given: RunInput) -> list[Message]:
        """The chain's system text, unless the input brings its own."""
        if not self.model.system or any(one.role == "system" for one in given.messages):
            return []
        return [Message(role="system", content=self.model.system)]

    def _extend(self, conversation: Conversation, given: RunInput) -> None:
        """Add the input to an earlier conversation; documents it has already are left out."""
        before, known = conversation.mark, conversation.documents
        opening = [] if conversation.length else self._opening(given)
        try:
            for message in opening:
                conversation.add(message.role, message.content)
            conversation.add_documents(one for one in given.documents if one not in known)
            for message in given.messages:
                conversation.add(message.role, message.content)
        except IntrinsicsError:
            conversation.rewind(before)
            raise

    def now(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._started

    def go_on_at(self, elapsed: float) -> None:
        """The time that a recalled node took has passed already. Changes: the clock."""
        self._started = min(self._started, time.perf_counter() - elapsed)

    async def events(self) -> AsyncGenerator[ev.Event, None]:
        """Run to the end. Raises: ChainRunError, after the event run_failed.

        On a failure, or when the iteration is given up, the conversation is as before the run.
        """
        frame, recorder = self.frame, self.recorder
        finished = False
        try:
            if recorder is not None:
                recorder.begin(frame, self.engine, self._source)
            began = datetime.now(UTC).isoformat(timespec="milliseconds")
            yield ev.RunStarted(
                **frame.stamp(), chain=self.model.name, began=began, given=self.given
            )
            async with aclosing(frame.flow()) as events:
                async for event in events:
                    if recorder is not None:
                        recorder.hear(event)
                    yield event
            output = frame.output()
            if recorder is not None:
                recorder.end(output, self.ledger(), self.now(), stopped=frame.stopped)
            finished = True
            yield ev.RunFinished(
                **frame.stamp(), output=output, ledger=self.ledger(), stopped=frame.stopped
            )
        except RunWaits as wait:
            finished = True  # as far as it can go here
            yield ev.RunWaiting(**frame.stamp(), node=wait.node, question=wait.question)
        except ChainRunError as error:
            if recorder is not None:
                recorder.give_up(error, self.now())
            yield ev.RunFailed(**frame.stamp(), error=str(error), node=error.node)
            raise
        finally:
            if not finished:
                frame.talk.rewind(self.before)

    def ledger(self) -> dict[str, Any]:
        """What it has cost so far."""
        totals = self.frame.total.to_dict()
        return {key: totals[key] for key in ("reused", "computed", "forwards", "seconds")}


async def run(
    chain: Chain,
    engine: Engine | Script | None,
    given: RunInput,
    conversation: Conversation | None = None,
    answer: Answer | None = None,
    *,
    alone: bool = False,
    recorder: Recorder | None = None,
    source: str | None = None,
) -> RunResult:
    """Run a chain to its end. Raises: ChainRunError: it could not get there."""
    one = Run(
        *(chain, engine, given, conversation, answer),
        alone=alone,
        recorder=recorder,
        source=source,
        heard=recorder is not None,
    )
    told: list[ev.Event] = []
    async with aclosing(one.events()) as events:
        async for event in events:
            if isinstance(event, ev.NodeFinished | ev.RunFinished | ev.RunWaiting):
                told.append(event)
    return summed_up(one, told)


def summed_up(run: Run, events: Iterable[ev.Event]) -> RunResult:
    """What came of a run that is at its end, or waits, from its events."""
    nodes: list[NodeResult] = []
    status, output = "waiting", ""
    for event in events:
        if isinstance(event, ev.NodeFinished) and not event.branch:
            nodes.append(NodeResult(event.node, event.kind, event.output, event.ledger))
        elif isinstance(event, ev.RunFinished):
            status, output = "stopped" if event.stopped else "finished", event.output
        elif isinstance(event, ev.RunWaiting):
            output = event.question
    messages = tuple(message.model_dump() for message in run.conversation.messages)
    return RunResult(run.model.name, status, output, messages, tuple(nodes), run.ledger())


def run_sync(
    chain: Chain,
    engine: Engine | Script | None,
    given: RunInput,
    conversation: Conversation | None = None,
) -> RunResult:
    """`run`, for code without an event loop. Raises: RuntimeError: there is one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        going = run(chain, engine, given, conversation, alone=True)
        return asyncio.run(going) if chain.plan.waits else _driven(going)
    raise RuntimeError("an event loop is running here; use `await chain.arun(...)` instead of run")


def _driven(going: Coroutine[Any, Any, RunResult]) -> RunResult:
    """The result of a run that never waits: an event loop would cost as much as four nodes."""
    try:
        copy_context().run(going.send, None)
    except StopIteration as end:
        return cast(RunResult, end.value)
    raise AssertionError("a run waited whose chain has nothing to wait for")
