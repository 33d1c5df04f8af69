"""One reply of the base model, streamed: committed when it ends, undone when it is abandoned."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
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
    conversation is as it was before. The same happens when a forward fails.
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
        self._model = model
        self._lock = lock
        self._conversation = conversation
        self._sampling = sampling
        self._closed = False
        self._stepping = Lock()
        self._reply: Reply | None = None
        self._pieces = self._run()

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
        if self._reply is None:
            raise RequestError("the reply is not finished; iterate to the end first")
        return self._reply

    def _run(self) -> Generator[str, None, None]:
        conversation, before = self._conversation, self._conversation.length
        chat = conversation.chat
        started, forwards = time.perf_counter(), self._model.forwards
        reused = conversation.cached
        stream = TextStream(chat.tokenizer, self._sampling.stop)
        try:
            conversation.extend(chat.reply_head(conversation.roles))
            finish: Finish = "length"
            for token in self._tokens():
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
        except BaseException:
            conversation.truncate(before)
            raise
        computed = conversation.cached - reused
        head = conversation.length - len(stream.ids)
        ids = stream.kept_ids()
        if stream.stopped:
            conversation.truncate(head)
            conversation.extend(ids)
        conversation.close_reply(stream.text)
        seconds = time.perf_counter() - started
        ledger = Ledger(reused, computed, self._model.forwards - forwards, seconds)
        self._reply = Reply(stream.text, tuple(ids), finish, ledger)

    def _tokens(self) -> Iterator[int | None]:
        """The ids of the reply, at most `max_tokens`; None when the model ends by itself."""
        sampler, ends = (
            Sampler(self._sampling),
            self._model.end_ids | {self._conversation.chat.end_id},
        )
        conversation = self._conversation
        for _ in range(self._sampling.max_tokens):
            if conversation.length >= self._model.context_tokens:
                raise ContextTooLong(
                    f"the reply reached the model's context of {self._model.context_tokens} "
                    f"tokens; shorten the conversation or lower max_tokens"
                )
            token = self._step(sampler)
            if token in ends:
                yield None
                return
            conversation.extend([token])
            yield token

    @torch.inference_mode()
    def _step(self, sampler: Sampler) -> int:
        with self._lock:
            branch = self._conversation.branch
            rest = self._model.prefill_early(branch, self._conversation.pending)
            row = Row(rest, branch, read=(len(rest) - 1,), store=True)
            return sampler.choose(self._model.forward([row])[0][0])
