"""One reply from its first token to what its guards say; nothing is shown before they have judged.

Guards of the input judge beside the first tokens: the reply is begun at once and given up if one
of them trips, so that a question which passes has not waited.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from itertools import cycle
from typing import TYPE_CHECKING, Any

from intrinsics.errors import Guarded
from intrinsics.ledger import Ledger

from .. import events as ev
from ..errors import ChainRunError
from ..kinds import Guard, Stage
from ..model import Turn
from .guarding import Found, Looking, first_tripped, trip
from .step import Step

if TYPE_CHECKING:
    from intrinsics.conversation import Conversation
    from intrinsics.generation import Generation
    from intrinsics.sampling import Sampling
    from intrinsics.watch import Watch
    from intrinsics.writer import Reply

_WATCHED = {"again": "again", "pass": "note"}  # what the engine does itself; else it gives up


class Attempt:
    """It ends with a `reply` that all guards let pass, or with the guard that `decided`.

    `ended`: the reply was written to its end, and is the conversation's last message.
    `shown`: some of it was seen.
    """

    def __init__(
        self, step: Step, node: Turn, talk: Conversation, sampling: Sampling, *, judge_input: bool
    ) -> None:
        self.step, self.node, self.talk, self.sampling = step, node, talk, sampling
        self.inputs = self._at("input") if judge_input else []
        self.replies = self._at("reply")
        self.decided: Guard | None = None
        self.ended = self.shown = False
        self.reply: Reply
        self.ledger = Ledger()
        self._held: list[str] = []

    def _at(self, stage: Stage) -> list[Guard]:
        return [guard for guard in self.node.guards if guard.at == stage]

    async def events(self) -> AsyncGenerator[ev.Event, None]:
        """Write, judge, and show what passes. Raises: ChainRunError: nothing passed."""
        engine = self.step.engine()
        looking = Looking(self.step, [(guard, self.talk.fork()) for guard in self.inputs])
        for event in self._prompt():
            yield event
        generation = engine.stream(self.talk, self.sampling, self._watch())
        try:
            async with aclosing(self._written(generation, looking)) as events:
                async for event in events:
                    yield event
        except Guarded as error:
            self.decided = self._forbade(error)
            yield trip(self.step, self.decided, error.p)
        finally:
            looking.cancel()
            generation.close()
        if self.decided is None and self.replies:
            for event in await self._judged(
                Looking(self.step, [(g, self.talk) for g in self.replies])
            ):
                yield event
        if self.decided is None:
            for event in self.held():
                yield event

    def _prompt(self) -> Iterator[ev.Event]:
        """What the model reads; a script has no tokens."""
        run = self.step.frame.run
        if run.prompts.chat is not None:
            ids = (*self.talk.ids, *run.prompts.chat.reply_head(self.talk.roles))
            yield from run.prompts.told(self.step.stamp(), ids)

    async def _written(
        self, generation: Generation, looking: Looking
    ) -> AsyncGenerator[ev.Event, None]:
        pieces = aiter(generation)
        if self.inputs:
            judging = asyncio.ensure_future(self._judged(looking))
            try:
                reading = await self._ahead(pieces, judging)
                for event in await judging:
                    yield event
            finally:
                judging.cancel()
            if self.decided is not None and not self.ended:
                if reading is not None:
                    reading.cancel()
                return
            if reading is not None:
                self._keep(await reading)
        while not self.ended:
            for event in self.held() if not self.replies else ():
                yield event
            self._keep(await anext(pieces, None))
        self.reply = generation.reply
        self.ledger += self.reply.ledger
        for event in self._seen():
            yield event

    async def _ahead(
        self, pieces: AsyncIterator[str], judging: asyncio.Future[list[ev.Event]]
    ) -> asyncio.Future[str | None] | None:
        """Read on until the guards of the input have judged; what is awaited by then."""
        reading: asyncio.Future[str | None] | None = None
        try:
            while not judging.done() and not self.ended:
                reading = reading or asyncio.ensure_future(anext(pieces, None))
                both: set[asyncio.Future[Any]] = {reading, judging}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    self._keep(reading.result())
                    reading = None
        except BaseException:
            if reading is not None:
                reading.cancel()
            raise
        return reading

    def _keep(self, piece: str | None) -> None:
        """Hold a piece back; None is the end."""
        if piece is None:
            self.ended = True
        else:
            self._held.append(piece)

    def held(self) -> list[ev.Event]:
        """What was held back is shown."""
        held, self._held = self._held, []
        self.shown = self.shown or bool(held)
        return [ev.Token(**self.step.stamp(), text=piece) for piece in held]

    async def _judged(self, looking: Looking) -> list[ev.Event]:
        found: Sequence[Found] = await looking.found()
        self.decided = first_tripped(found)
        for one in found:
            self.ledger += one.ledger
        return [event for one in found for event in one.events(self.step)]

    def _watch(self) -> Watch | None:
        """The guards of its sentences, as the engine watches for them."""
        guards = self._at("sentence")
        if not guards:
            return None
        from intrinsics.watch import Watch, Watcher  # torch, which a turn needs anyway

        watchers = tuple(
            Watcher(
                guard.check,
                guard.label,
                guard.above,
                _WATCHED.get(guard.then, "raise"),  # type: ignore[arg-type]
                {key: self.step.render(text) for key, text in guard.arguments.items()},
            )
            for guard in guards
        )
        return Watch(watchers, tries=max(guard.at_most for guard in guards))

    def _seen(self) -> list[ev.Event]:
        """The trips of the guards of sentences, which the engine has dealt with."""
        guards = self._at("sentence")  # every look has a check of each, in order
        return [
            trip(self.step, guard, check.verdict.p(guard.label))
            for guard, check in zip(cycle(guards), self.reply.checks, strict=False)
            if check.tripped
        ]

    def _forbade(self, error: Guarded) -> Guard:
        """The guard of a sentence that gave the reply up.

        Raises: ChainRunError: none did, but nothing of the reply passed.
        """
        for guard in self._at("sentence"):
            if guard.then not in _WATCHED and guard.check == error.intrinsic:
                return guard
        raise ChainRunError(str(error), self.step.name, "guard") from error
