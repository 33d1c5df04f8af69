"""Documents that come while a question waits are laid before it, where they are expected.

Models and intrinsics are trained to read documents first: behind the question the shipped
answerability is right in 30 of 60 cases, before it in 55. A place that was read in the conversation
earlier (`mark`) stays a place to come back to: without the documents, and with the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from .messages import Document, Message


class Laid(Protocol):
    """A message or a block of documents; `ahead`: a block that was laid before a question."""

    @property
    def message(self) -> Message:
        """It, or what the documents are read as."""
        ...

    @property
    def documents(self) -> tuple[Document, ...]:
        """Those of a block."""
        ...

    @property
    def ahead(self) -> bool:
        """Whether it was laid before a question."""
        ...


Part = TypeVar("Part", bound=Laid)


def waits(parts: Sequence[Laid]) -> bool:
    """Whether a question stands last."""
    return bool(parts) and not parts[-1].documents and parts[-1].message.role == "user"


def standing(parts: Sequence[Laid], mark: int) -> int:
    """How many of the parts that there were at `mark` are where they were."""
    return mark - 1 if mark and parts[mark - 1].ahead else mark


def moved(parts: Sequence[Part], mark: int) -> Part | None:
    """The question that stood last at `mark`, and has been moved behind documents since."""
    if standing(parts, mark) == mark:
        return None
    return next(part for part in parts[mark:] if not part.ahead)
