"""Training on target texts, and their scores: learnt by heart, counted by hand, refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from chains.commands.text import show
from conftest import tiny_engine, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.data import Example, balanced, check_disjoint, read_examples
from intrinsics.engine import Engine
from intrinsics.errors import DataError, DefinitionError
from intrinsics.evaluate_text import evaluate_text, prompted_texts, texts
from intrinsics.kv import gather
from intrinsics.learner import Learner
from intrinsics.messages import Message
from intrinsics.sampling import Sampling
from intrinsics.spec import Definition
from intrinsics.text_metrics import exact_match, mean_intervals, rouge_l, scores, token_f1
from intrinsics.text_output import TextOutput
from intrinsics.text_target import target_ids, text_scores
from intrinsics.train import Task, Trainer
from intrinsics.train_settings import TrainSettings

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")
FAST = TrainSettings(
    rank=8, alpha=16, epochs=2, batch_size=4, learning_rate=2e-2, targets=ALL_LINEAR
)
WORDS = ("red", "blue")


def examples(count: int, split: str) -> list[Example]:
    """The target is the word that the first message ends with."""
    rows = []
    for i in range(count):
        word = WORDS[i % 2]
        talk = [f"{split} {i} {word}", "And again?"]
        messages = tuple(Message(role="user", content=text) for text in talk)
        rows.append(Example(id=f"{split}{i}", messages=messages, target=word, source=f"s{i % 2}"))
    return rows


def written(engine: Engine, folder: Path, most: int = 8) -> Definition:
    definition = Definition.load(write_intrinsic(engine, folder, "echo", writes=most))
    engine.catalogue = Catalogue([folder])
    return definition


def test_training_lowers_the_loss_and_what_was_learnt_is_written(tmp_path: Path) -> None:
    engine = tiny_engine()
    definition = written(engine, tmp_path)
    train = examples(8, "train")
    dev = [example.model_copy(update={"id": f"dev{example.id}"}) for example in train]
    settings = replace(FAST, epochs=30)
    records = list(Trainer(engine, [Task(definition, train, dev)], settings).run())
    losses = [record.loss for record in records if record.phase == "step"]
    assert losses[-1] < losses[0] / 2  # type: ignore[operator]
    judged = [record for record in records if record.phase == "dev"]
    assert judged[-1].loss < judged[0].loss / 2  # type: ignore[operator]
    best = next(record for record in reversed(judged) if record.best)
    found = list(texts(engine, definition, dev))
    exact = sum(text == example.target for text, example in zip(found, dev, strict=True))
    assert best.accuracy == exact / len(dev) > 0.4, "what is foretold exactly is what is written"


def test_gradients_stay_in_the_suffix(tmp_path: Path) -> None:
    """The loss and its gradients equal those of the whole text at once, prefix included."""
    engine = tiny_engine()
    definition = written(engine, tmp_path)
    train = examples(4, "train")
    learner = Learner(engine, definition, train, examples(2, "dev"), FAST)
    with torch.no_grad():
        for weight in learner.weights.values():
            weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    model = engine.model
    model.bank.add("(in training)", learner._adapter(learner.weights))
    branches = []
    for example in learner.train_set:
        branch = model.tree.branch()
        with torch.no_grad():
            model.prefill(branch, example.prefix)
        branches.append(branch)
    before = [gather(branch, 0)[0].clone() for branch in branches]
    loss = learner._loss(list(zip(learner.train_set, branches, strict=True)))
    loss.backward()
    cached = {name: weight.grad.clone() for name, weight in learner.weights.items()}  # type: ignore[union-attr]
    assert all(grad.abs().max() > 0 for grad in cached.values())
    for branch, keys in zip(branches, before, strict=True):
        found = gather(branch, 0)[0]
        assert torch.equal(found, keys) and not found.requires_grad
    for weight in learner.weights.values():
        weight.grad = None
    whole = []
    for example in learner.train_set:
        row = learner._row(example, model.tree.branch(), example.target)
        size = len(example.prefix)
        joined = replace(
            row,
            tokens=(*example.prefix, *row.tokens),
            active_from=size + row.active_from,
            read=tuple(size + i for i in row.read),
        )
        whole += model.forward([joined])
    wanted = torch.tensor([i for example in learner.train_set for i in example.target])
    anew = torch.nn.functional.cross_entropy(torch.cat(whole), wanted)
    anew.backward()
    assert float(loss.detach()) == pytest.approx(float(anew.detach()), abs=1e-5)
    for name, weight in learner.weights.items():
        torch.testing.assert_close(weight.grad, cached[name], atol=1e-5, rtol=1e-4)


def test_a_target_ends_with_the_end_token_and_fits() -> None:
    chat = tiny_engine().chat
    output = TextOutput(type="text", max_tokens=3)
    assert target_ids(chat, output, " red\n") == (*chat.text("red"), chat.end_id)
    with pytest.raises(DataError, match="the target has 4 tokens, but at most 3 are written"):
        target_ids(chat, output, "blue")


def test_the_score_of_a_token_is_the_mean_over_all_of_them(tmp_path: Path) -> None:
    engine = tiny_engine()
    definition = written(engine, tmp_path)
    learner = Learner(engine, definition, examples(20, "train"), examples(2, "dev"), FAST)
    engine.model.bank.add("(in training)", learner._adapter(learner.weights))
    branches = [engine.model.tree.branch() for _ in learner.train_set]
    pairs = list(zip(learner.train_set, branches, strict=True))
    with torch.no_grad():
        for example, branch in pairs:
            engine.model.prefill(branch, example.prefix)
        rows = [learner._row(example, branch, example.target) for example, branch in pairs]
        loss, _ = text_scores(engine.model, rows, [example.target for example, _ in pairs])
        assert loss == pytest.approx(float(learner._loss(pairs)), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "blue blue blue"}, "odd: the target has 14 tokens, but at most 8"),
        ({"target": "  "}, "odd: the target is empty"),
        ({"messages": (Message(role="user", content="x" * 600),)}, r"odd: \d+ tokens do not fit"),
    ],
)
def test_rows_that_can_not_be_learnt_are_named(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    engine = tiny_engine()
    definition = written(engine, tmp_path)
    odd = examples(1, "x")[0].model_copy(update={"id": "odd", **change})
    with pytest.raises(DataError, match=message):
        Learner(engine, definition, [*examples(4, "train"), odd], examples(2, "dev"), FAST)


def test_a_file_of_texts_needs_targets_and_a_file_of_labels_labels(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"messages": [{"role": "user", "content": "Hi"}]}
    path.write_text(json.dumps({**row, "target": "Hello"}))
    assert read_examples(path, ())[0].target == "Hello"
    with pytest.raises(DataError, match=r"rows\.jsonl:1: missing key 'label'"):
        read_examples(path, ["yes", "no"])
    path.write_text(json.dumps({**row, "label": "yes"}))
    with pytest.raises(DataError, match=r"rows\.jsonl:1: missing key 'target'"):
        read_examples(path, ())


def test_splits_of_texts_are_balanced_by_source_and_disjoint() -> None:
    rows = examples(10, "train")
    assert sorted(row.source for row in balanced(rows, 4, 0)) == ["s0", "s0", "s1", "s1"]
    renamed = rows[0].model_copy(update={"id": "", "target": "another"})
    with pytest.raises(DataError, match="1 rows are in both"):
        check_disjoint([rows[0].model_copy(update={"id": ""})], [renamed])


def test_a_text_is_not_calibrated(tmp_path: Path) -> None:
    directory = written(tiny_engine(), tmp_path).directory
    path = directory / "intrinsic.yaml"
    path.write_text(path.read_text() + "calibration: {temperature: 2}\n")
    with pytest.raises(DefinitionError, match="a text has no probabilities to calibrate"):
        Definition.load(directory)


@pytest.mark.parametrize(
    ("found", "target", "exact", "f1", "rouge"),
    [
        ("The harbour!", "a harbour", 1, 1, 0.5),
        ("who closed it", "who closed the harbour", 0, 2 / 3, 4 / 7),
        ("b a c", "a c b", 0, 1, 2 / 3),  # "a" is an article for the first two
        ("", "something", 0, 0, 0),
        ("x y z", "x q z", 0, 2 / 3, 2 / 3),
    ],
)
def test_scores_counted_by_hand(
    found: str, target: str, exact: float, f1: float, rouge: float
) -> None:
    assert exact_match(found, target) == exact
    assert token_f1(found, target) == pytest.approx(f1)
    assert rouge_l(found, target) == pytest.approx(rouge)


@given(st.text("ab c.", max_size=12), st.text("ab c.", max_size=12))
def test_scores_are_symmetric_shares(one: str, other: str) -> None:
    for metric in (exact_match, token_f1, rouge_l):
        assert metric(one, other) == metric(other, one)
        assert 0 <= metric(one, other) <= metric(one, one) == 1


def test_intervals_hold_the_mean_and_are_the_same_again() -> None:
    each = scores(["a b", "c", "d e"] * 20, ["a b", "x", "d"] * 20)
    found = mean_intervals(each)
    assert found == mean_intervals(each)
    for name, (low, high) in found.items():
        assert low <= each[name].mean() <= high


def test_an_evaluation_stands_beside_both_baselines(tmp_path: Path) -> None:
    engine = tiny_engine()
    definition = written(engine, tmp_path)
    rows = examples(5, "dev")
    rows[0] = rows[0].model_copy(update={"target": "again"})
    told = evaluate_text(engine, definition, rows)
    assert told.n == 5 and told.question.endswith(("else.", "alone.", "Something."))
    assert "Something." in told.question
    found = [engine.conversation(row.messages) for row in rows]
    one_by_one = [str(engine.call(talk, "echo").value) for talk in found]
    assert list(texts(engine, definition, rows)) == one_by_one
    expected = scores(one_by_one, [row.target for row in rows])
    assert told.intrinsic.token_f1 == pytest.approx(expected["token_f1"].mean())
    unchanged = scores(["And again?"] * 5, [row.target for row in rows])
    assert told.baseline_unchanged.rouge_l == pytest.approx(unchanged["rouge_l"].mean())
    assert told.baseline_unchanged.rouge_l > 0
    plain = json.loads(json.dumps(told.to_dict()))
    assert plain["token_f1"] == told.intrinsic.token_f1
    assert plain["confidence_intervals"].keys() == {"exact_match", "token_f1", "rouge_l"}
    assert plain["baseline_unchanged"]["rouge_l"] == told.baseline_unchanged.rouge_l
    assert plain["baseline_prompted"].keys() == plain["baseline_unchanged"].keys()
    assert {name: part["n"] for name, part in told.by_source.items()} == {"s0": 3, "s1": 2}
    console = Console(width=160, record=True)
    show(told, console)
    shown = console.export_text()
    assert "5 rows" in shown and "base model asked" in shown
    assert f"{told.intrinsic.rouge_l:.3f}" in shown


def test_the_base_model_asked_in_words_gives_its_reply() -> None:
    engine = tiny_engine()
    rows, question = examples(3, "dev"), "Say red or blue."
    found = list(prompted_texts(engine, rows, question, 6))
    assert len(found) == 3
    talk = engine.conversation([*rows[1].messages, Message(role="user", content=question)])
    assert found[1] == engine.generate(talk, Sampling(max_tokens=6)).text.strip()
