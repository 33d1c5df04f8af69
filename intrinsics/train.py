"""Training an Activated LoRA on prefixes that are computed once.

Only the suffix of an example (instruction, invocation, label) is in the graph; the prefix is read
as keys and values. That is exact: no gradient of an Activated LoRA reaches the tokens before its
invocation (arXiv 2504.12397).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from .adapter import Adapter, LowRank, fresh_directory
from .data import Example, check_disjoint, check_trainable
from .engine import Engine
from .errors import TrainingError
from .intrinsic import tokenised
from .kv import Branch
from .model import Row
from .prefix_cache import PrefixCache
from .prepared import Prepared, prepare
from .readout import Ids
from .spec import Definition
from .text_target import text_scores
from .train_state import Checkpoint, State

_NAME = "(in training)"  # no definition can have this name


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
    """

    phase: Literal["prefixes", "step", "dev"]
    done: int
    total: int
    loss: float | None = None
    accuracy: float | None = None
    best: bool = False


Batch: TypeAlias = Sequence[tuple[Prepared, Branch]]


class Trainer:
    """One training of one adapter, from fresh or checkpointed weights to a saved directory."""

    def __init__(
        self,
        engine: Engine,
        definition: Definition,
        train: Sequence[Example],
        dev: Sequence[Example],
        settings: TrainSettings,
    ) -> None:
        """Tokenise and check everything before any work is done.

        Raises: DataError: rows that can't be trained on, or are in both splits; AdapterError: the
        directory can't be written.
        """
        check_trainable(train, definition.output.labels, "training data")
        check_disjoint(train, dev)
        self.model = engine.model
        self.definition = definition
        self.settings = settings
        self.invocation, self.candidates = tokenised(definition, engine.chat)
        self.train_set = prepare(engine, definition, train)
        self.dev_set = prepare(engine, definition, dev)
        self.weights = fresh_weights(engine, settings)
        self.optimizer = torch.optim.AdamW(
            self.weights.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.checkpoint = Checkpoint(definition.directory / ".training", self._identity())
        fresh_directory(self.checkpoint.directory).rmdir()  # can it be written at all?

    def run(self) -> Iterator[Progress]:
        """Train; yields where it stands. At the end the best weights are the adapter's.

        A checkpoint is written after every epoch; a later run with the same data and settings goes
        on from there and ends at the same weights.
        Raises: TrainingError: the loss is not finite or the disk is full; the checkpoint is intact.
        """
        state = self.checkpoint.load(self.weights, self.optimizer)
        examples = [*self.train_set, *self.dev_set]
        dtype = getattr(torch, self.settings.prefix_dtype)
        cache = PrefixCache(self.model, [example.prefix for example in examples], dtype)
        for done in cache.fill():
            yield Progress("prefixes", done, cache.tokens)
        rows = list(zip(examples, cache.branches, strict=True))
        train_rows, dev_rows = rows[: len(self.train_set)], rows[len(self.train_set) :]
        self.model.bank.add(_NAME, self._adapter(self.weights))
        try:
            for epoch in range(state.epochs_done, self.settings.epochs):
                yield from self._epoch(train_rows, epoch)
                loss, accuracy = self._assess(dev_rows)
                state = state.after_epoch(loss, self.weights)
                self.checkpoint.save(state, self.weights, self.optimizer)
                best = state.best_loss == loss
                yield Progress("dev", epoch + 1, self.settings.epochs, loss, accuracy, best)
        finally:
            self.model.bank.remove(_NAME)
        self._finish(state)

    def _epoch(self, rows: Batch, epoch: int) -> Iterator[Progress]:
        random = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + epoch)
        order = torch.randperm(len(rows), generator=random).tolist()
        size = self.settings.batch_size
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        total = len(batches) * self.settings.epochs
        for i, batch in enumerate(batches, start=epoch * len(batches)):
            rate = self.settings.learning_rate * schedule(i, total, self.settings.warmup)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            yield Progress("step", i + 1, total, self._step([rows[j] for j in batch]))

    def _step(self, batch: Batch) -> float:
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss became {float(loss.detach())}; lower the learning rate "
                f"({self.settings.learning_rate}) and start anew; the checkpoint is intact"
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        self.optimizer.step()
        return float(loss.detach())

    def loss(self, batch: Batch) -> Tensor:
        """The mean cross-entropy of a batch's label or text tokens, over the full vocabulary."""
        logits = self.model.forward([self._row(*pair, pair[0].target) for pair in batch])
        targets = torch.tensor([token for example, _ in batch for token in example.target])
        return torch.nn.functional.cross_entropy(torch.cat(logits), targets)

    def _row(self, example: Prepared, branch: Branch, label: Ids) -> Row:
        """The suffix of an example, read wherever a token of the label follows."""
        tokens = (*example.instruction, *self.invocation, *label[:-1])
        read = tuple(range(len(tokens) - len(label), len(tokens)))
        return Row(tokens, branch, None, _NAME, active_from=len(example.instruction), read=read)

    @torch.no_grad()
    def _assess(self, rows: Batch) -> tuple[float, float]:
        """Negative log-likelihood and accuracy over the candidates, on the development data.

        Of texts: that of each token, and the share that would be written exactly.
        """
        if not self.candidates.ids:
            suffixes = [self._row(*pair, pair[0].target) for pair in rows]
            return text_scores(self.model, suffixes, [example.target for example, _ in rows])
        losses, right = 0.0, 0
        labels = list(self.candidates.ids.values())
        for pair in rows:
            logits = self.model.forward([self._row(*pair, label) for label in labels])
            scores = torch.stack(
                [_log_likelihood(part, label) for part, label in zip(logits, labels, strict=True)]
            ).log_softmax(0)
            target = labels.index(pair[0].target)
            losses -= float(scores[target])
            right += int(scores.argmax()) == target
        return losses / len(rows), right / len(rows)

    def _adapter(self, weights: dict[str, Tensor]) -> Adapter:
        scaling = self.settings.alpha / self.settings.rank
        names = sorted({name.rpartition(".")[0] for name in weights})
        return Adapter(
            {name: LowRank(weights[f"{name}.a"], weights[f"{name}.b"], scaling) for name in names},
            self.invocation,
            self.definition.base_model,
            self.settings.alpha,
            self.model.fingerprint,
        )

    def _finish(self, state: State) -> None:
        self._adapter(dict(state.best)).save(self.definition.directory / "adapter")
        self.checkpoint.remove()

    def _identity(self) -> str:
        digest = hashlib.sha256(f"{self.settings}{self.invocation}".encode())
        digest.update(f"{self.model.fingerprint}{self.train_set}{self.dev_set}".encode())
        return digest.hexdigest()


