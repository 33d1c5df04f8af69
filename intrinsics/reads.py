"""What a conversation must have to be judged, and what is known of one without documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .errors import ConversationError
from .messages import Document, Message
from .spec import Definition


class Judged(Protocol):
    """A conversation, of tokens or of plain text; what it has is put together when it is read."""

    @property
    def messages(self) -> Sequence[Message]:
        """Without the blocks of documents."""
        ...

    @property
    def documents(self) -> Sequence[Document]:
        """All of them."""
        ...


def check_reads(definition: Definition, talk: Judged) -> None:
    """Raises: ConversationError: the conversation lacks what the intrinsic judges."""
    check_last(definition, talk.messages)
    if definition.reads.documents == "required" and not talk.documents:
        raise ConversationError(f"{definition.name} needs documents; add at least one")


def check_last(definition: Definition, messages: Sequence[Message]) -> None:
    """Raises: ConversationError: the conversation does not end with what the intrinsic judges."""
    reads = definition.reads
    if not messages:
        raise ConversationError(
            f"{definition.name} judges the last {reads.last} message, but there is none; give one"
        )
    last = messages[-1].role
    if last != reads.last:
        raise ConversationError(
            f"{definition.name} judges the last {reads.last} message, but the conversation ends "
            f"with {last}; call it after the {reads.last} message"
        )


def settled_distribution(definition: Definition, talk: Judged) -> dict[str, float] | None:
    """What `reads.without_documents` says, where it says so and there are none.

    Raises: ConversationError: the conversation does not end with what the intrinsic judges.
    """
    label = definition.reads.without_documents
    if label is None or talk.documents:
        return None
    check_last(definition, talk.messages)
    return {one: float(one == label) for one in definition.output.labels}
