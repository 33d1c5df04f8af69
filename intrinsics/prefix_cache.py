"""The base model's keys and values of many conversations, computed once and kept for training.

No gradient of an Activated LoRA reaches the tokens before its invocation, so they are prefilled
once, whatever the number of epochs. They are kept in half precision, in memory or, beyond a
limit, in a temporary file mapped into memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .errors import TrainingError
from .kv import Branch, Segment
from .model import Model, Row

MEMORY_LIMIT_BYTES = 6 << 30
BATCH_TOKENS = 1024  # packed into one forward; more gains nothing on a CPU


class PrefixCache:
    """One branch for each prefix; what the prefixes have in common is computed and held once.

    `dtype` float32 is exact; float16 halves the memory.
    """

    def __init__(
        self,
        model: Model,
        prefixes: Sequence[tuple[int, ...]],
        dtype: torch.dtype = torch.float16,
    ) -> None:
        self._model = model
        self._prefixes = prefixes
        self._dtype = dtype
        self._arena: Tensor | None = None
        self._used = 0
        self._shared = _common_length(prefixes)
        trunk = model.tree.branch()
        with torch.no_grad():
            model.prefill(trunk, prefixes[0][: self._shared])
        self.branches: list[Branch] = [trunk.fork() for _ in prefixes]
        self.tokens = sum(len(prefix) - self._shared for prefix in prefixes)

    @torch.no_grad()
    def fill(self) -> Iterator[int]:
        """Prefill every branch; yields how many tokens are done. Changes: the branches.

        Raises: TrainingError: neither memory nor disk can hold them.
        """
        done = 0
        for batch in self._batches():
            for i in batch:
                self._model.prefill_early(self.branches[i], self._rest(i))
            rows = [Row(self._rest(i), self.branches[i], store=True) for i in batch]
            self._model.forward(rows)
            for i in batch:
                self._keep(self.branches[i])
                done += len(self._prefixes[i]) - self._shared
            yield done

    def _rest(self, i: int) -> tuple[int, ...]:
        return self._prefixes[i][self.branches[i].length :]

    def _batches(self) -> Iterator[list[int]]:
        """Examples with something to prefill, short ones first, packed up to a limit."""
        batch: list[int] = []
        tokens = 0
        for i in sorted(range(len(self._prefixes)), key=lambda i: len(self._prefixes[i])):
            length = len(self._rest(i))
            if batch and tokens + length > BATCH_TOKENS:
                yield batch
                batch, tokens = [], 0
            if length:
                batch.append(i)
                tokens += length
        if batch:
            yield batch

    def _keep(self, branch: Branch) -> None:
        """Move a branch's last segment into the arena, rounded to its precision."""
        segment = branch.tail
        assert segment is not None
        if segment.start < self._shared:  # the one that grew on the shared trunk stays there
            return
        for tensors in (segment.keys, segment.values):
            for layer, tensor in enumerate(tensors):
                tensors[layer] = self._store(tensor[:, : segment.length], segment)
        segment.capacity = segment.length

    def _store(self, tensor: Tensor, segment: Segment) -> Tensor:
        if self._arena is None:
            each = sum(t[:, 0].numel() for t in (*segment.keys, *segment.values))
            self._arena = _arena(each * self.tokens, self._dtype)
        place = self._arena[self._used : self._used + tensor.numel()].view(tensor.shape)
        place.copy_(tensor)
        self._used += tensor.numel()
        return place


def _arena(elements: int, dtype: torch.dtype) -> Tensor:
    """Room for all keys and values: memory, or a file without a name that vanishes with it."""
    if elements * dtype.itemsize <= MEMORY_LIMIT_BYTES:
        return torch.empty(elements, dtype=dtype)
    try:
        with tempfile.NamedTemporaryFile(prefix="prefixes-") as file:
            file.truncate(elements * dtype.itemsize)
            return torch.from_file(file.name, shared=True, size=elements, dtype=dtype)
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"the prefixes take {elements * dtype.itemsize / 2**30:.1f} GiB, which neither memory "
            f"nor {Path(tempfile.gettempdir())} can hold ({error}); train on fewer examples"
        ) from error


def _common_length(prefixes: Sequence[tuple[int, ...]]) -> int:
    """How many leading tokens all prefixes share."""
    first, last = min(prefixes), max(prefixes)
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return length
