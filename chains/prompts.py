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
        """`chat` is None where a script stands in the model's place, and nothing is read."""
        self.chat, self._told = chat, ""

    def told(
        self, stamp: dict[str, Any], ids: Sequence[int], verdict: Verdict | None = None
    ) -> Iterator[PromptRead]:
        """A prompt's event; `verdict` is what an intrinsic read after it."""
        chat = self.chat
        if chat is None:
            return
        activated_at = None if verdict is None else verdict.ledger.activated_at
        before = None if activated_at is None else chat.shown(ids[:activated_at])
        text = chat.shown(ids) if before is None else before + chat.shown(ids[activated_at:])
        pairs = enumerate(zip(self._told, text, strict=False))
        same = min(len(self._told), len(text))
        kept = next((place for place, (old, new) in pairs if old != new), same)
        self._told = text
        yield PromptRead(
            **stamp,
            intrinsic=None if verdict is None else verdict.intrinsic,
            kept_characters=kept,
            text=text[kept:],
            activated_character=None if before is None else len(before),
        )
