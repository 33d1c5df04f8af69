"""The base model's keys and values of many conversations, computed once and kept for training.

No gradient of an Activated LoRA reaches the tokens before its invocation, so they are prefilled
once, whatever the number of epochs and of intrinsics that read them. They are kept in half
precision, in memory or, beyond a limit, in a temporary file mapped into memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from .errors import TrainingError
from .kv import Branch, Segment
from .model import Model, Row
from .readout import Ids

BATCH_TOKENS = 1024  # packed into one forward; more gains nothing on a CPU
MIN_SHARED_TOKENS = 16  # a shorter common run is computed again: each segment costs every reader


@dataclass(frozen=True)
class CacheLimits:
    """How many bytes of prefixes may lie in memory; more go to a file of at most `disk` bytes."""

    memory: int = 6 << 30
    disk: int = 32 << 30

    def __post_init__(self) -> None:
        """Raises: TrainingError: a limit is negative."""
        if min(self.memory, self.disk) < 0:
            raise TrainingError(f"{self}: a limit of the prefix cache is 0 bytes or more")


@dataclass(eq=False)
class _Node:
    """A run of tokens that some prefixes have in common, from position `start` on."""

    parent: _Node | None
    start: int
    ids: Ids
    level: int
    branch: Branch | None = None


class PrefixCache:
    """The branch of each prefix; what prefixes have in common is computed and held once.

    `dtype` float32 is exact; float16 halves the memory.
    """

    def __init__(
        self,
        model: Model,
        prefixes: Iterable[Ids],
        dtype: torch.dtype = torch.float16,
        limits: CacheLimits | None = None,
    ) -> None:
        self._model = model
        self._dtype = dtype
        self._limits = limits or CacheLimits()
        self._nodes: list[_Node] = []
        self._ends: dict[Ids, _Node] = {}
        self._arena: Tensor | None = None
        self._used = 0
        self._divide(sorted(set(prefixes)), 0, None)
        self.tokens = sum(len(node.ids) for node in self._nodes)

    def branch(self, prefix: Ids) -> Branch:
        """Where a prefix ends, once the cache is filled."""
        branch = self._ends[prefix].branch
        assert branch is not None, "the cache is filled before it is read"
        return branch

    @torch.no_grad()
    def fill(self) -> Iterator[int]:
        """Prefill everything; yields how many tokens are done. Changes: the cache.

        Raises: TrainingError: it is larger than its limits, or the disk is full.
        """
        done = 0
        for batch in self._batches():
            rows = []
            for node in batch:
                before = None if node.parent is None else node.parent.branch
                node.branch = self._model.tree.branch() if before is None else before.fork()
                rest = self._model.prefill_early(node.branch, node.ids)
                rows.append(Row(rest, node.branch, store=True))
            self._model.forward(rows)
            for node in batch:
                self._keep(node)
                done += len(node.ids)
            yield done

    def _divide(self, group: Sequence[Ids], start: int, parent: _Node | None) -> None:
        """Make nodes of sorted prefixes that are alike up to `start`."""
        if not group:
            return
        end = _common_length(group[0], group[-1])
        node = parent
        if end > start:
            level = 0 if parent is None else parent.level + 1
            node = _Node(parent, start, group[0][start:end], level)
            self._nodes.append(node)
        if len(group[0]) == end:
            assert node is not None, "a prefix has at least one token"
            self._ends[group[0]] = node
            group = group[1:]
        for _, alike in groupby(group, key=lambda ids: ids[end : end + MIN_SHARED_TOKENS]):
            self._divide(list(alike), end, node)

    def _batches(self) -> Iterator[list[_Node]]:
        """Nodes after their parents, short ones first, packed up to a limit."""
        batch: list[_Node] = []
        tokens = 0
        for node in sorted(self._nodes, key=lambda node: (node.level, len(node.ids))):
            full = tokens + len(node.ids) > BATCH_TOKENS or (
                batch[-1:] and batch[-1].level < node.level
            )
            if batch and full:
                yield batch
                batch, tokens = [], 0
            batch.append(node)
            tokens += len(node.ids)
        if batch:
            yield batch

    def _keep(self, node: _Node) -> None:
        """Move a node's segment into the arena, rounded to its precision."""
        assert node.branch is not None and node.branch.tail is not None
        segment = node.branch.tail
        for tensors in (segment.keys, segment.values):
            for layer, tensor in enumerate(tensors):
                tensors[layer] = self._store(tensor[:, : segment.length], segment)
        segment.capacity = segment.length
        segment.sealed = True

    def _store(self, tensor: Tensor, segment: Segment) -> Tensor:
        if self._arena is None:
            each = sum(t[:, 0].numel() for t in (*segment.keys, *segment.values))
            self._arena = self._room(each * self.tokens)
        place = self._arena[self._used : self._used + tensor.numel()].view(tensor.shape)
        place.copy_(tensor)
        self._used += tensor.numel()
        return place

    def _room(self, elements: int) -> Tensor:
        """Room for everything: memory, or a file without a name that vanishes with it."""
        size = elements * self._dtype.itemsize
        if size <= self._limits.memory:
            return torch.empty(elements, dtype=self._dtype)
        what = f"the prefixes ({self.tokens:,} tokens) take {size / 2**30:.1f} GiB"
        if size > self._limits.disk:
            raise TrainingError(
                f"{what}; the limits are {self._limits.memory / 2**30:.1f} GiB in memory and "
                f"{self._limits.disk / 2**30:.1f} GiB on disk: raise one, or train on fewer rows"
            )
        try:
            with tempfile.NamedTemporaryFile(prefix="prefixes-") as file:
                if hasattr(os, "posix_fallocate"):  # a full disk is met here, not while computing
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                return torch.from_file(file.name, shared=True, size=elements, dtype=self._dtype)
        except (OSError, RuntimeError) as error:
            raise TrainingError(
                f"{what}, more than the {self._limits.memory / 2**30:.1f} GiB that may lie in "
                f"memory, and {Path(tempfile.gettempdir())} can't hold them ({error}); free space "
                f"there, set TMPDIR to another disk, or train on fewer rows"
            ) from error


def _common_length(first: Ids, last: Ids) -> int:
    """How many leading tokens both have, and so all that lie between them in order."""
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return length
