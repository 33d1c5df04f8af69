"""Training an adapter: `Trainer` beside PEFT's training of the same one on the same rows."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from intrinsics.checkpoint import Progress
from intrinsics.data import Example
from intrinsics.engine import Engine
from intrinsics.learner import Learner
from intrinsics.messages import Document, Message
from intrinsics.prefix_cache import PrefixCache
from intrinsics.spec import Definition
from intrinsics.train import Task, Trainer
from intrinsics.train_settings import TrainSettings

from .measure import Steps, alone, check_sizes, load, machine, plain_network, ratio, spread, timed
from .peft_peer import require_peft
from .peft_training import PeftTraining
from .texts import passage, place

EPOCHS = 3
_OPENERS = frozenset(("The", "In", "A", "Every"))  # of the made-up sentences: no towns
_DEV_ROWS = 4  # as few as there can be: PEFT's side has none


def run(
    examples: int = 64,
    context: int = 220,
    repetitions: int = 3,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure; each figure is that of a whole training of three epochs.

    Ours includes the prefixes, the development rows and the checkpoints; PEFT's nothing but its
    steps. Losses and gradients are compared with prefixes in float32 and in float16.
    Raises: RequestError: absurd sizes, or peft is missing.
    """
    check_sizes(examples=examples, context=context, repetitions=repetitions)
    require_peft()
    engine = load(progress)
    rows = _rows(engine, examples + _DEV_ROWS, context)
    steps = Steps(progress, "measuring training", 2 * repetitions + 2)
    with tempfile.TemporaryDirectory() as folder:
        definition = _definition(engine, Path(folder))
        task = Task(definition, rows[:examples], rows[examples:])
        exact = TrainSettings(epochs=EPOCHS, prefix_dtype="float32")
        halved = TrainSettings(epochs=EPOCHS)
        learner = Learner(engine, definition, task.train, task.dev, exact)
        begun = {name: weight.detach().clone() for name, weight in learner.weights.items()}
        batches = [batch for epoch in range(EPOCHS) for batch in learner.batches(epoch)]
        network, pad = plain_network(), engine.chat.end_id
        peer = alone(lambda: PeftTraining(network, learner.invocation, exact, begun, pad))
        alone(lambda: peer.gradients(learner.train_set[:1]))  # a warm-up
        losses: dict[str, list[float]] = {}
        raw: dict[str, list[float]] = {"ours": [], "peft": []}

        def ours(settings: TrainSettings) -> list[float]:
            records = alone(lambda: list(Trainer(engine, [task], settings).run()))
            return [record.loss for record in records if record.phase == "step" and record.loss]

        def theirs() -> None:
            peer.copy(begun)
            losses["peft"] = alone(lambda: peer.train(learner.train_set, batches))

        losses["ours_float32"] = ours(exact)
        steps.done()
        for _ in range(repetitions):
            raw["ours"].append(timed(lambda: losses.update(ours=ours(halved))))
            steps.done()
            raw["peft"].append(timed(theirs))
            steps.done()
        gradients = alone(lambda: _gradients(learner, peer, batches[0]))
        steps.done()
    return {
        "examples": examples,
        "epochs": EPOCHS,
        "batch_size": exact.batch_size,
        "tokens": sum(len(one.prefix) for one in learner.train_set) / examples,
        "ratio_to_peft": ratio(raw["peft"], raw["ours"]),
        **gradients,
        "max_loss_difference": _apart(losses["ours_float32"], losses["peft"]),
        "max_loss_difference_float16": _apart(losses["ours"], losses["peft"]),
        "seconds": {name: spread(values) for name, values in raw.items()},
        "losses": losses,
        "raw": raw,
        "machine": machine(),
    }


def _definition(engine: Engine, folder: Path) -> Definition:
    """The answerability intrinsic without its adapter, in a directory that may be written."""
    shipped = engine.catalogue.get("answerability").directory
    copy = shutil.copytree(shipped, folder / "answerability")
    shutil.rmtree(copy / "adapter")
    return Definition.load(copy)


def _rows(engine: Engine, count: int, context: int) -> list[Example]:
    """Passages about towns, each with a question about one that is in it, or in none."""
    random, rows = Random(0), []
    for i in range(count):
        text = passage(engine.chat, context, i)
        towns = [word for word in re.findall(r"[A-Z]\w+", text) if word not in _OPENERS]
        there = i % 2 == 0 and bool(towns)
        town = random.choice(towns) if there else place(random) + "ville"
        question = Message(role="user", content=f"What do the documents say about {town}?")
        label = "answerable" if there else "unanswerable"
        document = Document(id="towns", text=text)
        rows.append(Example(id=str(i), messages=(question,), documents=(document,), label=label))
    return rows


def _gradients(learner: Learner, peer: PeftTraining, batch: Sequence[int]) -> dict[str, float]:
    """The greatest difference of any weight's gradient on one batch, and the greatest gradient.

    Away from the beginning, where half of them are zero: with random second matrices.
    """
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in learner.weights.items():
            if name.endswith(".b"):
                weight.normal_(0, 0.02, generator=random)
    peer.copy(learner.weights)
    examples = [learner.train_set[i] for i in batch]
    theirs = peer.gradients(examples)
    cache = PrefixCache(learner.model, [one.prefix for one in examples], torch.float32)
    list(cache.fill())
    ours = learner.gradients([(one, cache.branch(one.prefix)) for one in examples])
    return {
        "max_gradient_difference": max(_far(ours[name], theirs[name]) for name in ours),
        "max_gradient": max(float(gradient.abs().max()) for gradient in theirs.values()),
    }


def _far(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def _apart(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
