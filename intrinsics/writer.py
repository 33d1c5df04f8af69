"""Writing one reply: choose a token, ask for the next, look at it with watchers, roll back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .conversation import Conversation
from .draft import Draft
from .errors import ContextTooLong, ConversationError, Guarded
from .job import Steps, Want
from .ledger import Ledger
from .model import Model
from .prove import Prover
from .sampling import Sampling
from .text import Finish, Good, Text
from .watch import Check, Guard


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

    def _write(self, draft: Draft, limit: int) -> Steps[Text]:
        chat = self.conversation.chat
        draft.ids += chat.reply_head(self.conversation.roles)
        if not draft.pending:  # a template that opens a reply with nothing
            draft.branch.truncate(draft.branch.length - 1)
        text = Text(chat, draft, self.sampling, limit, self.prover is not None)
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

    def _look(self, guard: Guard, text: Text, good: Good) -> Steps[Good]:
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
        for watcher, check in zip(guard.watch.watchers, found, strict=False):
            if check.tripped and check.then == "raise":
                verdict = check.verdict
                why = _why(found, "raise")
                raise Guarded(why, verdict.intrinsic, verdict.p(watcher.label))
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

    def _empty(self, text: Text) -> Exception:
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
