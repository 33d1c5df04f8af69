"""The conversation that a run goes through: the engine's, or one of plain text without a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from intrinsics.errors import ConversationError
from intrinsics.laid import moved, standing, waits
from intrinsics.messages import ROLES, Document, Message, Role, Said

if TYPE_CHECKING:
    from intrinsics.conversation import Conversation


class PlainTalk:
    """Messages and documents without tokens: for chains that never call the model."""

    def __init__(self) -> None:
        self._said: list[Said] = []

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages, without the blocks of documents."""
        return tuple(one.message for one in self._said if not one.documents)

    @property
    def documents(self) -> tuple[Document, ...]:
        """All documents, in the order they came."""
        return tuple(document for one in self._said for document in one.documents)

    @property
    def mark(self) -> int:
        """A place to come back to."""
        return len(self._said)

    def add(self, role: Role, content: str) -> None:
        """Append a message. Raises: ConversationError: unknown role, empty text."""
        if role not in ROLES:
            raise ConversationError(f"unknown role {role!r}; use one of {', '.join(ROLES)}")
        if not content.strip():
            raise ConversationError(f"a message of the {role} is empty; give it text")
        self._said.append(Said(Message(role=role, content=content)))

    def add_documents(self, documents: Iterable[Document]) -> None:
        """Append documents, before a question that waits for its answer.

        Raises: ConversationError: an empty one, or an id given twice.
        """
        block, seen = tuple(documents), {one.id for one in self.documents}
        for document in block:
            if not document.text.strip() or document.id in seen:
                wrong = "has no text" if document.id not in seen else "is there already"
                raise ConversationError(f"document {document.id!r} {wrong}; leave it out")
            seen.add(document.id)
        if block:
            text = "\n\n".join(one.text for one in block)
            ahead = waits(self._said)
            said = Said(Message(role="system", content=text), block, ahead=ahead)
            self._said.insert(self.mark - ahead, said)

    def fork(self) -> PlainTalk:
        """An independent one with the same past."""
        twin = PlainTalk()
        twin._said = list(self._said)
        return twin

    def rewind(self, mark: int) -> None:
        """Go back to where `mark` was read. Changes: in place."""
        question = moved(self._said, mark)
        del self._said[self.standing(mark) :]
        if question is not None:
            self._said.append(question)

    def standing(self, mark: int) -> int:
        """How many of the messages and blocks before `mark` are where they were."""
        return standing(self._said, mark)

    def since(self, place: int) -> tuple[Said, ...]:
        """All but the first `place` messages and blocks."""
        return tuple(self._said[place:])

    def repeat(self, said: Iterable[Said], instead: int = 0) -> None:
        """Append what was said before, in place of the last `instead` messages."""
        del self._said[self.mark - instead :]
        self._said.extend(said)

    def become(self, fork: PlainTalk) -> None:
        """Take over what a fork has."""
        self._said = list(fork._said)


Talk: TypeAlias = "Conversation | PlainTalk"


class Opener(Protocol):
    """What begins conversations: an engine, or `PlainOpener`."""

    def conversation(
        self, messages: Iterable[Message] = (), documents: Iterable[Document] = ()
    ) -> Talk:
        """A new conversation: a leading system message, then the documents, then the rest."""
        ...


class PlainOpener:
    """Begins conversations without a model."""

    def conversation(
        self, messages: Iterable[Message] = (), documents: Iterable[Document] = ()
    ) -> PlainTalk:
        """A new one. Raises: ConversationError: a message or document it can't take."""
        talk, rest = PlainTalk(), list(messages)
        if rest and rest[0].role == "system":
            talk.add("system", rest.pop(0).content)
        talk.add_documents(documents)
        for message in rest:
            talk.add(message.role, message.content)
        return talk


def become(talk: Talk, fork: Talk) -> None:
    """Let a conversation take over what its fork has. Changes: `talk`, in place."""
    talk.become(fork)  # type: ignore[arg-type]


def add_new(talk: Talk, documents: Iterable[Document]) -> None:
    """Add the documents that a conversation does not have yet. Raises: ConversationError."""
    known = {one.id for one in talk.documents}
    new = {one.id: one for one in numbered(talk, documents) if one.id not in known}
    talk.add_documents(new.values())


def numbered(talk: Talk, documents: Iterable[Document]) -> list[Document]:
    """The documents, of which one gets a number where its id is taken by another text.

    So it is with files of one name in two folders.
    """
    known, found = {one.id: one.text for one in talk.documents}, list[Document]()
    for one in documents:
        name, number = one.id, 1
        while known.setdefault(name, one.text) != one.text:
            number += 1
            name = f"{one.id} ({number})"
        found.append(Document(id=name, text=one.text))
    return found
