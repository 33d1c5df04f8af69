"""What would be computed wrongly is refused at loading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from intrinsics.errors import BaseModelError
from intrinsics.model import Model
from tiny_networks import REFUSED, tiny_network


@pytest.mark.parametrize("architecture", REFUSED)
def test_what_would_be_computed_wrongly_is_refused(architecture: str) -> None:
    with pytest.raises(BaseModelError, match=REFUSED[architecture].refusal):
        Model(tiny_network(architecture))


def test_a_tensor_that_attention_would_ignore_is_refused() -> None:
    network = tiny_network()

    def biased(_: nn.Module, args: Any, keywords: dict[str, Any]) -> Any:
        return args, {**keywords, "position_bias": torch.zeros(1, 4, 1, 1)}

    attention = network.get_submodule("model.layers.1.self_attn")
    attention.register_forward_pre_hook(biased, with_kwargs=True)
    with pytest.raises(BaseModelError, match="layer 1 changes its attention by position_bias"):
        Model(network)


def test_a_checkpoint_without_all_weights_is_refused(tmp_path: Path) -> None:
    tiny_network().save_pretrained(tmp_path)
    assert Model.load(tmp_path).name == ""
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(BaseModelError, match=r"1 weights .* missing .*layers\.1\.mlp\.up_proj"):
        Model.load(tmp_path)


def test_a_configuration_that_asks_for_more_layers_is_refused(tmp_path: Path) -> None:
    tiny_network().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(BaseModelError, match=r"weights that config\.json asks for are missing"):
        Model.load(tmp_path)
