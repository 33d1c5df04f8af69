"""Training learns, resumes to the same weights, and never leaves half an adapter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import tiny_engine, write_intrinsic
from intrinsics.adapter import Adapter
from intrinsics.catalogue import Catalogue
from intrinsics.data import Example
from intrinsics.engine import Engine
from intrinsics.errors import DataError, TrainingError
from intrinsics.learner import fresh_weights
from intrinsics.messages import Message
from intrinsics.prefix_cache import CacheLimits
from intrinsics.spec import Definition
from intrinsics.train import Task, Trainer
from intrinsics.train_settings import TrainSettings

FAST = TrainSettings(rank=4, alpha=8, epochs=4, batch_size=4, learning_rate=2e-2)


def examples(count: int, split: str) -> list[Example]:
    """The label is whether the message ends with an exclamation mark."""
    rows = []
    for i in range(count):
        loud = i % 2 == 0
        text = f"{split} number {i} " + ("!!" if loud else "..")
        message = Message(role="user", content=text)
        rows.append(Example(id=f"{split}{i}", messages=(message,), label="yes" if loud else "no"))
    return rows


def untrained(engine: Engine, folder: Path) -> Definition:
    directory = write_intrinsic(engine, folder, "loud")
    for file in (directory / "adapter").iterdir():
        file.unlink()
    (directory / "adapter").rmdir()
    return Definition.load(directory)


def weights(definition: Definition) -> dict[str, torch.Tensor]:
    modules = Adapter.load(definition.directory / "adapter").modules
    return {f"{n}.{k}": getattr(low, k) for n, low in modules.items() for k in "ab"}


def test_it_learns_and_what_it_learnt_is_loaded(tmp_path: Path) -> None:
    """A random model can be taught little more than by heart, so dev repeats the training texts."""
    engine = tiny_engine()
    definition = untrained(engine, tmp_path)
    train = examples(16, "train")
    dev = [example.model_copy(update={"id": f"dev{example.id}"}) for example in train]
    all_linear = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")
    settings = replace(FAST, epochs=20, learning_rate=3e-2, targets=all_linear)
    records = list(Trainer(engine, [Task(definition, train, dev)], settings).run())
    steps = [record for record in records if record.phase == "step"]
    assert steps[-1].done == steps[-1].total == 80
    assert steps[-1].loss < steps[0].loss / 2  # type: ignore[operator]
    accuracy = next(record.accuracy for record in reversed(records) if record.best)
    assert accuracy == 1
    assert not (definition.directory / ".training").exists()
    engine.catalogue = Catalogue([tmp_path])
    for example in train[:4]:
        assert engine.call(engine.conversation(example.messages), "loud").value == example.label


def test_a_killed_training_resumes_to_the_same_weights(tmp_path: Path) -> None:
    engine = tiny_engine()
    data = examples(16, "train"), examples(4, "dev")
    whole = untrained(engine, tmp_path / "whole")
    list(Trainer(engine, [Task(whole, *data)], FAST).run())
    broken = untrained(engine, tmp_path / "broken")
    run = Trainer(engine, [Task(broken, *data)], FAST).run()
    for record in run:
        if record.phase == "step" and record.done == 11:  # in the third epoch
            break
    run.close()  # type: ignore[attr-defined]
    assert not (broken.directory / "adapter").exists()
    list(Trainer(tiny_engine(), [Task(broken, *data)], FAST).run())
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(broken)[name]), name


def together(engine: Engine, folder: Path) -> list[Task]:
    """Two intrinsics, of which the second judges the same messages the other way round."""
    train, dev = examples(16, "train"), examples(4, "dev")
    other = {"yes": "no", "no": "yes"}
    turned = [
        [row.model_copy(update={"label": other[row.label]}) for row in rows]
        for rows in (train, dev)
    ]
    first, second = (untrained(engine, folder / name) for name in ("first", "second"))
    return [Task(first, train, dev), Task(second, *turned)]


def test_two_trained_together_are_what_each_is_alone(tmp_path: Path) -> None:
    engine = tiny_engine()
    both, alone = together(engine, tmp_path / "both"), together(engine, tmp_path / "alone")
    list(Trainer(engine, both, FAST).run())
    for task, single in zip(both, alone, strict=True):
        list(Trainer(engine, [single], FAST).run())
        for name, weight in weights(single.definition).items():
            assert torch.equal(weight, weights(task.definition)[name]), name
        assert not (task.definition.directory / ".training").exists()


def test_what_was_finished_before_a_kill_is_not_trained_again(tmp_path: Path) -> None:
    engine = tiny_engine()
    whole, broken = together(engine, tmp_path / "whole"), together(engine, tmp_path / "broken")
    list(Trainer(engine, whole, FAST).run())
    run = Trainer(engine, broken, FAST).run()
    steps = (record for record in run if record.phase == "step")
    for _ in range(16 + 2):  # all of the first's, and two of the second's
        next(steps)
    run.close()  # type: ignore[attr-defined]
    records = list(Trainer(tiny_engine(), broken, FAST).run())
    assert sum(record.phase == "step" for record in records) == 16
    for one, other in zip(whole, broken, strict=True):
        for name, weight in weights(one.definition).items():
            assert torch.equal(weight, weights(other.definition)[name]), name


def test_one_directory_is_not_trained_twice_at_once(tmp_path: Path) -> None:
    task = together(tiny_engine(), tmp_path)[0]
    with pytest.raises(TrainingError, match="first/loud: given twice"):
        Trainer(tiny_engine(), [task, task], FAST)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    engine = tiny_engine()
    definition = untrained(engine, tmp_path)
    data = examples(8, "train"), examples(4, "dev")
    run = Trainer(engine, [Task(definition, *data)], FAST).run()
    next(record for record in run if record.phase == "dev")
    run.close()  # type: ignore[attr-defined]
    other = TrainSettings(rank=2, epochs=1)
    with pytest.raises(TrainingError, match="the checkpoint of another training"):
        list(Trainer(engine, [Task(definition, *data)], other).run())
    (definition.directory / ".training" / "state.json").write_text("{")
    with pytest.raises(TrainingError, match="the checkpoint is unreadable"):
        list(Trainer(engine, [Task(definition, *data)], FAST).run())


def test_a_loss_that_is_not_finite_stops_and_keeps_the_old_adapter(tmp_path: Path) -> None:
    engine = tiny_engine()
    definition = Definition.load(write_intrinsic(engine, tmp_path, "loud"))
    before = weights(definition)
    task = Task(definition, examples(8, "train"), examples(4, "dev"))
    trainer = Trainer(engine, [task], FAST)
    with torch.no_grad():
        next(iter(trainer.learners[0].weights.values())).fill_(float("nan"))
    with pytest.raises(TrainingError, match="the loss became nan; lower the learning rate"):
        list(trainer.run())
    assert all(torch.equal(weight, weights(definition)[n]) for n, weight in before.items())


def test_the_prefix_may_lie_in_a_mapped_file(tmp_path: Path) -> None:
    engine = tiny_engine()
    data = examples(8, "train"), examples(4, "dev")
    in_memory, mapped = untrained(engine, tmp_path / "a"), untrained(engine, tmp_path / "b")
    list(Trainer(engine, [Task(in_memory, *data)], FAST).run())
    limits = CacheLimits(memory=0)
    list(Trainer(engine, [Task(mapped, *data)], FAST, limits).run())
    for name, weight in weights(in_memory).items():
        assert torch.equal(weight, weights(mapped)[name]), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, d: ([x for x in t if x.label == "yes"], d), "no row is labelled 'no'"),
        (lambda t, d: (t, t[:1]), "1 rows are in both the training and the development data"),
        (
            lambda t, d: (
                [
                    *t,
                    Example(
                        id="long", messages=(Message(role="user", content="x" * 600),), label="no"
                    ),
                ],
                d,
            ),
            "long: 6.. tokens do not fit into the model's context of 512",
        ),
        (
            lambda t, d: (
                [
                    *t,
                    Example(
                        id="odd", messages=(Message(role="assistant", content="x"),), label="no"
                    ),
                ],
                d,
            ),
            "odd: loud judges the last user message",
        ),
    ],
)
def test_data_that_can_not_be_trained_on_is_named_before_any_work(
    tmp_path: Path, change: object, message: str
) -> None:
    engine = tiny_engine()
    definition = untrained(engine, tmp_path)
    train, dev = change(examples(8, "train"), examples(4, "dev"))  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        Trainer(engine, [Task(definition, train, dev)], FAST)


@pytest.mark.parametrize("values", [{"rank": 0}, {"epochs": 0}, {"learning_rate": -1.0}])
def test_settings_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(TrainingError, match="it must be above 0"):
        TrainSettings(**values)  # type: ignore[arg-type]


def test_targets_the_model_lacks_are_named() -> None:
    settings = TrainSettings(targets=("q_proj", "query"))
    with pytest.raises(TrainingError, match="no linear layer named query"):
        fresh_weights(tiny_engine(), settings)
