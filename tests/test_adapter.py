"""Adapter directories: what is wrong with one is told, and a good one is never lost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import random_adapter, tiny_engine, tiny_network, write_intrinsic
from intrinsics.adapter import Adapter, recover_directory
from intrinsics.engine import Engine
from intrinsics.errors import AdapterError
from intrinsics.lora import Adapted
from intrinsics.messages import Message
from intrinsics.model import Model

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    random_adapter(Model(tiny_network())).save(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3', only LORA is supported"),
        ({"lora_alpha": None}, "lora_alpha is None; it must be a number above 0"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan"),
        ({"r": 0}, "r is 0; it must be a number above 0"),
        ({"alora_invocation_tokens": 5}, "must be a list of token ids"),
        ({"alora_invocation_tokens": "ab"}, "must be a list of token ids"),
        ({"alora_invocation_tokens": []}, "must be a list of token ids"),
        ({"use_dora": True}, "use_dora = True is not supported"),
        ({"use_qalora": True}, "use_qalora = True is not supported"),
        ({"init_lora_weights": "pissa"}, "'pissa' changes the base model's own weights"),
    ],
)
def test_a_configuration_that_would_be_computed_wrongly_is_refused(
    directory: Path, changes: dict[str, Any], message: str
) -> None:
    path = directory / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(AdapterError, match=message):
        Adapter.load(directory)


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), ("[]", "not a JSON obj")])
def test_a_broken_configuration_is_named(directory: Path, text: str, message: str) -> None:
    (directory / CONFIG).write_text(text)
    with pytest.raises(AdapterError, match=message):
        Adapter.load(directory)


@pytest.mark.parametrize("kind", ["lora_A", "lora_B"])
def test_half_a_pair_is_named(directory: Path, kind: str) -> None:
    weights = load_file(directory / WEIGHTS)
    del weights[next(key for key in weights if kind in key)]
    save_file(weights, directory / WEIGHTS)
    with pytest.raises(AdapterError, match=r"has no lora_[AB] beside it"):
        Adapter.load(directory)


def test_weights_that_are_missing_cut_pickled_or_not_finite_are_named(directory: Path) -> None:
    path = directory / WEIGHTS
    good = path.read_bytes()
    path.write_bytes(good[:100])
    with pytest.raises(AdapterError, match="not readable as safetensors"):
        Adapter.load(directory)
    path.unlink()
    with pytest.raises(AdapterError, match="weights are missing; train it with `chains train`"):
        Adapter.load(directory)
    (directory / "adapter_model.bin").write_bytes(b"\x80")
    with pytest.raises(AdapterError, match="a pickle, which is never loaded"):
        Adapter.load(directory)
    path.write_bytes(good)
    weights = load_file(path)
    weights[next(iter(weights))].fill_(torch.nan)
    save_file(weights, path)
    with pytest.raises(AdapterError, match="holds NaN or infinity"):
        Adapter.load(directory)


def test_an_adapter_on_the_output_layer_is_refused() -> None:
    model = Model(tiny_network())
    with pytest.raises(AdapterError, match="it acts on the output layer lm_head"):
        model.bank.add("head", random_adapter(model, targets=("lm_head",)))


def test_an_adapter_on_a_layer_that_does_not_see_all_tokens_is_refused() -> None:
    model = Model(tiny_network())
    model.bank.add("one", random_adapter(model, targets=("up_proj",)))
    layer = model.network.get_submodule("model.layers.0.mlp.up_proj")
    some_tokens = torch.zeros(2, 32)  # as an expert gets them, one by one
    with (
        pytest.raises(AdapterError, match=r"mlp\.up_proj for a tensor of shape \(2, 32\), not"),
        model.bank.active([Adapted("one", torch.arange(2))]),
    ):
        layer(some_tokens)


def test_an_adapter_of_other_shapes_is_refused() -> None:
    model = Model(tiny_network())
    adapter = random_adapter(Model(tiny_network("qwen3")))
    with pytest.raises(AdapterError, match="it was trained for another base model"):
        model.bank.add("other", adapter)


def test_without_a_fingerprint_the_names_must_agree(tmp_path: Path) -> None:
    engine = tiny_engine()
    directory = write_intrinsic(engine, tmp_path, "judge")
    path = directory / "adapter" / WEIGHTS
    save_file(load_file(path), path)  # as PEFT writes it
    talk = [Message(role="user", content="Hello?")]
    engine.call(engine.conversation(talk), directory)
    named = Engine(Model(tiny_network(), "huge"), engine.chat.tokenizer, engine.catalogue)
    with pytest.raises(AdapterError, match="made for 'tiny', but 'huge' is loaded"):
        named.call(named.conversation(talk), directory)


def test_others_may_read_what_was_saved(directory: Path) -> None:
    random_adapter(Model(tiny_network()), seed=9).save(directory)
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in directory.iterdir())


def test_a_failing_save_leaves_the_old_adapter(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (directory / WEIGHTS).read_bytes()
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target) == directory and "old" not in str(source):
            raise OSError("No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(AdapterError, match=r"could not be written .*No space left"):
        random_adapter(Model(tiny_network()), seed=9).save(directory)
    assert (directory / WEIGHTS).read_bytes() == before
    assert [path.name for path in directory.parent.iterdir()] == ["adapter"]


def test_a_save_killed_between_its_renames_is_finished(directory: Path) -> None:
    aside = directory.parent / ".adapter-old-x1"
    aside.mkdir()
    directory.rename(aside / "adapter")
    recover_directory(directory)
    assert Adapter.load(directory).modules
    assert not aside.exists()


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AdapterError, match="can't be written"):
        random_adapter(Model(tiny_network())).save(tmp_path / "file" / "adapter")
