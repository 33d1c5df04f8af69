"""What the KV tree keeps beyond its readers, and up to which budget.

Segments of the base model stay after their last reader has gone, so that another conversation
that begins alike finds them: a radix lookup on token ids. When the budget is full, the least
recently used go first; what a request is reading never goes. What went is computed again.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import MemoryBudgetError, RequestError
from .kv import Branch, KVTree, Segment, snapshot

MIN_SHARED_TOKENS = 32  # a shorter match costs more, as one more segment to read, than it saves
_SHARE_OF_MEMORY = 4


@dataclass(frozen=True)
class KVStats:
    """The KV memory of an engine. Bytes include what segments hold ready to grow into.

    `hits` counts lookups that found a shared prefix and `shared_tokens` the tokens found;
    `evictions` counts segments given up, in whole or in part.
    """

    bytes: int
    budget_bytes: int
    segments: int
    hits: int
    shared_tokens: int
    evictions: int


class Retention:
    """Keeps the base model's segments of one tree within `budget` bytes."""

    def __init__(self, tree: KVTree, budget: int | None = None) -> None:
        """`budget` in bytes; None is a quarter of the machine's memory.

        Raises: RequestError: a budget that is no positive number of bytes.
        """
        if budget is not None and budget < 1:
            raise RequestError(f"kv_budget = {budget}; it is a number of bytes, at least 1")
        self.tree = tree
        self.budget = budget or _memory() // _SHARE_OF_MEMORY
        self._recent: dict[Segment, None] = {}  # the least recently used first
        self._hits = self._shared = self._evictions = 0

    def use(self, branch: Branch) -> None:
        """Keep what the branch reads, and note that it was used now."""
        with self.tree.lock:
            for segment, _ in branch.path():
                if segment.owner is None:
                    self._recent.pop(segment, None)
                    self._recent[segment] = None

    def advance(self, branch: Branch, ids: Sequence[int], limit: int) -> int:
        """Move a branch that reads the beginning of `ids` as far as others have computed them.

        Returns by how many tokens; it stays at or before `limit`. Changes: the branch.
        """
        with self.tree.lock:
            tail, at = self._longest(branch, ids)
            at = min(at, limit)
            found = at - branch.length
            if found < MIN_SHARED_TOKENS:
                return 0
            while tail is not None and at <= tail.start:
                tail = tail.parent
            branch.adopt(Branch(self.tree, tail, at), at)
            self._hits += 1
            self._shared += found
            return found

    def _longest(self, branch: Branch, ids: Sequence[int]) -> tuple[Segment | None, int]:
        tail, at = branch.tail, branch.length
        while True:
            best, matched = tail, 0
            for segment in self._onward(tail, at):
                same = _common(segment.ids, at - segment.start, ids, at)
                if same > matched:
                    best, matched = segment, same
            if not matched:
                return tail, at
            tail, at = best, at + matched

    def _onward(self, tail: Segment | None, at: int) -> list[Segment]:
        """The segments that hold a token at position `at` after the path that ends in `tail`."""
        children = snapshot(self.tree.roots if tail is None else tail.children)
        onward = [s for s in children if s.start == at and s.owner is None]
        if tail is not None and tail.owner is None and tail.end > at:
            onward.append(tail)
        return onward

    def make_room(self, bytes_needed: int) -> None:
        """Evict until `bytes_needed` more fit. Changes: the tree, and branches that are not held.

        Raises: MemoryBudgetError: they do not fit beside what is being read.
        """
        with self.tree.lock:
            held = self.tree.allocated_bytes
            while held + bytes_needed > self.budget:
                freed = next((f for f in map(self._reclaim, list(self._recent)) if f), 0)
                if not freed:
                    raise MemoryBudgetError(
                        f"{bytes_needed / 2**20:.1f} MiB of keys and values do not fit beside the "
                        f"{held / 2**20:.1f} MiB that requests are reading (budget "
                        f"{self.budget / 2**20:.1f} MiB); wait for them, ask for fewer tokens or "
                        f"give the engine a larger kv_budget"
                    )
                held = self.tree.allocated_bytes

    def release(self) -> None:
        """Give up everything no request is reading. Changes: as `make_room`."""
        with self.tree.lock:
            while any(self._reclaim(segment) for segment in list(self._recent)):
                pass
        _give_back()

    def _reclaim(self, segment: Segment) -> int:
        """Give up what of a segment nobody holds; return the bytes that became free."""
        before, end = segment.allocated_bytes, segment.needed_end(held_only=True)
        if end == segment.start:
            for branch in snapshot(segment.branches):
                branch.truncate(segment.start)
            self._recent.pop(segment, None)
            self._evictions += 1
            family = self.tree.roots if segment.parent is None else segment.parent.children
            family.discard(segment)
            self.tree.segments.discard(segment)
            return max(before, 1)
        if end < segment.end:
            for branch in snapshot(segment.branches):
                branch.truncate(min(branch.length, end))
            segment.trim(end)
            self._evictions += 1
        return before - segment.allocated_bytes

    def stats(self) -> KVStats:
        """How full it is, and what it found and gave up since the start."""
        with self.tree.lock:
            return KVStats(
                bytes=self.tree.allocated_bytes,
                budget_bytes=self.budget,
                segments=len(self.tree.segments),
                hits=self._hits,
                shared_tokens=self._shared,
                evictions=self._evictions,
            )


def _give_back() -> None:
    """Let the C library return what is free to the system; glibc keeps gigabytes otherwise."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _common(kept: Sequence[int], first: int, ids: Sequence[int], at: int) -> int:
    """How many ids are the same from `kept[first]` and `ids[at]` on."""
    count, most = 0, min(len(kept) - first, len(ids) - at)
    while count < most and kept[first + count] == ids[at + count]:
        count += 1
    return count


def _memory() -> int:
    """The machine's memory in bytes; 8 GiB where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30
