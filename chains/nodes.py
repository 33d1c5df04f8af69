"""What each kind of node does when its turn comes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from intrinsics.ledger import Ledger
from intrinsics.template import Template, TemplateFault

from . import events as ev
from .errors import ChainRunError
from .expression import evaluate
from .functions import return_type
from .model import Ask, Check, Function, Node, Say, Turn
from .threads import in_thread

if TYPE_CHECKING:
    from intrinsics.fanout import Verdict

    from .runner import Run


@dataclass(frozen=True)
class Outcome:
    """What a node leaves: its slot of the state, its output as told, its cost, its message.

    `read_by` are the verdicts of a check, with the prompts they were read from.
    """

    state: dict[str, Any]
    output: Any
    ledger: Ledger = field(default_factory=Ledger)
    said: str | None = None
    read_by: Mapping[str, Verdict] = field(default_factory=dict)


class Step:
    """One node in one attempt; `outcome` is there when `run` has ended."""

    def __init__(
        self, run: Run, name: str, node: Node, attempt: int, group: tuple[str, ...]
    ) -> None:
        self.owner, self.name, self.node = run, name, node
        self.attempt, self.group = attempt, group
        self.outcome: Outcome

    async def run(self) -> AsyncGenerator[ev.Event, None]:
        """Do it. Raises: IntrinsicsError, ChainRunError."""
        if isinstance(self.node, Say):
            text = self._render(self.node.text)
            self.owner.conversation.add("assistant", text)
            self.outcome = Outcome({"text": text}, text, said=text)
        elif isinstance(self.node, Function):
            self.outcome = await self._call(self.node)
        else:
            async with aclosing(self._telling(self.node)) as events:
                async for event in events:
                    yield event

    def _telling(self, node: Turn | Check | Ask) -> AsyncGenerator[ev.Event, None]:
        """A node with events of its own."""
        if isinstance(node, Turn):
            return self._turn(node)
        return self._check(node) if isinstance(node, Check) else self._ask(node)

    async def _turn(self, node: Turn) -> AsyncGenerator[ev.Event, None]:
        from intrinsics.decode import Sampling  # torch, which a turn needs anyway

        talk = self.owner.conversation
        if node.prompt is not None:
            talk.add("user", self._render(node.prompt))
        if not talk.messages or talk.messages[-1].role != "user":
            raise ChainRunError(
                "there is no user message to reply to; end the input's messages with one, or "
                "give the node a prompt",
                self.name,
            )
        seed = node.seed + self.attempt - 1
        sampling = Sampling(node.max_tokens, node.temperature, node.top_p, seed, node.stop)
        chat = self.owner.engine.chat
        read = self.owner.prompts.told(chat, (*talk.ids, *chat.reply_head(talk.roles)))
        yield ev.PromptRead(**self.owner.stamp(), node=self.name, **read)
        generation = self.owner.engine.stream(talk, sampling)
        try:
            while (piece := await in_thread(lambda: next(generation, None))) is not None:
                yield ev.Token(**self.owner.stamp(), node=self.name, text=piece)
        finally:
            generation.close()
        reply = generation.reply
        state = {"text": reply.text, "finish": reply.finish, "attempts": self.attempt}
        self.outcome = Outcome(state, reply.text, reply.ledger, reply.text)

    async def _check(self, node: Check) -> AsyncGenerator[ev.Event, None]:
        if self.name not in self.owner.ahead:
            await self._fan_out()
        self.outcome = self.owner.ahead.pop(self.name)
        chat, prompts = self.owner.engine.chat, self.owner.prompts
        for intrinsic, told in self.outcome.output.items():
            verdict = self.outcome.read_by[intrinsic]
            read = prompts.told(chat, verdict.token_ids, verdict.ledger.activated_at)
            yield ev.PromptRead(**self.owner.stamp(), node=self.name, intrinsic=intrinsic, **read)
            yield ev.VerdictReached(
                **self.owner.stamp(), node=self.name, intrinsic=intrinsic, **told
            )

    async def _fan_out(self) -> None:
        """Judge this node and those fused with it, and keep the outcome of each."""
        nodes = {name: self.owner.model.nodes[name] for name in (self.name, *self.group)}
        asked = {name: node.intrinsics for name, node in nodes.items() if isinstance(node, Check)}
        arguments = {
            intrinsic: {key: self._render(text) for key, text in given.items()}
            for intrinsics in asked.values()
            for intrinsic, given in intrinsics.items()
        }
        engine, talk = self.owner.engine, self.owner.conversation
        found = await in_thread(lambda: engine.fan_out(talk, list(arguments), arguments))
        own = Ledger()
        for verdict in found.verdicts:
            own += verdict.ledger
        # The base model's part and the time belong to the node that asked first.
        rest = Ledger(
            found.ledger.reused - own.reused,
            found.ledger.computed - own.computed,
            found.ledger.forwards,
            found.ledger.seconds,
        )
        for name, intrinsics in asked.items():
            ledger = rest if name == self.name else Ledger()
            for intrinsic in intrinsics:
                cost = found[intrinsic].ledger
                ledger += Ledger(cost.reused, cost.computed)
            verdicts = {intrinsic: found[intrinsic] for intrinsic in intrinsics}
            self.owner.ahead[name] = _judged(verdicts, ledger)

    async def _ask(self, node: Ask) -> AsyncGenerator[ev.Event, None]:
        question = self._render(node.question)
        if self.owner.answer is None:
            raise ChainRunError(
                "asks a human, and nobody is there; run it in `chains demo`, or pass `answer`",
                self.name,
            )
        yield ev.Asked(**self.owner.stamp(), node=self.name, question=question)
        answer = await self.owner.answer(question)
        self.owner.conversation.add("assistant", question)
        self.owner.conversation.add("user", answer)
        self.outcome = Outcome({"text": answer}, answer)

    async def _call(self, node: Function) -> Outcome:
        call = self.owner.chain.functions.get(node.call)
        if call is None:
            raise ChainRunError(f"{node.call} is not registered; load the chain with it", self.name)
        names = self.owner.names()
        given = {name: evaluate(operand, names) for name, operand in node.arguments.items()}
        value = await self._returned(call, given)
        expected = return_type(call)
        try:
            adapter = TypeAdapter(expected)
            plain = adapter.dump_python(adapter.validate_python(value, strict=True), mode="json")
        except (ValidationError, PydanticSerializationError) as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise ChainRunError(
                f"{node.call} returned {value!r}, which is not {expected}: {why}", self.name
            ) from error
        return Outcome({"value": plain}, plain)

    async def _returned(self, call: Callable[..., Any], given: dict[str, Any]) -> Any:
        try:
            if inspect.iscoroutinefunction(call):
                return await call(**given)
            return await asyncio.to_thread(lambda: call(**given))
        except Exception as error:
            raise ChainRunError(
                f"{call.__name__} raised {type(error).__name__}: {error}", self.name
            ) from error

    def _render(self, text: str) -> str:
        try:
            return Template(text).render({**self.owner.names(), "attempt": self.attempt})
        except TemplateFault as fault:
            raise ChainRunError(fault.message, self.name) from fault


def _judged(verdicts: dict[str, Verdict], ledger: Ledger) -> Outcome:
    state: dict[str, Any] = {
        name: {"value": verdict.value, "p": verdict.distribution}
        for name, verdict in verdicts.items()
    }
    if len(verdicts) == 1:
        state |= next(iter(state.values()))
    output = {
        name: {
            "value": verdict.value,
            "distribution": verdict.distribution,
            "ledger": verdict.ledger.to_dict(),
        }
        for name, verdict in verdicts.items()
    }
    return Outcome(state, output, ledger, read_by=verdicts)
