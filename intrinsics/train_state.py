"""What a training needs to go on after a kill: weights, optimiser, best so far. No pickle."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .adapter import fresh_directory, recover_directory, replace_directory
from .errors import TrainingError

_MOMENTS = ("exp_avg", "exp_avg_sq")
_STATE, _TENSORS = "state.json", "tensors.safetensors"


@dataclass(frozen=True)
class State:
    """How far a training has come, and the weights that were best on the development data."""

    epochs_done: int = 0
    best_loss: float = math.inf
    best: Mapping[str, Tensor] = field(default_factory=dict)

    def after_epoch(self, loss: float, weights: Mapping[str, Tensor]) -> State:
        """The state after one more epoch with this loss on the development data."""
        if loss >= self.best_loss:
            return State(self.epochs_done + 1, self.best_loss, self.best)
        best = {name: weight.detach().clone() for name, weight in weights.items()}
        return State(self.epochs_done + 1, loss, best)


class Checkpoint:
    """A directory that holds one State; replaced as a whole, so it is never half written.

    `identity` tells one training (data, settings, base model) from another.
    """

    def __init__(self, directory: Path, identity: str) -> None:
        self.directory = directory
        self.identity = identity

    def load(self, weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> State:
        """The stored state, or a fresh one. Changes: weights and optimizer, in place.

        Raises: TrainingError: it is unreadable, or that of another training.
        """
        recover_directory(self.directory)
        if not self.directory.exists():
            return State()
        try:
            meta = json.loads((self.directory / _STATE).read_text())
            tensors = load_file(self.directory / _TENSORS)
            identity = meta["identity"]
        except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
            raise TrainingError(
                f"{self.directory}: the checkpoint is unreadable ({error}); delete it to start anew"
            ) from error
        if identity != self.identity:
            raise TrainingError(
                f"{self.directory}: holds the checkpoint of another training (data, settings or "
                f"base model differ); finish that one, or delete it to start anew"
            )
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(tensors[f"weight.{name}"])
                optimizer.state[weight] = {
                    "step": torch.tensor(float(meta["steps"])),
                    **{moment: tensors[f"{moment}.{name}"] for moment in _MOMENTS},
                }
        best = {name: tensors[f"best.{name}"] for name in weights}
        return State(meta["epochs_done"], meta["best_loss"], best)

    def save(
        self, state: State, weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
    ) -> None:
        """Replace what is stored. Raises: TrainingError: it failed; the old one is intact."""
        tensors = {f"best.{name}": weight for name, weight in state.best.items()}
        steps = 0.0
        for name, weight in weights.items():
            moments = optimizer.state[weight]
            steps = float(moments["step"])
            tensors[f"weight.{name}"] = weight.detach()
            tensors |= {f"{moment}.{name}": moments[moment] for moment in _MOMENTS}
        meta = {
            "identity": self.identity,
            "epochs_done": state.epochs_done,
            "best_loss": state.best_loss,
            "steps": steps,
        }
        fresh = fresh_directory(self.directory)
        try:
            save_file({k: t.contiguous() for k, t in tensors.items()}, fresh / _TENSORS)
            (fresh / _STATE).write_text(json.dumps(meta))
            replace_directory(fresh, self.directory)
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"{self.directory}: the checkpoint could not be written ({error}); the one before "
                f"is intact: free space and run again"
            ) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def remove(self) -> None:
        """Forget it: the training is finished."""
        shutil.rmtree(self.directory, ignore_errors=True)
