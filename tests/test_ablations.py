"""Ablations change one thing, are scored as the engine scores, and go on where they were ended."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ablations import Ablation, Variant, measure, variants, varied
from conftest import tiny_engine, write_intrinsic
from intrinsics.adapter import Adapter
from intrinsics.data import Example
from intrinsics.engine import Engine
from intrinsics.learner import Learner
from intrinsics.messages import Message
from intrinsics.spec import Definition
from intrinsics.train_settings import TrainSettings
from task import Log

FAST = TrainSettings(rank=4, alpha=4, epochs=2, batch_size=4, learning_rate=2e-2)


def rows(count: int, split: str) -> list[Example]:
    told = []
    for i in range(count):
        text = f"{split} number {i} " + ("!!" if i % 2 == 0 else "..")
        message = Message(role="user", content=text)
        label = "yes" if i % 2 == 0 else "no"
        told.append(Example(id=f"{split}{i}", messages=(message,), label=label))
    return told


@pytest.fixture
def tiny() -> Engine:
    return tiny_engine()


@pytest.fixture
def ablation(tiny: Engine, tmp_path: Path) -> Ablation:
    definition = Definition.load(write_intrinsic(tiny, tmp_path / "library", "safety"))
    return Ablation(tiny, definition, rows(12, "train"), rows(6, "dev"), tmp_path / "cache")


def test_every_variant_but_the_common_one_is_there_once(ablation: Ablation) -> None:
    told = list(variants(ablation.definition))
    axes = {variant.axis for variant in told}
    common = [
        v for v in told if replace(v, axis="", value="") == replace(told[3], axis="", value="")
    ]
    assert {variant.axis for variant in common} == axes
    keys = [variant.key for variant in told if variant not in common]
    assert len(keys) == len(set(keys))
    assert {variant.key for variant in common} == {told[3].key}


def test_a_variant_is_scored_as_the_engine_serves_it(tiny: Engine, ablation: Ablation) -> None:
    variant = Variant("restated", "before", FAST, examples=12, restated="before")
    ablation.prefill([variant], math.inf, Log())
    told = ablation.run(variant, math.inf, Log())
    assert told is not None and told["dev"]["n"] == 6
    [directory] = ablation.folder.iterdir()
    definition = Definition.load(directory)
    assert definition.instruction == "instruction.j2"
    served = []
    for row in ablation.dev:
        verdict = tiny.call(tiny.conversation(row.messages), definition.directory)
        served.append(list(verdict.raw_distribution.values()))
    np.testing.assert_allclose(
        ablation._shares(definition), served, atol=2e-3
    )  # its prefixes are kept in float16


def test_what_is_restated_after_the_invocation_is_adapted(
    tiny: Engine, ablation: Ablation, tmp_path: Path
) -> None:
    """The same tokens, but the invocation first: the adapter acts on all of them."""
    variant = Variant("restated", "after", FAST, restated="after")
    definition = varied(ablation.definition, variant, tmp_path / "after")
    learner = Learner(tiny, definition, ablation.train, ablation.dev, FAST)
    example = learner.train_set[0]
    row = learner._row(example, tiny.model.tree.branch(), example.target)
    said = tuple(tiny.chat.text(ablation.train[0].messages[-1].content + "\n"))
    assert row.tokens == (*learner.invocation, *said, *example.target[:-1])
    assert row.active_from == 0
    last = len(row.tokens) - 1
    assert row.read == tuple(range(last - len(example.target) + 1, last + 1))
    ablation.prefill([variant], math.inf, Log())
    told = ablation.run(variant, math.inf, Log())
    assert told is not None and told["restated"] == "after"


def test_the_time_ends_and_the_same_command_goes_on(ablation: Ablation, tmp_path: Path) -> None:
    out, log = tmp_path / "ablations.json", Log()
    variant = Variant("rank", "4", FAST, examples=12)
    assert not measure(ablation, [variant], out, time.monotonic() - 1, log)
    assert not out.exists()
    assert measure(ablation, [variant], out, math.inf, log)
    before = json.loads(out.read_text())
    assert before["safety"][0]["value"] == "4"
    assert out.with_suffix(".png").stat().st_size > 1000
    assert measure(ablation, [variant], out, time.monotonic() - 1, log), "it is there already"
    assert json.loads(out.read_text()) == before


def test_a_variant_out_of_time_is_finished_by_the_next_run(ablation: Ablation) -> None:
    variant = Variant("rank", "4", replace(FAST, epochs=3), examples=12)
    ablation.prefill([variant], math.inf, Log())
    whole = ablation.run(variant, math.inf, Log())
    [directory] = ablation.folder.iterdir()
    expected = Adapter.load(directory / "adapter").modules
    ablation.folder = ablation.folder.with_name("broken")
    assert ablation.run(variant, time.monotonic() - 1, Log()) is None
    assert "(in training)" not in ablation.engine.model.bank
    assert ablation.run(variant, math.inf, Log()) == whole
    [directory] = ablation.folder.iterdir()
    found = Adapter.load(directory / "adapter").modules
    assert all(torch.equal(found[name].b, low.b) for name, low in expected.items())
