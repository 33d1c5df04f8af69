"""Prompts as the model reads them, told in a run's events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intrinsics.prompt import ChatFormat


class Prompts:
    """Tells each prompt by what differs from the one before, so that a stream grows linearly."""

    def __init__(self) -> None:
        self._told = ""

    def told(
        self, chat: ChatFormat, ids: Sequence[int], activated_at: int | None = None
    ) -> dict[str, Any]:
        """The values of a `PromptRead`, of a prompt's ids and the first one that is adapted."""
        before = None if activated_at is None else chat.shown(ids[:activated_at])
        text = chat.shown(ids) if before is None else before + chat.shown(ids[activated_at:])
        pairs = enumerate(zip(self._told, text, strict=False))
        same = min(len(self._told), len(text))
        kept = next((place for place, (old, new) in pairs if old != new), same)
        self._told = text
        return {
            "kept_characters": kept,
            "text": text[kept:],
            "activated_character": None if before is None else len(before),
        }
