"""A private continuation of a conversation: what a request computes before anybody else sees it."""

from __future__ import annotations

from collections.abc import Iterable

from .kv import Branch
from .ledger import Ledger


class Draft:
    """Token ids and a branch that follows them. The conversation it began from does not change.

    `adapter` acts from the position `active_from` on; without one the tokens are the base model's.
    `expected` more tokens will come after `ids`; `later` ones the same request needs for drafts
    that follow this one.
    """

    def __init__(
        self,
        ids: Iterable[int],
        branch: Branch,
        adapter: str | None = None,
        *,
        active_from: int = 0,
        expected: int = 0,
        later: int = 0,
    ) -> None:
        self.ids = list(ids)
        self.branch = branch
        self.adapter = adapter
        self.active_from = active_from
        self.expected = expected
        self.later = later
        self.reused = branch.length
        self.computed = 0
        self.forwards = 0
        self.seconds = 0.0

    @property
    def pending(self) -> tuple[int, ...]:
        """The ids whose keys and values are not computed yet."""
        return tuple(self.ids[self.branch.length :])

    @property
    def missing(self) -> int:
        """Tokens it still needs memory for, to its end."""
        branch, end = self.branch, len(self.ids) + self.expected
        room, tail = branch.length, branch.tail
        if tail is not None and branch.writes(tail, self.adapter):
            room = tail.start + tail.capacity
        return max(0, end - room) + self.later

    def truncate(self, length: int) -> None:
        """Drop the ids from `length` on, and their keys and values. Changes: in place."""
        del self.ids[length:]
        self.branch.truncate(min(self.branch.length, length))

    def ledger(self) -> Ledger:
        """What it has cost so far."""
        return Ledger(self.reused, self.computed, self.forwards, self.seconds)

    def settle(self) -> None:
        """Drop keys and values beyond the ids: guesses that did not come true."""
        if self.branch.length > len(self.ids):
            self.branch.truncate(len(self.ids))

    def release(self) -> None:
        """Read nothing any more, so that the memory can be given up."""
        self.branch.truncate(0)
