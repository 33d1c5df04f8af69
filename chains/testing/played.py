"""What a script gives, in the shapes of what the engine gives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass, field
from typing import Any

from intrinsics.errors import IntrinsicsError, RequestError
from intrinsics.ledger import Ledger

from ..talk import PlainTalk


@dataclass(frozen=True)
class PlayedModel:
    """What a recorded run on a script began on, so that it goes on on a script."""

    fingerprint: str = "script"
    forwards: int = 0


@dataclass(frozen=True)
class PlayedVerdict:
    """A verdict that cost nothing."""

    intrinsic: str
    value: str | bool | int | float
    distribution: dict[str, float]
    ledger: Ledger = field(default_factory=Ledger)
    token_ids: tuple[int, ...] = ()
    asked: bool = True

    def p(self, label: str) -> float:
        """The probability of a label."""
        return self.distribution[label]


@dataclass(frozen=True)
class PlayedFanOut:
    """The verdicts of several intrinsics."""

    verdicts: tuple[PlayedVerdict, ...]
    ledger: Ledger = field(default_factory=Ledger)

    def __getitem__(self, intrinsic: str) -> PlayedVerdict:
        """The verdict of one of them."""
        return next(one for one in self.verdicts if one.intrinsic == intrinsic)


@dataclass(frozen=True)
class PlayedJob:
    """A fan-out that is done, or could not be."""

    found: PlayedFanOut | IntrinsicsError

    def result(self) -> PlayedFanOut:
        """What was found. Raises: IntrinsicsError: it could not be asked."""
        if isinstance(self.found, IntrinsicsError):
            raise self.found
        return self.found

    def cancel(self) -> None:
        """Too late."""

    def __await__(self) -> Generator[Any, None, PlayedFanOut]:
        yield from ()
        return self.result()


@dataclass(frozen=True)
class PlayedReply:
    """A reply at its end."""

    text: str
    finish: str = "end"
    ledger: Ledger = field(default_factory=Ledger)
    checks: tuple[()] = ()


class PlayedGeneration(AsyncIterator[str]):
    """A reply word by word; at its end it is the conversation's last message."""

    def __init__(self, talk: PlainTalk, text: str) -> None:
        self._talk, self._text, self._said = talk, text, False
        self._pieces = iter([piece + " " for piece in text.split(" ")[:-1]] + text.split(" ")[-1:])

    async def __anext__(self) -> str:
        for piece in self._pieces:
            return piece
        if not self._said:
            self._said = True
            self._talk.add("assistant", self._text)
        raise StopAsyncIteration

    def close(self) -> None:
        """Give it up."""
        self._pieces = iter(())
        self._said = True

    @property
    def reply(self) -> PlayedReply:
        """The reply. Raises: RequestError: it has not ended."""
        if not self._said:
            raise RequestError("the reply is not finished; iterate to the end first")
        return PlayedReply(self._text)
