"""Reading a typed value from an intrinsic: every possible answer is scored, none is sampled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .calibration import Calibration

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Candidates:
    """The labels of a finite output and their token ids, as a trie over whole alternatives.

    `inner` lists the runs of ids after which a further token must be scored; the empty run (the
    end of the invocation) is always the first. `extra` are the maximal ones, to be computed.
    """

    ids: Mapping[str, Ids]
    inner: tuple[Ids, ...]
    extra: tuple[Ids, ...]

    @staticmethod
    def of(labels: Mapping[str, Sequence[int]], end: int) -> Candidates:
        """Build the trie; where one label is the beginning of another, all get the `end` token."""
        ids = {label: tuple(tokens) for label, tokens in labels.items()}
        runs = set(ids.values())
        if any(run[:size] in runs for run in runs for size in range(len(run))):
            ids = {label: (*tokens, end) for label, tokens in ids.items()}
        inner = {run[:size] for run in ids.values() for size in range(len(run))}
        ordered = sorted(inner, key=lambda run: (len(run), run))
        longest = [
            run for run in ordered if run and not any(o[: len(run)] == run != o for o in inner)
        ]
        return Candidates(ids, tuple(ordered), tuple(longest))

    def distribution(self, logits: Mapping[Ids, Tensor]) -> dict[str, float]:
        """The probability of each label among all labels.

        Shapes: logits[run] (vocabulary,), what follows each run of `inner`.
        Each label weighs the product of its tokens' probabilities over the full vocabulary.
        """
        logs = {run: torch.log_softmax(logits[run].double(), dim=-1) for run in self.inner}
        scores = [
            sum(float(logs[run[:i]][run[i]]) for i in range(len(run))) for run in self.ids.values()
        ]
        return dict(zip(self.ids, _normalised(scores), strict=True))


def calibrated(raw: Mapping[str, float], calibration: Calibration) -> dict[str, float]:
    """The honest distribution for a raw one; equal to it without a calibration."""
    if calibration == Calibration():
        return dict(raw)
    scores = [
        math.log(max(p, 1e-300)) / calibration.temperature + calibration.bias.get(label, 0.0)
        for label, p in raw.items()
    ]
    return dict(zip(raw, _normalised(scores), strict=True))


def _normalised(scores: Sequence[float]) -> list[float]:
    weights: list[float] = torch.softmax(torch.tensor(scores, dtype=torch.float64), dim=0).tolist()
    return weights
