"""One conversation over many runs: what a chat keeps between its turns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, aclosing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from intrinsics.errors import ContextTooLong, IntrinsicsError
from intrinsics.messages import Document, Message

from . import events as ev
from .chain import Chain
from .errors import ChainError, InputError
from .inputs import RunInput
from .render import Costs
from .screen import RunView, Screen

if TYPE_CHECKING:
    from intrinsics.conversation import Conversation
    from intrinsics.engine import Engine

PLAIN, WITH_DOCUMENTS = "guarded_chat", "guarded_rag"
Answer = Callable[[str], Awaitable[str]]
Quiet = Callable[[], AbstractContextManager[None]]


class Chat:
    """A chain, a conversation, and the turns that go through both.

    A turn runs on a fork, which takes the conversation's place when the turn is finished: what was
    stopped or failed leaves no trace.
    """

    def __init__(
        self,
        engine: Engine,
        screen: Screen,
        chain: str,
        answer: Answer | None = None,
        quiet: Quiet = nullcontext,
    ) -> None:
        """`answer` serves questions of the chain; `quiet` surrounds each turn.

        Raises: ChainError, IntrinsicsError: the chain can't be used.
        """
        self.engine, self.screen = engine, screen
        self.chain = self.load(chain)
        self.conversation = self._begin(())
        self.total = Costs()
        self.events: list[ev.Event] = []
        self._answer, self._quiet = answer, quiet

    def load(self, source: str) -> Chain:
        """A chain whose intrinsics are ready to run. Raises: ChainError, IntrinsicsError."""
        chain = Chain.load(source, catalogue=self.engine.catalogue)
        make_ready(self.engine, chain)
        return chain

    def use(self, source: str) -> None:
        """Go on with another chain; a conversation without a turn takes its system prompt."""
        self.chain = self.load(source)
        if all(message.role == "system" for message in self.conversation.messages):
            self.conversation = self._begin(self.conversation.documents)

    def restart(self, source: str, documents: Iterable[Document] = ()) -> None:
        """A new conversation on a chain."""
        self.chain = self.load(source)
        self.conversation = self._begin(documents)

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
        self.conversation = trial
        return added

    def turn(self, text: str) -> None:
        """Run the chain on a user's message and show it. Ctrl-C stops it."""
        trial = self.conversation.fork()
        view = RunView(self.screen, self.chain.model, self.engine.catalogue)
        try:
            with self._quiet():
                asyncio.run(self._run(trial, text, view))
        except KeyboardInterrupt:
            self.screen.print()
            self.screen.note("stopped; nothing of this turn was kept")
        except (IntrinsicsError, ChainError) as error:
            self.screen.complain(str(error))
        else:
            self.conversation = trial
            self.total.add(view.costs)
        finally:
            self.screen.idle()
        self.screen.print()

    async def _run(self, conversation: Conversation, text: str, view: RunView) -> None:
        given = RunInput(messages=(Message(role="user", content=text),))
        self.events = []
        async with aclosing(
            self.chain.stream(self.engine, given, conversation, self._answer)
        ) as stream:
            async for event in stream:
                self.events.append(event)
                view.show(event)

    def _begin(self, documents: Iterable[Document]) -> Conversation:
        system = self.chain.model.system
        messages = [Message(role="system", content=system)] if system else []
        return self.engine.conversation(messages, documents)


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
