"""A turn of the base model, streamed, under its guards."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from intrinsics.ledger import Ledger
from intrinsics.sampling import Sampling

from .. import events as ev
from ..errors import ChainRunError
from ..kinds import REFUSAL, Guard
from ..model import Turn
from .attempt import Attempt
from .guarding import failed
from .step import Outcome, Step

if TYPE_CHECKING:
    from intrinsics.conversation import Conversation

_APART = 1_000_003  # seeds of attempts: far from those of later visits, which count up by one


async def turn(step: Step, node: Turn) -> AsyncGenerator[ev.Event, None]:
    """Reply. Changes: the conversation. Raises: ChainRunError, IntrinsicsError."""
    step.engine()
    talk = step.frame.conversation()
    if node.prompt is not None:
        talk.add("user", step.render(node.prompt))
    if not talk.messages or talk.messages[-1].role != "user":
        raise ChainRunError(
            "there is no user message to reply to; end the input's messages with one, or "
            "give the node a prompt",
            step.name,
        )
    writing = _Writing(step, node, talk)
    async with aclosing(writing.events()) as events:
        async for event in events:
            yield event


class _Writing:
    """A reply that is written until its guards let it pass, or something stands in its place."""

    def __init__(self, step: Step, node: Turn, talk: Conversation) -> None:
        self.step, self.node, self.talk = step, node, talk
        self.mark, self.ledger = talk.mark, Ledger()
        self.again: dict[int, int] = {}  # by the guard's place
        self.settled = False

    async def events(self) -> AsyncGenerator[ev.Event, None]:
        """Write it; the outcome is left in the step."""
        first = True
        while not self.settled:
            sampling = self._sampling()
            attempt = Attempt(self.step, self.node, self.talk, sampling, judge_input=first)
            first = False
            async with aclosing(attempt.events()) as events:
                async for event in events:
                    yield event
            self.ledger += attempt.ledger
            async with aclosing(self._settle(attempt)) as events:
                async for event in events:
                    yield event

    async def _settle(self, attempt: Attempt) -> AsyncGenerator[ev.Event, None]:
        """Do what the guard says that decided; without one the reply remains."""
        guard = attempt.decided
        if guard is None:
            self._leave(attempt.reply.text, attempt.reply.finish)
            return
        if guard.then == "go":
            raise failed(self.step, guard)
        if guard.then == "again":
            place = self.node.guards.index(guard)
            count = self.again[place] = self.again.get(place, 0) + 1
            if count > guard.at_most:
                raise failed(self.step, guard, count)
            yield self._roll_back()
            return
        candidate = {"text": attempt.reply.text if attempt.ended else ""}
        text = self.step.render(guard.text or REFUSAL, candidate=candidate)
        if guard.then == "ask":
            yield ev.Asked(**self.step.stamp(), question=text)
            text = await self._answer(guard, text)
            if text.strip().lower() == "yes":
                if attempt.ended:  # else it was given up for the verdict, and is written now
                    for event in attempt.held():
                        yield event
                    self._leave(attempt.reply.text, attempt.reply.finish)
                return
        if attempt.ended or attempt.shown:
            yield self._roll_back()
        self.talk.add("assistant", text)
        self._leave(text, "refused" if guard.then == "refuse" else "replaced")

    async def _answer(self, guard: Guard, question: str) -> str:
        run = self.step.frame.run
        answer = None if run.answer is None else await run.answer(question)
        if answer is None:
            raise ChainRunError(
                f"the guard {guard.check} asks a human, and nobody is there; run it in "
                f"`chains demo`, or pass `answer`",
                self.step.name,
            )
        return answer

    def _roll_back(self) -> ev.RolledBack:
        dropped = self.talk.mark - self.mark
        self.talk.rewind(self.mark)
        return ev.RolledBack(**self.step.stamp(), messages=dropped)

    def _leave(self, text: str, finish: str) -> None:
        state = {"text": text, "finish": finish, "attempts": self.step.attempt}
        self.step.outcome = Outcome(state, text, self.ledger, text)
        self.settled = True

    def _sampling(self) -> Sampling:
        node, often = self.node, sum(self.again.values())
        seed = (node.seed + self.step.attempt - 1 + often * _APART) % 2**62
        return Sampling(node.max_tokens, node.temperature, node.top_p, seed, node.stop)
