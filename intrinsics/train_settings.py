"""How an adapter is trained, and what a training tells on its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import TrainingError


@dataclass(frozen=True)
class TrainSettings:
    """How an adapter is trained. `targets` are the last parts of the linear layers' names."""

    rank: int = 32
    alpha: float = 32.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    learning_rate: float = 1e-3
    epochs: int = 3
    batch_size: int = 16
    warmup: float = 0.1
    weight_decay: float = 0.01
    seed: int = 0
    prefix_dtype: Literal["float16", "float32"] = "float16"

    def __post_init__(self) -> None:
        """Raises: TrainingError: a value outside its range."""
        if not self.targets:
            raise TrainingError("targets is empty; name the linear layers to adapt, as q_proj")
        for name in ("rank", "alpha", "learning_rate", "epochs", "batch_size"):
            if getattr(self, name) <= 0:
                raise TrainingError(f"{name} = {getattr(self, name)}; it must be above 0")
        if not 0 <= self.warmup < 1:
            raise TrainingError(f"warmup = {self.warmup}; it is a share from 0 to 1")


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    `phase`: "prefixes" (done and total in tokens), "step" (in optimiser steps; `loss` of that
    batch) or "dev" (in epochs; `loss` and `accuracy` on the development data, `best` so far).
    `intrinsic` is whose step or epoch it was.
    """

    phase: Literal["prefixes", "step", "dev"]
    done: int
    total: int
    intrinsic: str = ""
    loss: float | None = None
    accuracy: float | None = None
    best: bool = False
