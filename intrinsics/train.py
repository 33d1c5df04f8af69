"""Training an Activated LoRA on prefixes that are computed once.

Only the suffix of an example (instruction, invocation, label) is in the graph; the prefix is read
as keys and values. That is exact: no gradient of an Activated LoRA reaches the tokens before its
invocation (arXiv 2504.12397).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from .data import Example
from .engine import Engine
from .errors import TrainingError
from .learner import Learner
from .prefix_cache import CacheLimits, PrefixCache
from .spec import Definition
from .train_settings import Progress, TrainSettings


@dataclass(frozen=True)
class Task:
    """An intrinsic to train, and its rows."""

    definition: Definition
    train: Sequence[Example]
    dev: Sequence[Example]


class Trainer:
    """Trains intrinsics one after another on the same prefixes, each of them computed once."""

    def __init__(
        self,
        engine: Engine,
        tasks: Sequence[Task],
        settings: TrainSettings,
        limits: CacheLimits | None = None,
    ) -> None:
        """Tokenise and check everything before any work is done.

        Raises: DataError, AdapterError, TrainingError: as `Learner`; TrainingError: no task, or
        two for one directory.
        """
        directories = [task.definition.directory.resolve() for task in tasks]
        twice = [place for i, place in enumerate(directories) if place in directories[:i]]
        if twice or not tasks:
            raise TrainingError(f"{twice[0]}: given twice" if twice else "no intrinsic to train")
        self._model = engine.model
        self._dtype = getattr(torch, settings.prefix_dtype)
        self._limits = limits
        self.learners = [
            Learner(engine, task.definition, task.train, task.dev, settings) for task in tasks
        ]

    def run(self) -> Iterator[Progress]:
        """Train; yields where it stands. At the end the best weights are the adapters'.

        A checkpoint is written after every epoch; a later run with the same data and settings goes
        on from there and ends at the same weights.
        Raises: TrainingError: a loss is not finite, the prefixes are too many or the disk is full;
        the checkpoints are intact.
        """
        prefixes = [prefix for learner in self.learners for prefix in learner.prefixes]
        cache = PrefixCache(self._model, prefixes, self._dtype, self._limits)
        for done in cache.fill():
            yield Progress("prefixes", done, cache.tokens)
        for learner in self.learners:
            yield from learner.run(cache)
        for learner in self.learners:
            learner.forget()
