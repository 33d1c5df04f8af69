"""The KV tree: keys and values of token runs, shared by every branch that passes through them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import RLock
from typing import TypeVar
from weakref import WeakSet

import torch
from torch import Tensor

T = TypeVar("T")

_GRANULE_TOKENS = 16
_GROWTH = 1.25  # a grown segment is copied once; a quarter of slack keeps that rare and small


class Segment:
    """One node of the tree: the keys and values of a run of tokens, and who wrote them.

    `start` is the absolute position of its first token; `owner` is None for the base model or
    an adapter's name; `ids` are the tokens themselves, as far as they are committed. A child
    starts at any position inside its parent, so a fork copies nothing. A `sealed` one takes no
    more tokens.
    Shapes: keys[layer], values[layer] (kv_heads, capacity, head_dim), allocated at first write.
    """

    def __init__(self, tree: KVTree, parent: Segment | None, start: int, owner: str | None) -> None:
        self.parent = parent
        self.start = start
        self.owner = owner
        self.length = 0
        self.capacity = 0
        self.ids: list[int] = []
        self.token_bytes = 0
        self.sealed = False
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.branches: WeakSet[Branch] = WeakSet()
        self.children: WeakSet[Segment] = WeakSet()
        (tree.roots if parent is None else parent.children).add(self)
        tree.segments.add(self)

    @property
    def end(self) -> int:
        """The position after its last token."""
        return self.start + self.length

    @property
    def allocated_bytes(self) -> int:
        """Memory held by this segment's keys and values."""
        return self.capacity * self.token_bytes

    def needed_end(self, held_only: bool = False) -> int:
        """The position up to which some branch (or only a held one) or child still reads it."""
        branches, children = snapshot(self.branches), snapshot(self.children)
        ends = [b.length + b.reserved for b in branches if b.held or not held_only]
        return max([self.start, *ends, *(child.start for child in children)])

    def grow(self, tokens: int, ahead: int | None = None) -> None:
        """Make room for `tokens` more. Changes: the segment, in place; what it holds stays.

        `ahead` more are expected soon, and none beyond them; None: how many is unknown.
        """
        needed = self.length + tokens
        if needed > self.capacity:
            slack = int(self.capacity * _GROWTH) if ahead is None and self.length else 0
            self._resize(_granules(max(needed + (ahead or 0), slack)))
        self.length = needed

    def trim(self, end: int) -> None:
        """Give up what lies from position `end` on, and the room behind. Changes: in place."""
        self.length = min(self.length, end - self.start)
        del self.ids[self.length :]
        self._resize(_granules(self.length))

    def _resize(self, capacity: int) -> None:
        if capacity != self.capacity:  # all is moved or, where memory ends, nothing
            keys = [_moved(k, capacity) for k in self.keys]
            values = [_moved(v, capacity) for v in self.values]
            self.keys, self.values, self.capacity = keys, values, capacity

    def write(self, layer: int, offset: int, keys: Tensor, values: Tensor) -> None:
        """Store one layer's keys and values at `offset`. Layers must come in ascending order.

        Shapes: keys, values (kv_heads, tokens, head_dim).
        """
        if layer == len(self.keys):
            self.keys.append(keys.new_empty(keys.shape[0], self.capacity, keys.shape[2]))
            self.values.append(values.new_empty(values.shape[0], self.capacity, values.shape[2]))
            self.token_bytes += sum(x[:, 0].numel() * x.element_size() for x in (keys, values))
        self.keys[layer][:, offset : offset + keys.shape[1]] = keys
        self.values[layer][:, offset : offset + values.shape[1]] = values


@dataclass(frozen=True)
class Slot:
    """Room for `tokens` new tokens of one branch inside a segment, from `offset` on."""

    branch: Branch
    segment: Segment
    offset: int
    tokens: int

    def commit(self, ids: Sequence[int]) -> None:
        """Make the written tokens part of the branch; `ids` are those tokens."""
        assert len(ids) == self.tokens
        self.segment.ids[self.offset :] = ids
        self.branch._move(self.segment, self.branch.length + self.tokens)

    def abandon(self) -> None:
        """Forget the room: the branch is as it was, and the next append gets the space."""
        with self.branch.tree.lock:
            self.branch.reserved = 0
            self.segment.length = self.offset
            if self.segment is not self.branch.tail:
                self.segment.branches.discard(self.branch)


