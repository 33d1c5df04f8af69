"""Verdicts of an adapter in the bank, many rows to a forward: for measuring, not for serving.

The engine judges a conversation at a time and would compute a LoRA's prompt twice, once with the
base model alone. Here whole prompts are packed beside each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from intrinsics.kv import Branch
from intrinsics.metrics import Floats
from intrinsics.model import Model, Row
from intrinsics.readout import Candidates, Ids

FORWARD_TOKENS = 2048


@dataclass(frozen=True)
class Prompt:
    """What a verdict is read after: new tokens on a branch, adapted from `active_from` on."""

    tokens: Ids
    branch: Branch
    active_from: int = 0


def read(
    model: Model, adapter: str, prompts: Sequence[Prompt], candidates: Candidates
) -> Iterator[Floats]:
    """The raw distribution after each prompt, in order. Shapes: (labels,)."""
    for batch in _batches(prompts):
        rows: list[Row] = []
        for prompt in batch:
            rows += _rows(prompt, adapter, candidates, len(rows))
        with torch.inference_mode():
            logits = model.forward(rows)
        each = 1 + len(candidates.extra)
        for i in range(len(batch)):
            yield _distribution(candidates, logits[i * each : (i + 1) * each])


def _rows(prompt: Prompt, adapter: str, candidates: Candidates, at: int) -> list[Row]:
    last = len(prompt.tokens) - 1
    own = Row(
        prompt.tokens, prompt.branch, None, adapter, active_from=prompt.active_from, read=(last,)
    )
    further = [
        Row(run, prompt.branch, at, adapter, read=tuple(range(len(run))))
        for run in candidates.extra
    ]
    return [own, *further]


def _distribution(candidates: Candidates, logits: Sequence[Tensor]) -> Floats:
    told: dict[Ids, Tensor] = {(): logits[0][0]}
    for run, part in zip(candidates.extra, logits[1:], strict=True):
        told |= {run[: i + 1]: part[i] for i in range(len(run))}
    return np.array(list(candidates.distribution(told).values()))


def _batches(prompts: Sequence[Prompt]) -> Iterator[list[Prompt]]:
    batch: list[Prompt] = []
    tokens = 0
    for prompt in prompts:
        if batch and tokens + len(prompt.tokens) > FORWARD_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(prompt)
        tokens += len(prompt.tokens)
    if batch:
        yield batch
