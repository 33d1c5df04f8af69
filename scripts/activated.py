"""The Activated LoRAs of a task: the library's own, and one trained on the same rows as a LoRA.

Both read the same prefixes, which are computed once for training and for every split. They are
kept in half precision: probabilities differ by less than 2e-3 from those that are served.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from ruamel.yaml import YAML

from intrinsics.adapter import Adapter
from intrinsics.data import Example
from intrinsics.engine import Engine
from intrinsics.intrinsic import tokenised
from intrinsics.learner import Learner
from intrinsics.metrics import Floats
from intrinsics.prefix_cache import PrefixCache
from intrinsics.prepared import prepare
from intrinsics.spec import FILE, Definition
from intrinsics.train_settings import TrainSettings
from readouts import Prompt, read
from scores import best_on_dev
from task import Found, Log, Task

_NAME = "(activated)"  # no definition can have this name


class Activated:
    """Computes the prefixes when the first of its judges is asked."""

    def __init__(self, engine: Engine, task: Task, folder: Path, log: Log) -> None:
        self.engine, self.task, self.folder, self.log = engine, task, folder, log

    @cached_property
    def _cache(self) -> PrefixCache:
        rows = [*self.task.train, *(row for rows in self.task.splits.values() for row in rows)]
        prefixes = [one.prefix for one in prepare(self.engine, self.task.definition, rows)]
        cache = PrefixCache(self.engine.model, prefixes, torch.float16)
        for done in cache.fill():
            self.log.often(f"{self._name}: prefixes {done} of {cache.tokens} tokens")
        return cache

    @property
    def _name(self) -> str:
        return self.task.definition.name

    def trained(self, runs: Sequence[TrainSettings]) -> Found:
        """The best on dev of several trainings on the task's rows. Changes: the folder."""
        trials = []
        for settings in runs:
            definition = self._definition(settings)
            adapter = definition.directory / "adapter"
            if not adapter.is_dir():
                self._train(definition, settings)
            trials.append((settings, adapter, self._shares(adapter, "dev")))
        best, chosen = best_on_dev(self.task, trials)
        return Found(chosen, self._splits(best))

    def shipped(self) -> Found:
        """The adapter of the definition's own directory, with the calibration it ships."""
        directory = self.task.definition.directory / "adapter"
        modules = Adapter.load(directory).modules.values()
        return Found({"rank": max(one.rank for one in modules)}, self._splits(directory), True)

    def _splits(self, adapter: Path) -> dict[str, Floats]:
        return {split: self._shares(adapter, split) for split in self.task.splits}

    def _shares(self, adapter: Path, split: str) -> Floats:
        rows = self.task.splits[split]
        return cached_shares(self.engine, self.task.definition, rows, self._cache, adapter)

    def _definition(self, settings: TrainSettings) -> Definition:
        """A copy of the task's definition in a directory of this training's own."""
        own = self.task.definition
        data = self.task.training_identity[:12]
        key = f"rank{settings.rank}-rate{settings.learning_rate:g}-epochs{settings.epochs}"
        directory = self.folder / f"{key}-{len(settings.targets)}-{settings.batch_size}-{data}"
        directory.mkdir(parents=True, exist_ok=True)
        YAML().dump(own.model_dump(mode="json", exclude_defaults=True), directory / FILE)
        if own.instruction:
            (directory / own.instruction).write_bytes(
                (own.directory / own.instruction).read_bytes()
            )
        return Definition.load(directory)

    def _train(self, definition: Definition, settings: TrainSettings) -> None:
        rows, dev = self.task.train, self.task.dev
        learner = Learner(self.engine, definition, rows, dev, settings)
        name = f"{self._name}, aLoRA of rank {settings.rank}"
        for record in learner.run(self._cache):
            text = f"{name}: {record.phase} {record.done} of {record.total}, loss {record.loss:.3f}"
            if record.accuracy is None:
                self.log.often(text)
            else:
                self.log(f"{text}, accuracy {record.accuracy:.3f}{' (best)' * record.best}")
        learner.forget()


def cached_shares(
    engine: Engine,
    definition: Definition,
    rows: Sequence[Example],
    cache: PrefixCache,
    adapter: Path,
) -> Floats:
    """What an adapter says of rows whose prefixes are cached. Shapes: (rows, labels)."""
    _, candidates = tokenised(definition, engine.chat)
    prompts = [
        Prompt(one.suffix.ids, cache.branch(one.prefix), one.suffix.active_from)
        for one in prepare(engine, definition, rows)
    ]
    engine.model.bank.add(_NAME, Adapter.load(adapter))
    try:
        return np.array(list(read(engine.model, _NAME, prompts, candidates)))
    finally:
        engine.model.bank.remove(_NAME)
