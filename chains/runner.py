"""Runs a chain: one loop that takes a node, runs it, chooses an edge, and tells what happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

from intrinsics.errors import IntrinsicsError
from intrinsics.ledger import Ledger
from intrinsics.messages import Message
from intrinsics.template import Template, TemplateFault

from . import events as ev
from .errors import ChainRunError
from .expression import evaluate, substituted
from .fuse import fused_with
from .inputs import RunInput, typed_inputs
from .model import END, START, Edge
from .nodes import Outcome, Step
from .prompts import Prompts

if TYPE_CHECKING:
    from intrinsics.conversation import Conversation
    from intrinsics.engine import Engine

    from .chain import Chain

Answer: TypeAlias = Callable[[str], Awaitable[str]]


@dataclass(frozen=True)
class NodeResult:
    """One node's part in a run."""

    name: str
    kind: str
    output: Any
    ledger: Mapping[str, Any]


@dataclass(frozen=True)
class RunResult:
    """A finished run; `to_dict` is what `chains run --json` prints."""

    chain: str
    status: str
    output: str
    messages: tuple[dict[str, str], ...]
    nodes: tuple[NodeResult, ...]
    ledger: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "chain": self.chain,
            "status": self.status,
            "output": self.output,
            "messages": list(self.messages),
            "nodes": [vars(node) for node in self.nodes],
            "ledger": dict(self.ledger),
        }


