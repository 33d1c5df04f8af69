"""Runs a chain: one loop that takes a node, runs it, chooses an edge, and tells what happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

from intrinsics.errors import IntrinsicsError
from intrinsics.ledger import Ledger

from . import events as ev
from .errors import ChainRunError
from .expression import evaluate, substituted
from .fuse import fused_with
from .inputs import RunInput, typed_inputs
from .model import END, START, Edge, Node, Turn
from .nodes import Outcome, Step

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
        self.model = chain.model
        self.state: dict[str, Any] = {"input": typed_inputs(self.model, given.inputs)}
        self.fresh = conversation is None
        self.conversation = conversation or self._conversation(given)
        self.before = len(self.conversation.messages) if conversation else 0
        if conversation is not None:
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
        messages = list(given.messages)
        if self.model.system and not (messages and messages[0].role == "system"):
            from intrinsics.messages import Message

            messages.insert(0, Message(role="system", content=self.model.system))
        return self.engine.conversation(messages, given.documents)

    def _extend(self, conversation: Conversation, given: RunInput) -> None:
        before = len(conversation.messages)
        try:
            conversation.add_documents(given.documents)
            for message in given.messages:
                conversation.add(message.role, message.content)
        except IntrinsicsError:
            conversation.rollback(before)
            raise

    async def events(self) -> AsyncGenerator[ev.Event, None]:
        """Run to the end. Raises: ChainRunError, after the event run_failed.

        On a failure, or when the iteration is given up, the conversation is as before the run.
        """
        node: str | None = None
        finished = False
        try:
            yield ev.RunStarted(**self._stamp(), chain=self.model.name)
            here = START
            while True:
                edge, target, taken = self._choose(here)
                if here != START:
                    yield taken
                if target == END:
                    break
                self._go_back(edge, target)
                here = node = target
                async for event in self._run_node(here):
                    yield event
            output = self._output()
            finished = True
            yield ev.RunFinished(**self._stamp(), output=output, ledger=self._ledger())
        except (IntrinsicsError, ChainRunError) as error:
            failure = error if isinstance(error, ChainRunError) else ChainRunError(str(error), node)
            yield ev.RunFailed(**self._stamp(), error=str(failure), node=node)
            raise failure from error
        finally:
            if not finished:
                self.conversation.rollback(self.before)

    async def _run_node(self, name: str) -> AsyncIterator[ev.Event]:
        node = self.model.nodes[name]
        self.attempts[name] = attempt = self.attempts.get(name, 0) + 1
        self.marks.setdefault(name, len(self.conversation.messages))
        group = () if name in self.ahead else fused_with(self.model, name)
        yield ev.NodeStarted(
            **self._stamp(), node=name, kind=node.kind, attempt=attempt, fused=group
        )
        step = Step(self, name, node, attempt, group)
        async for event in step.run():
            yield event
        outcome = step.outcome
        if outcome.said is not None:
            self.said = outcome.said
        self.state[name] = outcome.state
        self.total += outcome.ledger
        yield ev.NodeFinished(
            **self._stamp(),
            node=name,
            kind=node.kind,
            output=outcome.output,
            ledger=outcome.ledger.to_dict(),
        )

    def _choose(self, here: str) -> tuple[Edge, str, ev.EdgeTaken]:
        """The first edge whose condition holds; a bounded one that is spent leads to its `then`."""
        state = self.names()
        for edge in self.model.leaving(here):
            if edge.when is not None and not evaluate(edge.when, state):
                continue
            index = self.model.flow.index(edge)
            count = self.taken[index] = self.taken.get(index, 0) + 1
            spent = edge.at_most is not None and count > edge.at_most
            target = str(edge.then) if spent else edge.target
            condition = edge.label or None
            operands = None if edge.when is None else substituted(edge.when, state)
            taken = ev.EdgeTaken(
                **self._stamp(), source=here, target=target, condition=condition, operands=operands
            )
            return edge, target, taken
        raise AssertionError("a checked chain has an edge for every case")

    def _go_back(self, edge: Edge, target: str) -> None:
        """Going back to a turn undoes what was said since it began: it replies anew."""
        back = edge.at_most is not None and target == edge.target
        if back and isinstance(self.model.nodes[target], Turn) and target in self.marks:
            self.conversation.rollback(self.marks[target])
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
        from intrinsics.template import Template

        return Template(self.model.output).render({**self.names(), "said": self.said})

    def stamp(self) -> dict[str, Any]:
        """Run and time for an event."""
        return {"run": self.id, "at": time.perf_counter() - self.started}

    _stamp = stamp

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
    async for event in one.events():
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
    """`run`, for code without an event loop."""
    return asyncio.run(run(chain, engine, given, conversation))


__all__ = ["Node", "NodeResult", "Run", "RunResult", "run", "run_sync"]
