"""Writing one reply: choose a token, ask for the next, look at it with watchers, roll back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from .conversation import Conversation
from .decode import Sampler, Sampling, TextStream
from .draft import Draft
from .errors import ContextTooLong, ConversationError, Guarded
from .job import Got, Steps, Want
from .ledger import Ledger
from .model import Model, Row
from .prompt import ChatFormat
from .prove import Prover
from .speculation import MOST_GUESSES, Guesser
from .watch import Check, Guard

Finish = Literal["end", "stop", "length", "guarded"]
_SEED_STRIDE = 1_000_003  # between the seeds of one reply's tries


@dataclass(frozen=True)
class Reply:
    """A finished reply: its text, the ids behind it, why it ended, and what it cost.

    `finish`: "end" by the model's own end token, "stop" at a stop string, "length" at max_tokens,
    "guarded" where a watcher ended it. `checks` is all that watchers found, tries included.
    """

    text: str
    ids: tuple[int, ...]
    finish: Finish
    ledger: Ledger
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Written:
    """A reply and the draft that holds its keys and values."""

    reply: Reply
    draft: Draft


@dataclass(frozen=True)
class _Good:
    """A point of the reply that passed, and the logits that follow it."""

    ids: tuple[int, ...]
    tokens: int
    text: str
    shown: int
    logits: Tensor


class _Text:
    """A reply as far as it is written, on its draft.

    `logits` follow its last token. `ahead` are guessed tokens whose keys and values are computed,
    each with the logits that follow it. `proof[i]`, where it is kept, are the logits that its i-th
    token was chosen from.
    """

    def __init__(
        self, chat: ChatFormat, draft: Draft, sampling: Sampling, limit: int, proven: bool
    ) -> None:
        self.draft = draft
        self.head = len(draft.ids)
        self.stream = TextStream(chat, sampling.stop)
        self.finish: Finish | None = None
        self.logits = torch.empty(0)
        self.proof: list[Tensor] | None = [] if proven else None
        self.ahead: list[tuple[int, Tensor]] = []
        self.tries = 0
        self._sampling = sampling
        self._sampler = Sampler(sampling)
        self._limit = limit
        self._guesser = Guesser()
        self._guessed = 0
        self._known: Tensor | None = None
        self._beside = 0

    @property
    def left(self) -> int:
        """How many more tokens it may have."""
        return self._limit - len(self.stream.ids)

    def follow(self, logits: Tensor) -> None:
        """Know what follows the last token: a copy, not a view of a whole batch's logits."""
        self.logits = logits
        if self.proof is not None:
            self.proof.append(logits)

    def take(self, ends: frozenset[int]) -> str:
        """Choose the next token, or find that the reply ends here; return what text is certain."""
        token = self._sampler.choose(self.logits)
        if token in ends:
            self.finish = "end"
            return self.stream.flush()
        self._known = self._as_guessed(token)
        self.draft.ids.append(token)
        self.draft.expected = self.left - 1
        piece = self.stream.push(token)
        if self.stream.stopped:
            self.finish = "stop"
            self._cut()
        elif self.left == 0:
            self.finish = "length"
        return piece if self.finish is None else piece + self.stream.flush()

    def step(self) -> Steps[None]:
        """Find what follows the last token: computed as a guess before, or now with new guesses."""
        if self._known is not None:
            self.follow(self._known)
            return
        most = min(self.left - 1, MOST_GUESSES // (1 + self._beside))
        guesses = self._guesser.guess(self.draft.ids, most) if most else []
        self._guessed = len(guesses)
        self.draft.ids += guesses
        got = yield Want(self.draft, read=1 + len(guesses))
        del self.draft.ids[len(self.draft.ids) - len(guesses) :]
        self._beside = got.beside
        following = got.next.clone()
        self.follow(following[0])
        self.ahead = list(zip(guesses, following[1:], strict=True))

    def look(self, rows: Callable[[int | None], Sequence[Row]], tokens: int) -> Steps[Got]:
        """Compute other rows after the text so far, and in the same forward what follows it."""
        self.settle()
        read = self.finish is None and self._known is None
        got = yield Want(self.draft, int(read), rows, tokens)
        if self.finish is None:
            self.follow(got.next[0].clone() if self._known is None else self._known)
        return got

    def _as_guessed(self, token: int) -> Tensor | None:
        """What follows the chosen token, if it was guessed; else what was guessed is dropped."""
        if not self.ahead:
            return None
        guess, logits = self.ahead.pop(0)
        if guess == token:
            if not self.ahead:
                self._guesser.came_true(self._guessed, self._guessed)
            return logits
        self._guesser.came_true(self._guessed, self._guessed - len(self.ahead) - 1)
        self.settle()
        return None

    def settle(self) -> None:
        """Drop guesses that are left, and their keys and values."""
        self.ahead.clear()
        self.draft.settle()

    def _cut(self) -> None:
        """Let the draft end where the text does: a stop string may have cut a token."""
        kept, ids = self.stream.kept_ids(), self.stream.ids
        pairs = enumerate(zip(kept, ids, strict=False))
        same = next((i for i, (a, b) in pairs if a != b), min(len(kept), len(ids)))
        self._replace(kept, same)

    def _replace(self, ids: Sequence[int], same: int) -> None:
        """Let the reply be `ids`, whose first `same` are as they were."""
        self.draft.truncate(self.head + same)
        self.draft.ids += ids[same:]
        if self.proof is not None:
            del self.proof[same + 1 :]

    def here(self) -> _Good:
        """This point, to come back to."""
        stream = self.stream
        ids = tuple(self.draft.ids[self.head :])
        return _Good(ids, len(stream.ids), stream.text, stream.shown, self.logits)

    def back(self, good: _Good) -> None:
        """Be as at that point: ids, keys and values, text, and what follows.

        The ids may have to grow too, where a stop string had cut them shorter than they were.
        """
        now = self.draft.ids[self.head :]
        pairs = enumerate(zip(good.ids, now, strict=False))
        same = next((i for i, (a, b) in pairs if a != b), min(len(good.ids), len(now)))
        self._replace(good.ids, same)
        self.stream.rewind(good.tokens, good.text, good.shown)
        self.logits = good.logits
        self.ahead.clear()
        self.finish = None

    def again(self) -> None:
        """Go on from here with another seed."""
        self.tries += 1
        seed = (self._sampling.seed + self.tries * _SEED_STRIDE) % 2**63
        self._sampler = Sampler(replace(self._sampling, seed=seed))


@dataclass
class Writer:
    """Writes one reply to a conversation, on a draft. `show` gets every piece that is certain."""

    model: Model
    conversation: Conversation
    sampling: Sampling
    guard: Guard | None = None
    prover: Prover | None = None
    show: Callable[[str], None] = field(default=lambda piece: None)
    checks: list[Check] = field(default_factory=list)

    def run(self) -> Steps[Written]:
        """The steps of the request. Raises: ContextTooLong, ConversationError, Guarded."""
        limit = self._limit()
        draft = self.conversation.draft(self.conversation.ids, expected=limit)
        try:
            text = yield from self._write(draft, limit)
            if not text.stream.text.strip():
                raise self._empty(text)
            if self.prover is not None:
                self.prover.check_reply(draft.ids, text.head, text.proof or [])
        except BaseException:
            draft.release()
            raise
        assert text.finish is not None
        ids = tuple(draft.ids[text.head :])
        checks = tuple(self.checks)
        return Written(Reply(text.stream.text, ids, text.finish, draft.ledger(), checks), draft)

    def _limit(self) -> int:
        """How many tokens the reply may have, its end within the context.

        Raises: ContextTooLong: none; nothing has been computed.
        """
        talk, room = self.conversation, self.model.context_tokens
        chat = talk.chat
        frame = len(chat.reply_head(talk.roles)) + len(chat.reply_tail(talk.roles))
        if self.guard is not None:
            frame += self.guard.tokens
        limit = room - talk.length - frame
        if limit < 1:
            raise ContextTooLong(
                f"{talk.length} tokens leave no room for a reply: they do not fit into the "
                f"model's context of {room}; shorten the documents or roll the conversation back"
            )
        return min(limit, self.sampling.max_tokens)

    def _write(self, draft: Draft, limit: int) -> Steps[_Text]:
        chat = self.conversation.chat
        draft.ids += chat.reply_head(self.conversation.roles)
        if not draft.pending:  # a template that opens a reply with nothing
            draft.branch.truncate(draft.branch.length - 1)
        text = _Text(chat, draft, self.sampling, limit, self.prover is not None)
        text.follow((yield Want(draft, read=1)).next[0].clone())
        good = text.here()
        ends = self.model.end_ids | {chat.end_id}
        while text.finish is None:
            piece = text.take(ends)
            if self.guard is None:
                if piece:
                    self.show(piece)
            elif text.finish or self.guard.due(text.stream.text, len(text.stream.ids)):
                good = yield from self._look(self.guard, text, good)
                continue
            if text.finish is None:
                yield from text.step()
        text.settle()
        return text

    def _look(self, guard: Guard, text: _Text, good: _Good) -> Steps[_Good]:
        """Let the watchers judge the text so far, in the forward of its last token.

        Returns the last good point; the text is there, or further if it passed.
        """
        found: list[Check] = []
        if text.stream.text.strip():
            look = guard.look(text.stream.text, text.draft)
            got = yield from text.look(look.rows, look.tokens)
            found = look.checks(got.rows, len(text.stream.ids))
        elif text.finish is None:  # nothing to judge yet
            yield from text.step()
        self.checks += found
        if self.prover is not None:
            for check in found:
                self.prover.check_verdict(check.verdict)
        tripped = {check.then for check in found if check.tripped}
        if "raise" in tripped:
            raise Guarded(_why(found, "raise"))
        if not tripped - {"note"}:
            self.show(text.stream.text[good.shown : text.stream.shown])
            return text.here() if text.finish is None else good
        text.back(good)
        if "stop" in tripped or text.tries == guard.watch.tries:
            text.finish = "guarded"
            self.show(good.text[good.shown :])  # held back as a stop string that may begin
        else:
            text.again()
        return good

    def _empty(self, text: _Text) -> Exception:
        if text.finish == "guarded":
            return Guarded(
                f"nothing of the reply passed: {_why(self.checks)}; ask otherwise, or allow more "
                f"tries"
            )
        return ConversationError(
            f"the reply is empty: the model ended it at once ({text.finish}); ask otherwise, or "
            f"give it a temperature or other stop strings"
        )


def _why(checks: Sequence[Check], then: str | None = None) -> str:
    check = next(c for c in reversed(checks) if c.tripped and then in (None, c.then))
    verdict = check.verdict
    label = max(verdict.distribution, key=lambda name: verdict.distribution[name])
    return (
        f"{verdict.intrinsic} found {label!r} ({verdict.p(label):.2f}) after {check.tokens} tokens"
    )
