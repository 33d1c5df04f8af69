"""A conversation: messages, the exact token ids behind them, and its branch of the KV tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .draft import Draft
from .errors import ConversationError
from .kv import Branch
from .laid import moved, standing, waits
from .messages import ROLES, Document, Message, Role, Said
from .prompt import ChatFormat, documents_text


@dataclass(frozen=True)
class Entry:
    """A message or a block of documents, and where its ids end. `ahead`: as in `Said`."""

    message: Message
    documents: tuple[Document, ...]
    end: int
    ahead: bool = False


class Conversation:
    """Owns its token ids: what was prefilled or generated is never rendered again.

    `branch` may lag behind `ids`; the engine prefills the rest when it next reads. While a reply
    is generated the conversation does not change: the reply grows on a draft of its own.
    """

    def __init__(self, chat: ChatFormat, branch: Branch) -> None:
        self.chat = chat
        self.branch = branch
        self._ids: list[int] = []
        self._entries: list[Entry] = []
        self._replying = False

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages, without the blocks of documents."""
        return tuple(entry.message for entry in self._entries if not entry.documents)

    @property
    def documents(self) -> tuple[Document, ...]:
        """All documents, in the order they came."""
        return tuple(document for entry in self._entries for document in entry.documents)

    @property
    def ids(self) -> tuple[int, ...]:
        """The token ids of everything so far."""
        return tuple(self._ids)

    @property
    def length(self) -> int:
        """How many tokens the conversation has."""
        return len(self._ids)

    @property
    def cached(self) -> int:
        """How many of them have keys and values already."""
        return self.branch.length

    @property
    def pending(self) -> tuple[int, ...]:
        """The ids that are not in the KV tree yet."""
        return tuple(self._ids[self.branch.length :])

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles the template sees, blocks of documents included."""
        return tuple(entry.message.role for entry in self._entries)

    def add(self, role: Role, content: str) -> None:
        """Append a message. Changes: the conversation; nothing is computed yet.

        Raises: ConversationError: unknown role, empty text, or an order the template refuses.
        """
        self.check_idle()
        if role not in ROLES:
            raise ConversationError(f"unknown role {role!r}; use one of {', '.join(ROLES)}")
        if not content.strip():
            raise ConversationError(
                f"message {len(self.messages) + 1} ({role}) is empty; give it text"
            )
        self._append(Message(role=role, content=content), ())

    def add_documents(self, documents: Iterable[Document]) -> None:
        """Append documents, as one message of their own. Changes: the conversation.

        While a user's message waits for its answer they are laid before it: that is where models
        and intrinsics are trained to read them.
        Raises: ConversationError: an empty document, or an id that is already there.
        """
        self.check_idle()
        block = tuple(documents)
        seen = {document.id for document in self.documents}
        for document in block:
            if not document.text.strip():
                raise ConversationError(f"document {document.id!r} is empty; leave it out")
            if document.id in seen:
                raise ConversationError(
                    f"two documents have the id {document.id!r}; ids are unique"
                )
            seen.add(document.id)
        if block:
            self._lay(Message(role="system", content=documents_text(block)), block)

    def _lay(self, message: Message, block: tuple[Document, ...]) -> None:
        with self.branch.tree.lock:
            self.check_idle()
            if not waits(self._entries):
                self._append(message, block)
                return
            question = self._entries[-1].message
            self._cut(self.mark - 1)
            try:
                self._append(message, block, ahead=True)
            finally:
                self._append(question, ())

    @property
    def entries(self) -> tuple[tuple[Entry, tuple[int, ...]], ...]:
        """The messages and blocks of documents, each with its token ids: what `restore` takes."""
        starts = [0, *(entry.end for entry in self._entries)]
        ids = self.ids
        return tuple(
            (entry, ids[start : entry.end])
            for start, entry in zip(starts, self._entries, strict=False)
        )

    def restore(
        self,
        message: Message,
        documents: tuple[Document, ...],
        ids: Sequence[int],
        *,
        ahead: bool = False,
    ) -> bool:
        """Append a message, or a block of documents, with the token ids it had; `ahead` as `Said`.

        Where these are not its text, it is tokenised anew; returns whether they were. A reply's ids
        can differ from its text's tokenisation, and only they give the same continuation.
        Raises: ConversationError: an order that the template refuses.
        """
        anew = self.chat.message((*self.roles, message.role), message.content)
        same = self.chat.same_text(ids, anew)
        self._append(message, documents, ids if same else anew, ahead=ahead)
        return same

    def _append(
        self,
        message: Message,
        documents: tuple[Document, ...],
        known: Sequence[int] | None = None,
        *,
        ahead: bool = False,
    ) -> None:
        roles = self.roles
        ids = self.chat.message((*roles, message.role), message.content) if known is None else known
        with self.branch.tree.lock:  # meanwhile a reply may have begun, or another message come
            self.check_idle()
            if self.roles != roles:
                raise ConversationError("two threads add to one conversation; let one do it")
            self._ids.extend(ids)
            self._entries.append(Entry(message, documents, len(self._ids), ahead))

    def check_idle(self) -> None:
        """Raises: ConversationError: a reply is being generated, which will follow this past."""
        if self._replying:
            raise ConversationError(
                "a reply is being generated on this conversation; finish or close it first, or "
                "go on with a fork of the conversation"
            )

    def fork(self) -> Conversation:
        """An independent conversation with the same past, sharing its keys and values."""
        with self.branch.tree.lock:
            twin = Conversation(self.chat, self.branch.fork())
            twin._ids = list(self._ids)
            twin._entries = list(self._entries)
            return twin

    def rollback(self, messages: int) -> None:
        """Keep the first `messages` messages and the documents among them. Changes: in place.

        Documents that directly follow the last kept message stay too.
        Raises: ConversationError: there are not that many messages.
        """
        self.check_idle()
        if not 0 <= messages <= len(self.messages):
            raise ConversationError(
                f"cannot keep {messages} of {len(self.messages)} messages; roll back to fewer"
            )
        kept, count = len(self._entries), len(self.messages)
        while count > messages:
            kept -= 1
            count -= not self._entries[kept].documents
        with self.branch.tree.lock:
            self._cut(kept)
            for i in range(kept - 1, -1, -1):
                if not self._entries[i].ahead:
                    break
                self._entries[i] = replace(self._entries[i], ahead=False)  # its question is gone

    @property
    def mark(self) -> int:
        """A place to come back to: how many messages and blocks of documents there are."""
        return len(self._entries)

    def rewind(self, mark: int) -> None:
        """Go back to where `mark` was read; later documents go too. Changes: in place."""
        assert 0 <= mark <= len(self._entries), "a mark is read on this conversation before"
        with self.branch.tree.lock:
            self.check_idle()
            question = moved(self._entries, mark)
            self._cut(standing(self._entries, mark))
            if question is not None:
                self._append(question.message, ())

    def standing(self, mark: int) -> int:
        """How many of the messages and blocks before `mark` are where they were when it was read.

        One less where documents were laid before a question since; that one follows them now.
        """
        return standing(self._entries, mark)

    def since(self, place: int) -> tuple[Said, ...]:
        """All but the first `place` messages and blocks, with their ids, for `repeat` elsewhere."""
        with self.branch.tree.lock:
            start = self._entries[place - 1].end if place else 0
            found = []
            for one in self._entries[place:]:
                ids = tuple(self._ids[start : one.end])
                found.append(Said(one.message, one.documents, ids, one.ahead))
                start = one.end
            return tuple(found)

    def repeat(self, said: Iterable[Said], instead: int = 0) -> None:
        """Append what was said before, by its very ids. Changes: the conversation.

        It stands in place of the last `instead` messages, as after a question that was moved.
        """
        with self.branch.tree.lock:
            self.check_idle()
            self._cut(self.mark - instead)
            for one in said:
                self._ids.extend(one.ids)
                entry = Entry(one.message, one.documents, len(self._ids), one.ahead)
                self._entries.append(entry)

    def become(self, fork: Conversation) -> None:
        """Take over what a fork of this conversation has; nothing is copied. Changes: in place."""
        with self.branch.tree.lock:
            self.check_idle()
            self._ids, self._entries = list(fork._ids), list(fork._entries)
            self.branch.adopt(fork.branch, fork.branch.length)

    def draft(self, ids: Sequence[int], expected: int = 0, later: int = 0) -> Draft:
        """A private continuation of `ids`, which were this conversation's when it was asked.

        It holds the keys and values it reads; see `Draft`.
        """
        with self.branch.tree.lock:
            same = list(ids) == self._ids[: len(ids)]
            branch = self.branch.fork(held=True) if same else self.branch.tree.branch()
            branch.truncate(min(branch.length, len(ids)))
            return Draft(ids, branch, expected=expected, later=later)

    def adopt(self, draft: Draft) -> None:
        """Keep what a draft has computed of this conversation's own tokens. Changes: the branch."""
        with self.branch.tree.lock:
            length = min(draft.branch.length, len(self._ids))
            if length > self.branch.length and draft.ids[:length] == self._ids[:length]:
                self.branch.adopt(draft.branch, length)

    def open_reply(self) -> None:
        """Begin a reply; until it is closed or dropped the conversation takes nothing else.

        Raises: ConversationError: one is being generated already, or there is nothing to answer.
        """
        with self.branch.tree.lock:
            if not self._entries:
                raise ConversationError("there is nothing to reply to; add a message first")
            self.check_idle()
            self._replying = True

    def drop_reply(self) -> None:
        """Give the open reply up: the conversation is as it was before."""
        self._replying = False

    def close_reply(self, content: str, draft: Draft) -> None:
        """Take the draft's tokens over as an assistant message."""
        with self.branch.tree.lock:
            self._replying = False
            self._ids = [*draft.ids, *self.chat.reply_tail(self.roles)]
            self.branch.adopt(draft.branch, draft.branch.length)
            message = Message(role="assistant", content=content)
            self._entries.append(Entry(message, (), len(self._ids)))

    def _cut(self, place: int) -> None:
        """Keep the first `place` messages and blocks."""
        del self._entries[place:]
        length = self._entries[-1].end if self._entries else 0
        del self._ids[length:]
        self.branch.truncate(min(self.branch.length, length))
