"""What would be computed wrongly is refused at loading; what is accepted is computed right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PhimoeConfig,
    PhimoeForCausalLM,
    PreTrainedModel,
)

from conftest import SIZES, tiny_network
from intrinsics.errors import BaseModelError
from intrinsics.model import Model, Row

IDS = tuple(range(3, 40))


def windowed(kind: type[Any], config: type[Any], **extra: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    network: PreTrainedModel = kind(config(**SIZES, sliding_window=8, **extra))
    network.train(False)
    return network


@pytest.mark.parametrize(
    ("kind", "config", "extra"),
    [
        (MistralForCausalLM, MistralConfig, {}),
        (
            Gemma3ForCausalLM,
            Gemma3TextConfig,
            {
                "head_dim": 8,
                "query_pre_attn_scalar": 8,
                "layer_types": ["sliding_attention", "full_attention"],
            },
        ),
    ],
)
@torch.inference_mode()
def test_a_window_is_kept_across_reused_keys_and_values(
    kind: type[Any], config: type[Any], extra: dict[str, Any]
) -> None:
    plain = windowed(kind, config, **extra)
    plain.set_attn_implementation("eager")
    expected = plain(torch.tensor([IDS]), use_cache=False).logits[0]
    model = Model(windowed(kind, config, **extra))
    branch = model.tree.branch()
    model.prefill(branch, IDS[:20])
    rest = IDS[20:]
    found = model.forward([Row(rest, branch, read=tuple(range(len(rest))))])[0]
    # float32 rounding of sums taken in another order
    torch.testing.assert_close(found, expected[20:], atol=2e-5, rtol=0)


def test_a_window_that_only_the_mask_knows_is_refused() -> None:
    with pytest.raises(BaseModelError, match="layer 0 has a window of 8 tokens"):
        Model(windowed(PhimoeForCausalLM, PhimoeConfig))


def test_positions_that_depend_on_the_length_are_refused() -> None:
    config = LlamaConfig(
        **SIZES, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    )
    with pytest.raises(BaseModelError, match="positions of type 'dynamic' change with the length"):
        Model(LlamaForCausalLM(config))


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