def fresh_weights(engine: Engine, settings: TrainSettings) -> dict[str, Tensor]:
    """Trainable weights of every targeted layer, b = 0: the adapter begins as the base model.

    Raises: TrainingError: no layer of the base model has such a name.
    Source: arXiv 2106.09685 §4.1; a is initialised as PEFT does it.
    """
    random = torch.Generator().manual_seed(settings.seed)
    weights: dict[str, Tensor] = {}
    for name, linear in engine.model.network.named_modules():
        if isinstance(linear, torch.nn.Linear) and name.rpartition(".")[2] in settings.targets:
            bound = 1 / math.sqrt(linear.in_features)
            a = torch.empty(settings.rank, linear.in_features).uniform_(
                -bound, bound, generator=random
            )
            weights[f"{name}.a"] = a.requires_grad_()
            weights[f"{name}.b"] = torch.zeros(
                linear.out_features, settings.rank, requires_grad=True
            )
    found = {name.split(".")[-2] for name in weights}
    missing = sorted(set(settings.targets) - found)
    if missing:
        raise TrainingError(f"the base model has no linear layer named {', '.join(missing)}")
    return weights


def schedule(step: int, total: int, warmup: float) -> float:
    """The share of the learning rate at a step: linear up, then a half cosine down."""
    rise = max(1, round(total * warmup))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def _log_likelihood(logits: Tensor, label: Ids) -> Tensor:
    """Shapes: logits (len(label), vocabulary)."""
    logs = logits.double().log_softmax(-1)
    return logs[torch.arange(len(label)), torch.tensor(label)].sum()
