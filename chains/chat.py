"""One conversation over many runs, and its forks: what a chat keeps between its turns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from intrinsics.errors import ContextTooLong, IntrinsicsError
from intrinsics.messages import Document, Message

from . import events as ev
from .chain import Chain
from .errors import ChainError, InputError
from .forks import FIRST, Fork, Forks, Turn
from .inputs import RunInput
from .interrupt import Interrupt
from .render import Costs
from .runview import RunView
from .screen import Screen, ticking
from .sheet import Panel

if TYPE_CHECKING:
    from intrinsics.conversation import Conversation
    from intrinsics.engine import Engine

    from .witness import Witness

PLAIN, WITH_DOCUMENTS = "guarded_chat", "guarded_rag"
Answer = Callable[[str], Awaitable[str]]
Quiet = Callable[[], AbstractContextManager[None]]


class Chat:
    """A chain, a conversation with its forks, and the turns that go through them.

    A turn runs on a copy, which takes the conversation's place when the turn is finished: what was
    stopped or failed leaves no trace. `trial` is that copy; `last` is what was run last, kept or
    not. `panel` gives lines to show below a run while it lasts.
    """

    def __init__(
        self,
        engine: Engine,
        screen: Screen,
        chain: str,
        answer: Answer | None = None,
        quiet: Quiet = nullcontext,
        interrupt: Interrupt | None = None,
    ) -> None:
        """`answer` serves questions of the chain; `quiet` surrounds each turn.

        Raises: ChainError, IntrinsicsError: the chain can't be used.
        """
        self.engine, self.screen = engine, screen
        loaded = self.load(chain)
        self.forks = Forks(Fork(FIRST, loaded, self._begin(loaded, ())))
        self.total = Costs()
        self.last: Turn | None = None
        self.trial: Conversation | None = None
        self.panel: Panel = list
        self._answer, self._quiet = answer, quiet
        self._interrupt = interrupt or Interrupt()

    @property
    def fork(self) -> Fork:
        """The fork that is talked on."""
        return self.forks.current

    @property
    def chain(self) -> Chain:
        """Its chain."""
        return self.fork.chain

    @property
    def conversation(self) -> Conversation:
        """Its conversation."""
        return self.fork.conversation

    def load(self, source: str) -> Chain:
        """A chain whose intrinsics are ready to run. Raises: ChainError, IntrinsicsError."""
        chain = Chain.load(source, catalogue=self.engine.catalogue)
        make_ready(self.engine, chain)
        return chain

    def use(self, source: str) -> None:
        """Go on with another chain; a conversation without a turn takes its system prompt."""
        self.fork.chain = self.load(source)
        if all(message.role == "system" for message in self.conversation.messages):
            documents = self.conversation.documents
            self.fork.conversation = self._begin(self.chain, documents)

    def restart(self, source: str, documents: Iterable[Document] = ()) -> None:
        """A new conversation on a chain, in place of all there is."""
        chain = self.load(source)
        self.forks = Forks(Fork(FIRST, chain, self._begin(chain, documents)))

    def add(self, documents: list[Document]) -> int:
        """Add documents; returns their tokens.

        Raises: ConversationError, ContextTooLong: they can't be taken; nothing has changed.
        """
        trial = self.conversation.fork()
        trial.add_documents(documents)
        room = self.engine.model.context_tokens
        if trial.length >= room:
            raise ContextTooLong(
                f"{', '.join(d.id for d in documents)}: with it the conversation has "
                f"{trial.length:,} tokens, but the model's context {room:,}; give a shorter text"
            )
        added = trial.length - self.conversation.length
        self.fork.conversation = trial
        return added

    def branch(self, name: str = "") -> Fork:
        """Fork what is talked on, and talk on the fork. Raises: InputError: the name is taken."""
        name = self.forks.check_new(name) if name else self.forks.free(self.fork.name)
        self.forks.add(self.fork.twin(name))
        return self.fork

    def switch(self, name: str) -> None:
        """Talk on another fork. Raises: InputError: there is none of that name."""
        self.last = last_of(self.forks.switch(name))

    def take_in(self, forks: Sequence[Fork], current: str) -> None:
        """Add forks from elsewhere, and talk on the one of that name.

        Where a name is taken they get another; where nothing was said yet they replace what is.
        """
        fresh = not any(fork.turns or fork.conversation.documents for fork in self.forks.all())
        for number, fork in enumerate(forks):
            name = fork.name
            if fresh and number == 0:
                self.forks = Forks(fork)
            else:
                fork.name = self.forks.free(name)
                self.forks.add(fork)
            if name == current:
                chosen = fork.name
        self.switch(chosen)

    def undo(self) -> tuple[Turn, int]:
        """Roll the last turn back; it and how many tokens went. Raises: InputError: none."""
        before = self.conversation.length
        turn = self.fork.undo()
        self.last = last_of(self.fork)
        return turn, before - self.conversation.length

    def edit(self, number: int, text: str) -> None:
        """Say something else in place of a message, on a fork of what was before it.

        The message and what followed stay on the fork they are on. A turn that is not kept takes
        its fork with it. Raises: InputError: there is no such message.
        """
        origin = self.fork
        self.forks.add(origin.before(number, self.forks.free(origin.name)))
        if not self.turn(text):
            self.forks.drop(self.fork, back=origin)

    def turn(self, text: str) -> bool:
        """Run the chain on a user's message and show it; whether it was kept. Ctrl-C stops it."""
        with self._interrupt.ignored():  # a second press must not break what follows the first
            return self._turn(text)

    def _turn(self, text: str) -> bool:
        from .witness import Witness  # the engine's modules, which are loaded by now

        trial, witness = self.conversation.fork(), Witness(self.engine)
        self.trial = trial
        view = RunView(self.screen, self.chain, self.engine.catalogue, self.panel)
        events: list[ev.Event] = []
        kept = False
        try:
            with self._quiet():
                asyncio.run(self._run(witness, trial, text, view, events))
            kept = True
        except asyncio.CancelledError:
            view.stop("stopped; nothing of this turn was kept")
        except (IntrinsicsError, ChainError) as error:
            view.stop()
            self.screen.complain(str(error))
        finally:
            self.trial = None
            self.screen.idle()
        mark, found = self.conversation.mark, tuple(witness.found)
        self.last = Turn(text, mark, len(trial.documents), tuple(events), found)
        if kept:
            self.fork.conversation = trial
            self.fork.turns.append(self.last)
            self.total.add(view.costs)
        self.screen.print()
        return kept

    async def _run(
        self,
        engine: Witness,
        conversation: Conversation,
        text: str,
        view: RunView,
        events: list[ev.Event],
    ) -> None:
        given = RunInput(messages=(Message(role="user", content=text),))
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        stream = self.chain.stream(engine, given, conversation, self._answer)
        with self._interrupt.does(lambda: loop.call_soon_threadsafe(task.cancel)):
            async with ticking(self.screen), aclosing(stream):
                async for event in stream:
                    events.append(event)
                    view.show(event)

    def _begin(self, chain: Chain, documents: Iterable[Document]) -> Conversation:
        system = chain.model.system
        messages = [Message(role="system", content=system)] if system else []
        return self.engine.conversation(messages, documents)


def last_of(fork: Fork) -> Turn | None:
    """The turn a fork ends with."""
    return fork.turns[-1] if fork.turns else None


def make_ready(engine: Engine, chain: Chain) -> None:
    """Load the adapters a chain needs, before any work that a missing one would waste.

    Raises: IntrinsicsError: one can't be used.
    """
    for name in chain.model.intrinsics():
        engine.intrinsic(name)


def read_document(path: Path) -> Document:
    """A text or Markdown file as a document, named as the file. Raises: InputError."""
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~ of nobody
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    if not text.strip():
        raise InputError(f"{path}: the file is empty; give one with text")
    return Document(id=path.stem, text=text.strip())
