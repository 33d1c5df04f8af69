"""PEFT as it is: adapters that it writes, logits that it computes, and the same in ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import load_file
from torch import Tensor

from conftest import tiny_network
from intrinsics.engine import Engine
from intrinsics.messages import Message
from intrinsics.model import Row
from intrinsics.spec import Definition

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
INVOCATION = "<|im_start|>polite\n"
DEFINITION = """\
# Written by hand, and kept as it is.
name: polite  # short
version: 1
judges: Whether the user's last message is polite.
reads: {last: user, documents: none}
instruction: ask.j2
invocation: "<|im_start|>polite\\n"
output: {type: enum, labels: [polite, rude], positive: rude}
base_model: tiny
"""
TALK = [Message(role="user", content="Would you be so kind?")]


def written_definition(directory: Path) -> Path:
    """A definition without an adapter, for what `saved_by_peft` writes."""
    directory.mkdir()
    (directory / "intrinsic.yaml").write_text(DEFINITION)
    (directory / "ask.j2").write_text("Is {{ messages[-1].content }} polite?")
    return directory


def saved_by_peft(
    engine: Engine, directory: Path, *, halves: bool = True, activated: bool = True, **settings: Any
) -> Path:
    """A random adapter as PEFT writes it, in float32; `halves`: of numbers that float16 has."""
    invocation = engine.chat.control(INVOCATION) if activated else None
    default: dict[str, Any] = {"r": 6, "lora_alpha": 12, "target_modules": ["q_proj", "v_proj"]}
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", alora_invocation_tokens=invocation, **{**default, **settings}
    )
    torch.manual_seed(3)
    network = peft.get_peft_model(tiny_network(), config)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.3)
                weight.copy_(weight.half().float() if halves else weight)
    network.save_pretrained(str(directory))
    return directory


def in_peft(network: Any, directory: Path, ids: tuple[int, ...]) -> Tensor:
    """All logits of PEFT's own model, with the adapter of a directory."""
    oracle = peft.PeftModel.from_pretrained(network, str(directory))
    oracle.train(False)
    try:
        with torch.inference_mode():
            logits: Tensor = oracle(torch.tensor([ids])).logits[0]
            return logits
    finally:
        oracle.unload()


def in_ours(engine: Engine, intrinsic: str | Path, ids: tuple[int, ...]) -> Tensor:
    """The same of our engine; of an aLoRA from the invocation, which is last, on."""
    ready = engine.intrinsic(intrinsic)
    start = len(ids) - len(ready.invocation) if ready.activated else 0
    branch = engine.model.tree.branch()
    with torch.inference_mode():
        if start:
            engine.model.prefill(branch, ids[:start])
        own = ids[start:]
        row = Row(own, branch, adapter=ready.name, read=tuple(range(len(own))))
        return engine.model.forward([row])[0]


def ids_for(engine: Engine, directory: Path) -> tuple[int, ...]:
    invocation = engine.chat.control(Definition.load(directory).invocation)
    return (*engine.conversation(TALK).ids, *invocation)


def assert_same_adapter(one: Path, other: Path) -> None:
    """Weights to the bit (the header of a file has no fixed order), and the same settings."""
    told = [json.loads((directory / CONFIG).read_text()) for directory in (one, other)]
    assert {"alpha_pattern": {}} | told[0] == told[1]
    first, second = load_file(one / WEIGHTS), load_file(other / WEIGHTS)
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert weight.dtype == second[name].dtype and torch.equal(weight, second[name])


def changed(source: Path, **settings: Any) -> None:
    """Change settings in adapter_config.json."""
    path = source / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
