"""An ordinary LoRA trained with PEFT on whole prompts: what an Activated LoRA is measured against.

The prompt is the Activated LoRA's own, token for token: conversation, instruction, invocation;
the label follows, and the loss is on it alone. Order of rows, schedule, optimiser, clipping and
the choice of the epoch are those of `intrinsics.learner`, but gradients go through every token.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

from intrinsics.adapter import Adapter, fresh_directory, replace_directory
from intrinsics.engine import Engine
from intrinsics.errors import TrainingError
from intrinsics.intrinsic import tokenised
from intrinsics.learner import schedule
from intrinsics.metrics import Floats
from intrinsics.prepared import Prepared, prepare
from intrinsics.readout import Ids
from intrinsics.train_settings import Progress, TrainSettings
from intrinsics.train_state import Checkpoint
from readouts import Prompt, read
from scores import best_on_dev
from task import Found, Log, Task

MICRO_TOKENS = 1024  # padded tokens in one forward: about 2.5 GB of activations
_NAME = "(peft lora)"  # no definition can have this name


class LoraTraining:
    """One training of one LoRA, from fresh or checkpointed weights to a directory of PEFT's."""

    def __init__(
        self,
        engine: Engine,
        network: PreTrainedModel,
        task: Task,
        settings: TrainSettings,
        folder: Path,
    ) -> None:
        """`network` is the base model as transformers loads it; PEFT changes it in place."""
        self.engine, self.task, self.settings = engine, task, settings
        _, self.candidates = tokenised(task.definition, engine.chat)
        self.train_set = prepare(engine, task.definition, task.train)
        self.dev_set = prepare(engine, task.definition, task.dev)
        self.adapter = folder / lora_name(engine, task, settings)
        torch.manual_seed(settings.seed)
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.rank,
            lora_alpha=int(settings.alpha),
            target_modules=list(settings.targets),
            lora_dropout=0.0,
        )
        with _peft_warnings():
            self.network: Any = get_peft_model(network, config)
        self.network.train(False)  # no dropout; gradients flow all the same
        self.weights: dict[str, Tensor] = {
            name: weight for name, weight in self.network.named_parameters() if weight.requires_grad
        }
        self.optimizer = torch.optim.AdamW(
            self.weights.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        name = self.adapter.name
        self.checkpoint = Checkpoint(self.adapter.with_name(f"{name}.training"), name)
        self.assessed = self.adapter.with_name(f"{name}.assessed")

    def run(self) -> Iterator[Progress]:
        """Train; a killed training goes on from the last whole epoch. Changes: the disk.

        Raises: TrainingError: the loss is not finite, the disk is full, or the checkpoint is
        another training's; the checkpoint is intact.
        """
        state = self.checkpoint.load(self.weights, self.optimizer)
        name = self.task.definition.name
        for epoch in range(state.epochs_done, self.settings.epochs):
            yield from self._epoch(epoch)
            loss, accuracy = self._assess()
            state = state.after_epoch(loss, self.weights)
            self.checkpoint.save(state, self.weights, self.optimizer)
            best = state.best_loss == loss
            yield Progress("dev", epoch + 1, self.settings.epochs, name, loss, accuracy, best)
        with torch.no_grad():
            for key, weight in self.weights.items():
                weight.copy_(state.best[key])
        self._save(self.adapter)
        shutil.rmtree(self.assessed, ignore_errors=True)
        self.checkpoint.remove()

    def loss(self, batch: Sequence[Prepared]) -> Iterator[Tensor]:
        """Parts of a batch's loss, each of one forward, that add up to the mean over its labels."""
        total = sum(len(example.target) for example in batch)
        for part in _micro_batches(batch):
            yield self._part(part) / total

    def _epoch(self, epoch: int) -> Iterator[Progress]:
        random = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.train_set), generator=random).tolist()
        size = self.settings.batch_size
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        total = len(batches) * self.settings.epochs
        for i, batch in enumerate(batches, start=epoch * len(batches)):
            rate = self.settings.learning_rate * schedule(i, total, self.settings.warmup)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss = self._step([self.train_set[j] for j in batch])
            yield Progress("step", i + 1, total, self.task.definition.name, loss)

    def _step(self, batch: Sequence[Prepared]) -> float:
        self.optimizer.zero_grad()
        told = 0.0
        for part in self.loss(batch):
            torch.autograd.backward(part)
            told += float(part.detach())
        if not math.isfinite(told):
            raise TrainingError(
                f"the loss of the LoRA became {told}; lower its learning rate "
                f"({self.settings.learning_rate}) and start anew; the checkpoint is intact"
            )
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        self.optimizer.step()
        return told

    def _part(self, examples: Sequence[Prepared]) -> Tensor:
        """The summed cross-entropy of the label tokens. Padded on the left, so that labels align.

        Shapes: ids, mask, positions (examples, longest).
        """
        rows = [self._prompt(example) + example.target[:-1] for example in examples]
        longest = max(map(len, rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, longest - len(row) :] = torch.tensor(row)
            mask[i, longest - len(row) :] = 1
        logits = self.network(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            logits_to_keep=max(len(example.target) for example in examples),
            use_cache=False,
        ).logits
        scored = torch.cat([logits[i, -len(e.target) :] for i, e in enumerate(examples)])
        target = torch.tensor([token for example in examples for token in example.target])
        return torch.nn.functional.cross_entropy(scored, target, reduction="sum")

    def _prompt(self, example: Prepared) -> Ids:
        return (*example.prefix, *example.suffix.ids)

    def _assess(self) -> tuple[float, float]:
        """Negative log-likelihood and accuracy over the candidates, on the development data."""
        self._save(self.assessed)
        shares = lora_shares(self.engine, self.task, self.assessed, "dev")
        labels = list(self.candidates.ids.values())
        truth = np.array([labels.index(example.target) for example in self.dev_set])
        right = shares[np.arange(len(truth)), truth]
        loss = -float(np.log(np.maximum(right, 1e-300)).mean())
        return loss, float((shares.argmax(axis=1) == truth).mean())

    def _save(self, directory: Path) -> None:
        fresh = fresh_directory(directory)
        with _peft_warnings():
            self.network.save_pretrained(str(fresh), save_embedding_layers=False)
        replace_directory(fresh, directory)


def lora(
    engine: Engine,
    network: Callable[[], PreTrainedModel],
    task: Task,
    runs: Sequence[TrainSettings],
    folder: Path,
    log: Log,
) -> Found:
    """The best on dev of several LoRAs. `network` loads the base model, anew for each training."""
    trials = []
    for settings in runs:
        adapter = folder / lora_name(engine, task, settings)
        if not adapter.exists():
            _train(LoraTraining(engine, network(), task, settings, folder), log)
        trials.append((settings, adapter, lora_shares(engine, task, adapter, "dev")))
    best, chosen = best_on_dev(task, trials)
    return Found(chosen, {split: lora_shares(engine, task, best, split) for split in task.splits})


def lora_shares(engine: Engine, task: Task, directory: Path, split: str) -> Floats:
    """What a LoRA in PEFT's format says of a split, computed by our engine's model."""
    _, candidates = tokenised(task.definition, engine.chat)
    tree = engine.model.tree
    prompts = [
        Prompt((*one.prefix, *one.suffix.ids), tree.branch())
        for one in prepare(engine, task.definition, task.splits[split])
    ]
    engine.model.bank.add(_NAME, Adapter.load(directory))
    try:
        return np.array(list(read(engine.model, _NAME, prompts, candidates)))
    finally:
        engine.model.bank.remove(_NAME)


def lora_name(engine: Engine, task: Task, settings: TrainSettings) -> str:
    """The name of a LoRA's directory, which tells its data and settings from others."""
    told = json.dumps([asdict(settings), engine.model.fingerprint, task.training_identity])
    digest = hashlib.sha256(told.encode()).hexdigest()[:12]
    return f"rank{settings.rank}-rate{settings.learning_rate:g}-{digest}"


def grid(
    base: TrainSettings, ranks: Sequence[int], learning_rates: Sequence[float]
) -> list[TrainSettings]:
    """Settings for every rank and learning rate; alpha equals the rank, as in `chains train`."""
    return [
        replace(base, rank=rank, alpha=float(rank), learning_rate=rate)
        for rank in ranks
        for rate in learning_rates
    ]


def _train(training: LoraTraining, log: Log) -> None:
    name = f"{training.task.definition.name}, PEFT LoRA of rank {training.settings.rank}"
    for record in training.run():
        text = f"{name}: {record.phase} {record.done} of {record.total}, loss {record.loss:.3f}"
        if record.accuracy is None:
            log.often(text)
        else:
            log(f"{text}, accuracy {record.accuracy:.3f}{' (best)' if record.best else ''}")


def _micro_batches(batch: Sequence[Prepared]) -> Iterator[list[Prepared]]:
    """Examples of like length together, so that little is padded."""

    def length(example: Prepared) -> int:
        return len(example.prefix) + len(example.suffix.ids) + len(example.target)

    part: list[Prepared] = []
    for example in sorted(batch, key=length, reverse=True):
        if part and (len(part) + 1) * length(part[0]) > MICRO_TOKENS:
            yield part
            part = []
        part.append(example)
    if part:
        yield part


def _peft_warnings() -> warnings.catch_warnings[None]:
    """PEFT asks transformers by a name a property had before, and looks for a base directory."""
    return warnings.catch_warnings(action="ignore")
