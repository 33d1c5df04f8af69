"""The judges of the parity table: deterministic, resumable, and PEFT's LoRA really PEFT's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines import length_only, majority, tfidf
from conftest import tiny_engine, tiny_network, write_intrinsic
from intrinsics.data import Example
from intrinsics.engine import Engine
from intrinsics.errors import TrainingError
from intrinsics.messages import Message
from intrinsics.spec import Definition
from intrinsics.train_settings import TrainSettings
from parity import JUDGES, arguments, compared, joined, judge_all
from peft_lora import LoraTraining, lora, lora_name, lora_shares
from scores import calibrate, difference, false_positive_rate, predictions, scores
from task import Found, Log, Task

# The issue's own bound for logits in float32; probabilities of two labels move less.
TOLERANCE = 1e-4
SETTINGS = TrainSettings(
    rank=4,
    alpha=4,
    targets=("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"),
    learning_rate=2e-2,
    epochs=3,
    batch_size=4,
)


def rows(count: int, split: str) -> list[Example]:
    """The label is whether the message ends with an exclamation mark."""
    told = []
    for i in range(count):
        loud = i % 2 == 0
        text = f"{split} word{i % 5} number {i} " + ("now !!" if loud else "maybe ..")
        message = Message(role="user", content=text)
        label, source = ("yes" if loud else "no"), ("a" if i % 4 < 2 else "b")
        told.append(Example(id=f"{split}{i}", messages=(message,), label=label, source=source))
    return told


@pytest.fixture
def tiny() -> Engine:
    return tiny_engine()


@pytest.fixture
def task(tiny: Engine, tmp_path: Path) -> Task:
    definition = Definition.load(write_intrinsic(tiny, tmp_path, "loud"))
    train = rows(16, "train")
    return Task(definition, train, rows(8, "dev"), {"test": rows(12, "test")}, train)


def test_words_find_what_words_tell_and_always_the_same(task: Task) -> None:
    once, again = tfidf(task), tfidf(task)
    assert once.chosen == again.chosen
    for split, shares in once.shares.items():
        assert np.array_equal(shares, again.shares[split])
    told = scores(task.tests["test"], calibrate(task, once)[1]["test"])
    assert told["accuracy"] == told["auroc"] == 1
    assert told["false_positive_rate"] == 0
    assert set(told["by_source"]) == {"a", "b"}


def test_the_commonest_label_and_lengths_give_a_share_to_every_label(task: Task) -> None:
    for found in (majority(task), length_only(task)):
        assert set(found.shares) == {"dev", "test"}
        for split, shares in found.shares.items():
            assert shares.shape == (len(task.splits[split]), 2)
            np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert scores(task.tests["test"], calibrate(task, majority(task))[1]["test"])["auroc"] == 0.5


def test_what_a_judge_found_is_kept_for_the_same_data_only(task: Task, tmp_path: Path) -> None:
    found = Found({"C": 1.0}, {"dev": np.array([[0.25, 0.75]])}, shipped=True)
    path = tmp_path / "cache" / "judge.npz"
    found.save(path, task.identity)
    kept = Found.load(path, task.identity)
    assert kept is not None and kept.chosen == found.chosen and kept.shipped
    assert np.array_equal(kept.shares["dev"], found.shares["dev"])
    other = replace(task, dev=task.dev[:-1])
    assert Found.load(path, other.identity) is None


def test_a_temperature_fitted_on_dev_changes_no_verdict(task: Task) -> None:
    random = np.random.default_rng(0)
    raw = {name: random.dirichlet([1, 1], len(part)) for name, part in task.splits.items()}
    fitted, verdicts = calibrate(task, Found({}, raw))
    assert fitted.temperature != 1 and not fitted.bias
    assert np.array_equal(verdicts["test"].found, raw["test"].argmax(axis=1))
    own, as_shipped = calibrate(task, Found({}, raw, shipped=True))
    assert own == task.definition.calibration
    assert np.array_equal(as_shipped["test"].confidence, raw["test"].max(axis=1))


def test_a_judge_beside_itself_makes_no_difference(task: Task) -> None:
    random = np.random.default_rng(1)
    shares = random.dirichlet([1, 1], len(task.tests["test"]))
    p = predictions(task, task.tests["test"], shares)
    for told in difference(p, p).values():
        assert told == {"difference": 0, "confidence_interval": (0, 0)}
    better = np.where(np.arange(12)[:, None] % 2 == 0, [0.9, 0.1], [0.1, 0.9])
    right = predictions(task, task.tests["test"], better)
    wrong = predictions(task, task.tests["test"], 1 - better)
    assert difference(right, wrong)["accuracy"]["difference"] == 1
    assert false_positive_rate(wrong) == 1


def test_the_lora_of_peft_learns_and_is_read_by_our_engine_as_peft_reads_it(
    tiny: Engine, task: Task, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, epochs=10)
    training = LoraTraining(tiny, tiny_network("llama"), task, settings, tmp_path)
    records = list(training.run())
    losses = [record.loss for record in records if record.phase == "step"]
    assert losses[-1] < losses[0] / 2  # type: ignore[operator]
    found = lora_shares(tiny, task, training.adapter, "test")

    definition = ordinary(tiny, task, training.adapter)
    expected, served = [], []
    for row in task.tests["test"]:
        verdict = tiny.call(tiny.conversation(row.messages), definition.directory)
        served.append(list(verdict.raw_distribution.values()))
        expected.append(in_peft(training.network, verdict.token_ids, verdict.candidates))
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    np.testing.assert_allclose(found, served, atol=TOLERANCE)


def ordinary(engine: Engine, task: Task, adapter: Path) -> Definition:
    """The definition of the task with that LoRA in the place of its adapter."""
    directory = task.definition.directory
    for file in (directory / "adapter").iterdir():
        file.unlink()
    for file in adapter.iterdir():
        (directory / "adapter" / file.name).write_bytes(file.read_bytes())
    return Definition.load(directory)


def in_peft(network: Any, prompt: tuple[int, ...], labels: dict[str, tuple[int, ...]]) -> list[Any]:
    logs = []
    for label in labels.values():
        with torch.inference_mode():
            logits = network(torch.tensor([(*prompt, *label)])).logits[0].double().log_softmax(-1)
        first = len(prompt) - 1
        logs.append(sum(float(logits[first + i, token]) for i, token in enumerate(label)))
    shares: list[Any] = torch.tensor(logs).softmax(0).tolist()
    return shares


def test_parts_of_a_batch_add_up_to_the_loss_of_one_by_one(
    tiny: Engine, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = LoraTraining(tiny, tiny_network("llama"), task, SETTINGS, tmp_path)
    whole = sum(float(part.detach()) for part in training.loss(training.train_set))
    monkeypatch.setattr("peft_lora.MICRO_TOKENS", 1)
    alone = [float(part.detach()) for part in training.loss(training.train_set)]
    assert len(alone) == len(training.train_set)
    assert sum(alone) == pytest.approx(whole, abs=1e-5)


def test_a_killed_lora_goes_on_and_ends_at_the_same_weights(
    tiny: Engine, task: Task, tmp_path: Path
) -> None:
    whole = LoraTraining(tiny, tiny_network("llama"), task, SETTINGS, tmp_path / "whole")
    list(whole.run())
    broken = LoraTraining(tiny, tiny_network("llama"), task, SETTINGS, tmp_path / "broken")
    for record in broken.run():
        if record.phase == "step" and record.done == 6:  # in the second epoch
            break
    assert not broken.adapter.exists()
    runs = [SETTINGS]
    found = lora(tiny, lambda: tiny_network("llama"), task, runs, tmp_path / "broken", Log())
    assert broken.adapter.name == lora_name(tiny, task, SETTINGS)
    assert found.chosen["rank"] == 4 and found.chosen["runs"] == 1
    expected = lora_shares(tiny, task, whole.adapter, "test")
    assert np.array_equal(found.shares["test"], expected)


def test_every_judge_is_run_once_and_then_read_from_the_cache(
    tiny: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    definition = Definition.load(write_intrinsic(tiny, tmp_path, "safety"))
    train = rows(8, "train")
    task = Task(definition, train, rows(4, "dev"), {"test": rows(4, "test")}, train)
    line = ["data", "out.json", "--epochs", "1", "--ranks", "2", "4", "--cache", str(tmp_path)]

    def measured(*more: str) -> dict[str, Found]:
        given = arguments([*line, *more])
        return judge_all(tiny, lambda: tiny_network("llama"), task, given, Log())

    first = measured("--judges", "tfidf", "alora")
    assert set(first) == {"tfidf", "alora"}
    every = measured()
    assert tuple(every) == JUDGES
    assert every["lora"].chosen["runs"] == 2 and every["prompted"].chosen["runs"] == 3
    capsys.readouterr()
    again = measured()
    assert "safety" not in capsys.readouterr().err, "nothing is run a second time"
    for judge, found in every.items():
        assert np.array_equal(found.shares["test"], again[judge].shares["test"])
    told = compared(task, again)
    assert told["judges"]["alora"]["splits"]["test"]["n"] == 4
    assert set(told["alora_minus"]) == set(JUDGES) - {"alora"}
    for row, shares in zip(task.dev, every["shipped"].shares["dev"], strict=True):
        verdict = tiny.call(tiny.conversation(row.messages), definition.directory)
        assert list(verdict.raw_distribution.values()) == pytest.approx(list(shares), abs=2e-3)


def test_a_judge_that_is_not_run_again_is_kept_for_the_same_rows_only() -> None:
    def told(judge: str, rows: int, examples: int = 4) -> dict[str, Any]:
        settings = {"labels": ["a", "b"], "positive": "b", "examples": examples}
        settings |= {"all_examples": rows, "dev_examples": 2, "ranks": [len(judge)]}
        return {"settings": settings, "judges": {judge: {}}, "alora_minus": {}, "curves": {}}

    both = joined(told("tfidf", 9), told("lora", 9))
    assert set(both["judges"]) == {"tfidf", "lora"} and both["settings"]["ranks"] == [4]
    assert joined(both, told("prompted", 9))["settings"]["ranks"] == [4]
    assert set(joined(both, told("prompted", 8))["judges"]) == {"prompted"}
    assert set(joined(both, told("alora", 9, 5))["judges"]) == {"tfidf", "alora"}
    assert joined(None, told("lora", 9)) == told("lora", 9)
    apart = {**told("alora", 9), "alora_minus": {"tfidf": {}, "lora": {}}}
    assert set(joined(apart, told("lora", 9))["alora_minus"]) == {"tfidf"}, "lora is another now"
    assert not joined(apart, told("alora", 9))["alora_minus"], "the aLoRA is another now"


def test_a_loss_that_is_not_finite_stops_the_lora(tiny: Engine, task: Task, tmp_path: Path) -> None:
    training = LoraTraining(tiny, tiny_network("llama"), task, SETTINGS, tmp_path)
    with torch.no_grad():
        next(iter(training.weights.values())).fill_(float("nan"))
    with pytest.raises(TrainingError, match="LoRA became nan; lower its learning rate"):
        list(training.run())
    assert not training.adapter.exists()
