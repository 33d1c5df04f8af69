"""One reply of the base model, streamed: committed when it ends, undone when it is abandoned."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Lock
from typing import Literal

import torch

from .conversation import Conversation
from .decode import Sampler, Sampling, TextStream
from .errors import ContextTooLong, ConversationError, RequestError
from .ledger import Ledger
from .model import Model, Row

Finish = Literal["end", "stop", "length"]


@dataclass(frozen=True)
class Reply:
    """A finished reply: its text, the ids behind it, why it ended, and what it cost.

    `finish`: "end" by the model's own end token, "stop" at a stop string, "length" at max_tokens.
    """

    text: str
    ids: tuple[int, ...]
    finish: Finish
    ledger: Ledger


class Generation(Iterator[str]):
    """Iterates over the pieces of a reply. At the end the conversation has it as a message.

    `close` may be called from any thread: the generation ends between two tokens and the
    conversation is as it was before. The same happens when a forward fails and when the last
    reference to the generation goes. Until then the conversation takes nothing else.
    """

    def __init__(
        self,
        model: Model,
        lock: AbstractContextManager[object],
        conversation: Conversation,
        sampling: Sampling,
    ) -> None:
        if not conversation.messages:
            raise ConversationError("there is nothing to reply to; add a message first")
        conversation.check_idle()
        self._closed = False
        self._stepping = Lock()
        self._work = _Work(model, lock, conversation, sampling)
        self._pieces = self._work.run()

    def __next__(self) -> str:
        """The next piece of text."""
        with self._stepping:
            if self._closed:
                raise StopIteration
            return next(self._pieces)

    def close(self) -> None:
        """Abandon the reply. Changes: the conversation, back to where it was before."""
        self._closed = True
        with self._stepping:
            self._pieces.close()

    @property
    def reply(self) -> Reply:
        """The reply, once the iteration has ended. Raises: RequestError: it has not."""
        if self._work.reply is None:
            raise RequestError("the reply is not finished; iterate to the end first")
        return self._work.reply


@dataclass
class _Work:
    """What a generation does. It does not know the generation, so a dropped one ends at once."""

    model: Model
    lock: AbstractContextManager[object]
    conversation: Conversation
    sampling: Sampling
    forwards: int = 0
    seconds: float = 0.0
    reply: Reply | None = None

    def run(self) -> Generator[str, None, None]:
        conversation, chat = self.conversation, self.conversation.chat
        reused = conversation.cached
        stream = TextStream(chat, self.sampling.stop)
        conversation.open_reply()
        try:
            limit = self._limit()
            head = conversation.length
            finish: Finish = "length"
            for token in self._tokens(limit):
                if token is None:
                    finish = "end"
                    break
                piece = stream.push(token)
                if piece:
                    yield piece
                if stream.stopped:
                    finish = "stop"
                    break
            last = stream.flush()
            if last:
                yield last
            if not stream.text.strip():
                raise ConversationError(
                    f"the reply is empty: the model ended it at once ({finish}); ask otherwise, or "
                    f"give it a temperature or other stop strings"
                )
        except BaseException:
            conversation.drop_reply()
            raise
        computed = conversation.cached - reused
        ids = stream.kept_ids()
        if stream.stopped:
            kept = _common(ids, stream.ids)
            conversation.truncate(head + kept)
            conversation.extend(ids[kept:])
        conversation.close_reply(stream.text)
        ledger = Ledger(reused, computed, self.forwards, self.seconds)
        self.reply = Reply(stream.text, tuple(ids), finish, ledger)

    def _limit(self) -> int:
        """How many tokens the reply may have, its end within the context.

        Raises: ContextTooLong: none; nothing has been computed.
        """
        conversation, room = self.conversation, self.model.context_tokens
        tail = len(conversation.chat.reply_tail(conversation.roles))
        limit = room - conversation.length - tail
        if limit < 1:
            raise ContextTooLong(
                f"{conversation.length} tokens leave no room for a reply: they do not fit into the "
                f"model's context of {room}; shorten the documents or roll the conversation back"
            )
        return min(limit, self.sampling.max_tokens)

    def _tokens(self, limit: int) -> Iterator[int | None]:
        """The ids of the reply, at most `limit`; None when the model ends by itself."""
        sampler = Sampler(self.sampling)
        ends = self.model.end_ids | {self.conversation.chat.end_id}
        for _ in range(limit):
            token = self._step(sampler)
            if token in ends:
                yield None
                return
            self.conversation.extend([token])
            yield token

    @torch.inference_mode()
    def _step(self, sampler: Sampler) -> int:
        with self.lock:
            started, forwards = time.perf_counter(), self.model.forwards
            branch = self.conversation.branch
            if not self.conversation.pending:  # a template that opens a reply with nothing
                branch.truncate(branch.length - 1)
            rest = self.model.prefill_early(branch, self.conversation.pending)
            row = Row(rest, branch, read=(len(rest) - 1,), store=True)
            token = sampler.choose(self.model.forward([row])[0][0])
            self.forwards += self.model.forwards - forwards
            self.seconds += time.perf_counter() - started
            return token


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading ids are the same."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
