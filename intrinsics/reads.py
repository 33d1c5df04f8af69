"""What a conversation must have to be judged, and what is known of one without documents."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import ConversationError
from .messages import Document, Message
from .spec import Definition


def check_reads(
    definition: Definition, messages: Sequence[Message], documents: Sequence[Document]
) -> None:
    """Raises: ConversationError: the conversation lacks what the intrinsic judges."""
    check_last(definition, messages)
    if definition.reads.documents == "required" and not documents:
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


def settled_distribution(
    definition: Definition, messages: Sequence[Message], documents: Sequence[Document]
) -> dict[str, float] | None:
    """What `reads.without_documents` says, where it says so and there are none.

    Raises: ConversationError: the conversation does not end with what the intrinsic judges.
    """
    label = definition.reads.without_documents
    if label is None or documents:
        return None
    check_last(definition, messages)
    return {one: float(one == label) for one in definition.output.labels}
