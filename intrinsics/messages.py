"""Messages and documents: what a conversation is made of. Plain data, no tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import BaseModel

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = get_args(Role)


def not_text(content: str) -> str | None:
    """What keeps a string from being text, half of a surrogate pair; None where nothing does."""
    try:
        content.encode()
    except UnicodeEncodeError as error:
        return f"not text at character {error.start}: {error.reason}"
    return None


class Message(BaseModel, frozen=True, extra="forbid"):
    """One message of a conversation."""

    role: Role
    content: str


class Document(BaseModel, frozen=True, extra="forbid"):
    """One text that the conversation is about."""

    id: str
    text: str


@dataclass(frozen=True)
class Said:
    """A message, or the message that holds `documents`, with the exact ids behind it.

    `ahead`: the documents were laid before a question that stood there already.
    """

    message: Message
    documents: tuple[Document, ...] = ()
    ids: tuple[int, ...] = ()
    ahead: bool = False
