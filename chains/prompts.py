"""Prompts as the model reads them, told in a run's events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .events import PromptRead

if TYPE_CHECKING:
    from intrinsics.fanout import Verdict
    from intrinsics.prompt import ChatFormat


class Prompts:
    """Tells each prompt by what differs from the one before, so that a stream grows linearly."""

    def __init__(self, chat: ChatFormat | None) -> None:
        """`chat` is None where nothing is told: nobody hears, or a script stands in."""
        self.chat, self._told = chat, ""
        self._before: tuple[tuple[int, ...], str] = (), ""  # verdicts of a fan-out share it

    def told(
        self, stamp: dict[str, Any], ids: Sequence[int], verdict: Verdict | None = None
    ) -> Iterator[PromptRead]:
        """A prompt's event; `verdict` is what an intrinsic read after it."""
        chat = self.chat
        if chat is None:
            return
        activated_at = None if verdict is None else verdict.ledger.activated_at
        before = None if activated_at is None else self._shown(chat, tuple(ids[:activated_at]))
        text = chat.shown(ids) if before is None else before + chat.shown(ids[activated_at:])
        kept = _alike(self._told, text)
        self._told = text
        yield PromptRead(
            **stamp,
            intrinsic=None if verdict is None else verdict.intrinsic,
            kept_characters=kept,
            text=text[kept:],
            activated_character=None if before is None else len(before),
        )

    def _shown(self, chat: ChatFormat, ids: tuple[int, ...]) -> str:
        """The text of what stands before an invocation, decoded once for a whole fan-out."""
        if ids != self._before[0]:
            self._before = ids, chat.shown(ids)
        return self._before[1]


def _alike(one: str, other: str) -> int:
    """With how many characters both begin, by halving: prompts are long, and mostly alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
