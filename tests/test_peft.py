"""PEFT as the oracle, both ways: our adapters in PEFT, PEFT's adapters in ours, and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from conftest import random_adapter, tiny_engine, tiny_network, write_intrinsic
from intrinsics.adapter import Adapter
from intrinsics.data import Example
from intrinsics.engine import Engine
from intrinsics.learner import Learner
from intrinsics.messages import Document, Message
from intrinsics.model import Model, Row
from intrinsics.prefix_cache import PrefixCache
from intrinsics.spec import Definition
from intrinsics.train_settings import TrainSettings

# The issue's own bound for logits in float32; what is seen on tiny models is below 1e-5.
TOLERANCE = 1e-4
PREFIX, INVOCATION = (7, 30, 99, 4, 18, 201, 56), (250, 3)
IDS = (*PREFIX, *INVOCATION)


def with_peft(network: Any, directory: Path) -> Any:
    model = peft.PeftModel.from_pretrained(network, str(directory))
    model.train(False)
    return model


def ours(model: Model, adapter: Adapter, ids: tuple[int, ...] = IDS) -> Tensor:
    """All logits: the prefix from the base model's cache, the invocation adapted."""
    assert adapter.invocation is not None
    start = len(ids) - len(adapter.invocation)
    model.bank.add("oracle", adapter)
    branch = model.tree.branch()
    with torch.inference_mode():
        before = model.forward([Row(ids[:start], branch, read=tuple(range(start)), store=True)])[0]
        own = ids[start:]
        after = model.forward([Row(own, branch, adapter="oracle", read=tuple(range(len(own))))])[0]
    return torch.cat([before, after])


def test_our_adapter_gives_the_same_logits_in_peft(tmp_path: Path, architecture: str) -> None:
    model = Model(tiny_network(architecture))
    random_adapter(model, rank=5, invocation=INVOCATION).save(tmp_path / "adapter")
    found = ours(model, Adapter.load(tmp_path / "adapter"))
    with torch.inference_mode():
        network = with_peft(tiny_network(architecture), tmp_path / "adapter")
        expected = network(torch.tensor([IDS])).logits[0]
        base = tiny_network(architecture)(torch.tensor([IDS])).logits[0]
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
    assert (found[-1] - base[-1]).abs().max() > 0.1, "an adapter that does nothing proves nothing"


@pytest.mark.parametrize("rank_pattern", [{}, {"q_proj": 2}], ids=["one rank", "two ranks"])
@pytest.mark.parametrize("use_rslora", [False, True], ids=["plain", "rslora"])
def test_an_adapter_saved_by_peft_gives_the_same_logits_in_ours(
    tmp_path: Path, architecture: str, rank_pattern: dict[str, int], use_rslora: bool
) -> None:
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=6,
        lora_alpha=12,
        target_modules=["q_proj", "v_proj", "down_proj"],
        alora_invocation_tokens=list(INVOCATION),
        rank_pattern=rank_pattern,
        use_rslora=use_rslora,
    )
    oracle = peft.get_peft_model(tiny_network(architecture), config)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in oracle.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3)
    oracle.train(False)
    oracle.save_pretrained(str(tmp_path))
    with torch.inference_mode():
        expected = oracle(torch.tensor([IDS])).logits[0]
    found = ours(Model(tiny_network(architecture)), Adapter.load(tmp_path))
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


def training(engine: Engine, folder: Path, place: str) -> Learner:
    """A training whose weights are no longer fresh, so that every gradient is alive."""
    directory = write_intrinsic(engine, folder, "loud", instruction="Is it loud?", place=place)
    rows = [
        Example(messages=(Message(role="user", content=text),), label=label)
        for text, label in (("Stop right there!!", "yes"), ("hm, well ...", "no"))
    ]
    settings = TrainSettings(rank=4, alpha=8, prefix_dtype="float32")
    dev = [row.model_copy(update={"id": f"dev{i}"}) for i, row in enumerate(rows)]
    trainer = Learner(engine, Definition.load(directory), rows, dev, settings)
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in trainer.weights.values():
            weight.normal_(0, 0.1)
    return trainer


@pytest.mark.parametrize("place", ["before", "after"])
def test_our_gradients_are_those_of_peft(tmp_path: Path, architecture: str, place: str) -> None:
    trainer = training(tiny_engine(architecture), tmp_path, place)
    cache = PrefixCache(trainer.model, trainer.prefixes, torch.float32)
    list(cache.fill())
    found = trainer.gradients([(one, cache.branch(one.prefix)) for one in trainer.train_set])

    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=4,
        lora_alpha=8,
        target_modules=list(trainer.settings.targets),
        alora_invocation_tokens=list(trainer.invocation),
    )
    oracle = peft.get_peft_model(tiny_network(architecture), config)
    twins = {
        name: oracle.get_parameter(f"base_model.model.{module}.lora_{kind}.default.weight")
        for name in trainer.weights
        for module, kind in [(name.rpartition(".")[0], name[-1].upper())]
    }
    with torch.no_grad():
        for name, twin in twins.items():
            twin.copy_(trainer.weights[name])
    losses = []
    for example in trainer.train_set:
        ids = (*example.prefix, *example.suffix.ids, *example.target)
        logits = oracle(torch.tensor([ids])).logits[0]
        last = len(example.target)
        losses.append(
            torch.nn.functional.cross_entropy(
                logits[-last - 1 : -1], torch.tensor(example.target), reduction="none"
            )
        )
    torch.cat(losses).mean().backward()
    for name, twin in twins.items():
        theirs = twin.grad
        assert theirs is not None and theirs.abs().max() > 0
        torch.testing.assert_close(found[name], theirs, atol=TOLERANCE, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["safety", "answerability", "certainty", "context_relevance", "jailbreak"]
)
def test_a_shipped_verdict_can_be_recomputed_with_peft(
    engine: Engine, plain_network: Any, name: str
) -> None:
    """From `token_ids` and `candidates` alone, as `chains check --tokens` prints them."""
    talk = engine.conversation(
        [Message(role="user", content="How many books does the library hold?")],
        [Document(id="a", text="The library of Elmsport opened in 1931 and holds 84,000 books.")],
    )
    if name == "certainty":
        talk.add("assistant", "It holds 84,000 books.")
    verdict = engine.call(talk, name)
    network = with_peft(plain_network, engine.catalogue.get(name).directory / "adapter")
    try:
        logs = []
        for run in verdict.candidates.values():
            ids = (*verdict.token_ids, *run)
            with torch.inference_mode():
                scores = network(torch.tensor([ids])).logits[0].double().log_softmax(-1)
            first = len(verdict.token_ids) - 1
            logs.append(sum(float(scores[first + i, token]) for i, token in enumerate(run)))
    finally:
        network.unload()
    expected = torch.tensor(logs).softmax(0).tolist()
    assert list(verdict.raw_distribution.values()) == pytest.approx(expected, abs=TOLERANCE)