class Branch:
    """A path through the tree and a length: what one reader sees.

    Forking and truncating copy nothing. What a `held` branch reads stays; one that is not held
    may be cut short when memory is needed, and what it lost is computed again.
    """

    def __init__(
        self, tree: KVTree, tail: Segment | None = None, length: int = 0, held: bool = True
    ) -> None:
        self.tree = tree
        self.tail: Segment | None = None
        self.length = 0
        self.reserved = 0
        self.held = held
        self._move(tail, length)

    def _move(self, tail: Segment | None, length: int) -> None:
        """Stand at `length`, on the segment that holds its last token."""
        while tail is not None and length <= tail.start:
            tail = tail.parent
        with self.tree.lock:
            if self.tail is not None:
                self.tail.branches.discard(self)
            self.tail, self.length, self.reserved = tail, length, 0
            if tail is not None:
                tail.branches.add(self)

    def path(self) -> list[tuple[Segment, int]]:
        """The segments from the root on, each with how many of its tokens this branch reads."""
        steps: list[tuple[Segment, int]] = []
        segment, end = self.tail, self.length
        while segment is not None:
            steps.append((segment, end - segment.start))
            end = segment.start
            segment = segment.parent
        return steps[::-1]

    def fork(self, held: bool | None = None) -> Branch:
        """Another branch at the same place. Allocates no KV memory."""
        with self.tree.lock:
            return Branch(self.tree, self.tail, self.length, self.held if held is None else held)

    def adopt(self, other: Branch, length: int) -> None:
        """Stand where the first `length` tokens of `other` end. Changes: this branch."""
        with self.tree.lock:
            self._move(other.tail, length)

    def truncate(self, length: int) -> None:
        """Go back to `length` tokens. Changes: this branch only, in place.

        Raises: ValueError: `length` is negative or beyond the branch.
        """
        with self.tree.lock:
            if not 0 <= length <= self.length:
                raise ValueError(f"cannot truncate a branch of {self.length} tokens to {length}")
            self._move(self.tail, length)

    def reserve(self, tokens: int, owner: str | None = None, ahead: int | None = None) -> Slot:
        """Room for `tokens` more, in the tail where nobody else reads on, else in a new segment.

        Nothing is visible before `Slot.commit`. `ahead` as for `Segment.grow`.
        """
        with self.tree.lock:
            assert self.reserved == 0, "a branch appends once at a time"
            segment = self.tail
            if segment is not None and self.writes(segment, owner):
                segment.length = self.length - segment.start
                del segment.ids[segment.length :]
            else:
                segment = Segment(self.tree, segment, self.length, owner)
                segment.branches.add(self)
            offset = segment.length
            try:
                segment.grow(tokens, ahead)
            except BaseException:
                if segment is not self.tail:
                    segment.branches.discard(self)
                raise
            self.reserved = tokens
            return Slot(self, segment, offset, tokens)

    def writes(self, segment: Segment, owner: str | None = None) -> bool:
        """Whether it may go on inside that segment, because nobody reads beyond its end."""
        if segment.sealed or segment.owner != owner:
            return False
        return segment.needed_end() <= self.length


class KVTree:
    """All segments of one model that something still refers to, and what they weigh.

    `lock` guards who stands where: one thread may fork or roll back while another appends.
    """

    def __init__(self) -> None:
        self.segments: WeakSet[Segment] = WeakSet()
        self.roots: WeakSet[Segment] = WeakSet()
        self.lock = RLock()

    def branch(self, held: bool = True) -> Branch:
        """An empty branch at the root."""
        return Branch(self, held=held)

    @property
    def allocated_bytes(self) -> int:
        """Memory held by the keys and values of every live segment."""
        with self.lock:
            return sum(segment.allocated_bytes for segment in snapshot(self.segments))

    def check_integrity(self) -> None:
        """Assert what must hold at any time between two forwards."""
        for segment in self.segments:
            assert 0 <= segment.length <= segment.capacity
            assert len(segment.ids) == segment.length
            assert segment.needed_end() <= segment.end
            assert segment.parent is None or segment in segment.parent.children
            assert segment.parent is None or segment.start <= segment.parent.end
            assert all(k.shape[1] == segment.capacity for k in (*segment.keys, *segment.values))
            for branch in segment.branches:
                assert branch.tail is segment and branch.reserved == 0
                assert segment.start < branch.length <= segment.end
                assert sum(used for _, used in branch.path()) == branch.length


def _moved(old: Tensor, capacity: int) -> Tensor:
    new = old.new_empty(old.shape[0], capacity, old.shape[2])
    kept = min(capacity, old.shape[1])
    new[:, :kept] = old[:, :kept]
    return new


def snapshot(members: WeakSet[T]) -> list[T]:
    """The live members. Another thread may drop its last reference to one meanwhile."""
    while True:
        with suppress(RuntimeError):
            return list(members)


def _granules(tokens: int) -> int:
    return -(-tokens // _GRANULE_TOKENS) * _GRANULE_TOKENS


def gather(branch: Branch, layer: int) -> tuple[Tensor, Tensor]:
    """One layer's keys and values of a whole branch, copied together: for tests and exports.

    Shapes: (kv_heads, branch.length, head_dim).
    """
    steps = list(_used(branch, layer))
    return torch.cat([k for k, _ in steps], dim=1), torch.cat([v for _, v in steps], dim=1)


def _used(branch: Branch, layer: int) -> Iterator[tuple[Tensor, Tensor]]:
    for segment, used in branch.path():
        yield segment.keys[layer][:, :used], segment.values[layer][:, :used]