class Run:
    """One run of a chain on one conversation; iterate over `events` once."""

    def __init__(
        self,
        chain: Chain,
        engine: Engine,
        given: RunInput,
        conversation: Conversation | None = None,
        answer: Answer | None = None,
    ) -> None:
        """Prepare it. `conversation` goes on an earlier one; `answer` serves ask nodes.

        Raises: InputError, ConversationError: the input can't be used; nothing has changed.
        """
        self.chain, self.engine, self.answer = chain, engine, answer
        self.given, self.prompts = given.model_dump(mode="json"), Prompts()
        self.model = chain.model
        self.state: dict[str, Any] = {"input": typed_inputs(self.model, given.inputs)}
        self.conversation = self._conversation(given) if conversation is None else conversation
        self.before = 0
        if conversation is not None:
            self.before = conversation.mark
            self._extend(conversation, given)
        self.id = uuid4().hex[:12]
        self.started = time.perf_counter()
        self.total = Ledger()
        self.attempts: dict[str, int] = {}
        self.taken: dict[int, int] = {}
        self.marks: dict[str, int] = {}
        self.ahead: dict[str, Outcome] = {}
        self.said = ""

    def _conversation(self, given: RunInput) -> Conversation:
        messages = [*self._opening(given), *given.messages]
        return self.engine.conversation(messages, given.documents)

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

    async def events(self) -> AsyncGenerator[ev.Event, None]:
        """Run to the end. Raises: ChainRunError, after the event run_failed.

        On a failure, or when the iteration is given up, the conversation is as before the run.
        """
        node: str | None = None
        finished = False
        try:
            began = datetime.now(UTC).isoformat(timespec="milliseconds")
            yield ev.RunStarted(
                **self.stamp(), chain=self.model.name, began=began, given=self.given
            )
            here = START
            while True:
                edge, target, taken = self._choose(here)
                if here != START:
                    yield taken
                if edge.abstain_below is not None:
                    self._take_back()
                if target == END:
                    break
                self._go_back(edge, target)
                here = node = target
                async with aclosing(self._run_node(here)) as events:
                    async for event in events:
                        yield event
            output = self._output()
            finished = True
            yield ev.RunFinished(**self.stamp(), output=output, ledger=self._ledger())
        except (IntrinsicsError, ChainRunError) as error:
            failure = error if isinstance(error, ChainRunError) else ChainRunError(str(error), node)
            yield ev.RunFailed(**self.stamp(), error=str(failure), node=node)
            raise failure from error
        finally:
            if not finished:
                self.conversation.rewind(self.before)

    async def _run_node(self, name: str) -> AsyncGenerator[ev.Event, None]:
        node = self.model.nodes[name]
        self.attempts[name] = attempt = self.attempts.get(name, 0) + 1
        self.marks[name] = self.conversation.mark
        group = () if name in self.ahead else fused_with(self.model, name)
        yield ev.NodeStarted(
            **self.stamp(), node=name, kind=node.kind, attempt=attempt, fused=group
        )
        step = Step(self, name, node, attempt, group)
        async with aclosing(step.run()) as events:
            async for event in events:
                yield event
        outcome = step.outcome
        if outcome.said is not None:
            self.said = outcome.said
        self.state[name] = outcome.state
        self.total += outcome.ledger
        yield ev.NodeFinished(
            **self.stamp(),
            node=name,
            kind=node.kind,
            output=outcome.output,
            ledger=outcome.ledger.to_dict(),
        )

    def _choose(self, here: str) -> tuple[Edge, str, ev.EdgeTaken]:
        """The first edge whose condition holds; a bounded one that is spent leads to its `then`."""
        state = self.names()
        for edge in self.model.leaving(here):
            if edge.condition is not None and not evaluate(edge.condition, state):
                continue
            index = self.model.flow.index(edge)
            count = self.taken[index] = self.taken.get(index, 0) + 1
            spent = edge.at_most is not None and count > edge.at_most
            target = str(edge.then) if spent else edge.target
            tested = edge.condition
            taken = ev.EdgeTaken(
                **self.stamp(),
                source=here,
                target=target,
                condition=edge.label or None,
                operands=None if tested is None else substituted(tested, state),
            )
            return edge, target, taken
        raise AssertionError("a checked chain has an edge for every case")

    def _take_back(self) -> None:
        """Abstaining: the last message, which is a turn's reply, was never said."""
        self.conversation.rollback(len(self.conversation.messages) - 1)
        self.ahead.clear()
        self.said = ""

    def _go_back(self, edge: Edge, target: str) -> None:
        """Going back to a turn may undo what was said since it began: it replies anew."""
        if target == edge.target and self.model.flow.index(edge) in self.chain.undone:
            self.conversation.rewind(self.marks[target])
            self.ahead.clear()

    def names(self) -> dict[str, Any]:
        """What templates and conditions may read: plain data."""
        messages = [message.model_dump() for message in self.conversation.messages]
        users = [m["content"] for m in messages if m["role"] == "user"]
        return {
            **self.state,
            "user": users[-1] if users else "",
            "messages": messages,
            "documents": [document.model_dump() for document in self.conversation.documents],
        }

    def _output(self) -> str:
        if self.model.output is None:
            return self.said
        try:
            return Template(self.model.output).render({**self.names(), "said": self.said})
        except TemplateFault as fault:
            raise ChainRunError(f"output: {fault.message}") from fault

    def stamp(self) -> dict[str, Any]:
        """Run and time for an event."""
        return {"run": self.id, "at": time.perf_counter() - self.started}

    def _ledger(self) -> dict[str, Any]:
        totals = self.total.to_dict()
        return {key: totals[key] for key in ("reused", "computed", "forwards", "seconds")}


async def run(
    chain: Chain,
    engine: Engine,
    given: RunInput,
    conversation: Conversation | None = None,
    answer: Answer | None = None,
) -> RunResult:
    """Run a chain to its end. Raises: ChainRunError: it could not get there."""
    one = Run(chain, engine, given, conversation, answer)
    nodes: list[NodeResult] = []
    final: ev.RunFinished | None = None
    async with aclosing(one.events()) as events:
        async for event in events:
            if isinstance(event, ev.NodeFinished):
                nodes.append(NodeResult(event.node, event.kind, event.output, event.ledger))
            elif isinstance(event, ev.RunFinished):
                final = event
    assert final is not None
    messages = tuple(message.model_dump() for message in one.conversation.messages)
    return RunResult(
        chain.model.name, "finished", final.output, messages, tuple(nodes), final.ledger
    )


def run_sync(
    chain: Chain,
    engine: Engine,
    given: RunInput,
    conversation: Conversation | None = None,
) -> RunResult:
    """`run`, for code without an event loop. Raises: RuntimeError: there is one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run(chain, engine, given, conversation))
    raise RuntimeError("an event loop is running here; use `await chain.arun(...)` instead of run")
