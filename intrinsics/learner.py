"""One adapter in training: its data as tokens, its weights, its steps, its checkpoint."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

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
from .train_settings import Progress, TrainSettings
from .train_state import Checkpoint

_NAME = "(in training)"  # no definition can have this name

Batch: TypeAlias = Sequence[tuple[Prepared, Branch]]


class Learner:
    """From fresh or checkpointed weights to a saved adapter."""

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
        directory can't be written; TrainingError: a checkpoint that is another training's.
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
        self._checkpoint = Checkpoint(definition.directory / ".training", self._identity())
        fresh_directory(self._checkpoint.directory).rmdir()  # can it be written at all?
        self._state = self._checkpoint.load(self.weights, self.optimizer)

    @property
    def prefixes(self) -> list[Ids]:
        """What the remaining epochs read; nothing where all were done before."""
        if self._state.epochs_done >= self.settings.epochs:
            return []
        return [example.prefix for example in (*self.train_set, *self.dev_set)]

    def run(self, cache: PrefixCache) -> Iterator[Progress]:
        """The epochs that are left, each with a checkpoint after it; then the adapter is saved.

        Raises: TrainingError: the loss is not finite or the disk is full; the checkpoint is intact.
        """
        epochs, name = self.settings.epochs, self.definition.name
        if self._state.epochs_done < epochs:
            rows, dev_rows = (
                [(example, cache.branch(example.prefix)) for example in examples]
                for examples in (self.train_set, self.dev_set)
            )
            with self._in_bank():
                for epoch in range(self._state.epochs_done, epochs):
                    yield from self._epoch(rows, epoch)
                    loss, accuracy = self._assess(dev_rows)
                    self._state = self._state.after_epoch(loss, self.weights)
                    self._checkpoint.save(self._state, self.weights, self.optimizer)
                    best = self._state.best_loss == loss
                    yield Progress("dev", epoch + 1, epochs, name, loss, accuracy, best)
        self._adapter(dict(self._state.best)).save(self.definition.directory / "adapter")

    def gradients(self, batch: Batch) -> dict[str, Tensor]:
        """The gradient of a batch's loss by each weight, as they are now."""
        with self._in_bank():
            found = torch.autograd.grad(self._loss(batch), list(self.weights.values()))
        return dict(zip(self.weights, found, strict=True))

    def forget(self) -> None:
        """Delete the checkpoint: nothing is left to resume."""
        self._checkpoint.remove()

    @contextmanager
    def _in_bank(self) -> Iterator[None]:
        """Within this block the engine's forwards know the weights in training."""
        self.model.bank.add(_NAME, self._adapter(self.weights))
        try:
            yield
        finally:
            self.model.bank.remove(_NAME)

    def _epoch(self, rows: Batch, epoch: int) -> Iterator[Progress]:
        batches = self.batches(epoch)
        total = len(batches) * self.settings.epochs
        for i, batch in enumerate(batches, start=epoch * len(batches)):
            rate = self.settings.learning_rate * schedule(i, total, self.settings.warmup)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss = self._step([rows[j] for j in batch])
            yield Progress("step", i + 1, total, self.definition.name, loss)

    def batches(self, epoch: int) -> list[list[int]]:
        """The places in the training set of each batch of an epoch."""
        random = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.train_set), generator=random).tolist()
        size = self.settings.batch_size
        return [order[i : i + size] for i in range(0, len(order), size)]

    def _step(self, batch: Batch) -> float:
        self.optimizer.zero_grad()
        loss = self._loss(batch)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss became {float(loss.detach())}; lower the learning rate "
                f"({self.settings.learning_rate}) and start anew; the checkpoint is intact"
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        self.optimizer.step()
        return float(loss.detach())

    def _loss(self, batch: Batch) -> Tensor:
        """The mean cross-entropy of a batch's label or text tokens, over the full vocabulary."""
        logits = self.model.forward([self._row(*pair, pair[0].target) for pair in batch])
        targets = torch.tensor([token for example, _ in batch for token in example.target])
        return torch.nn.functional.cross_entropy(torch.cat(logits), targets)

    def _row(self, example: Prepared, branch: Branch, label: Ids) -> Row:
        """The suffix of an example, read wherever a token of the label follows."""
        suffix = example.suffix
        tokens = (*suffix.ids, *label[:-1])
        read = tuple(range(len(tokens) - len(label), len(tokens)))
        return Row(tokens, branch, None, _NAME, active_from=suffix.active_from, read=read)

    @torch.no_grad()
    def _assess(self, rows: Batch) -> tuple[float, float]:
        """Negative log-likelihood and accuracy over the candidates, on the development data.

        Of texts: that of each token, and the share that would be written exactly.
        """
        if not self.candidates.ids:
            suffixes = [self._row(*pair, pair[0].target) for pair in rows]
            return text_scores(self.model, suffixes, [example.target for example, _ in rows])
        losses, right, size = 0.0, 0, self.settings.batch_size
        for i in range(0, len(rows), size):
            for pair, scores in zip(
                rows[i : i + size], self._scores(rows[i : i + size]), strict=True
            ):
                target = list(self.candidates.ids.values()).index(pair[0].target)
                losses -= float(scores[target])
                right += int(scores.argmax()) == target
        return losses / len(rows), right / len(rows)

    def _scores(self, batch: Batch) -> Tensor:
        """The log-probability of each label among all. Shapes: (len(batch), labels)."""
        labels = list(self.candidates.ids.values())
        asked = [(pair, label) for pair in batch for label in labels]
        logits = self.model.forward([self._row(*pair, label) for pair, label in asked])
        scores = [
            _log_likelihood(part, label) for part, (_, label) in zip(logits, asked, strict=True)
        ]
        return torch.stack(scores).view(len(batch), len(labels)).log_softmax(-1)

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
