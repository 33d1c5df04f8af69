"""Fixtures: tiny random models for exact equality, and one loaded engine for behaviour."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def tiny_network(architecture: str = "llama", seed: int = 0) -> PreTrainedModel:
    """A two-layer random network, the same for the same seed."""
    torch.manual_seed(seed)
    network: PreTrainedModel
    if architecture == "llama":
        network = LlamaForCausalLM(LlamaConfig(**SIZES))
    elif architecture == "qwen3":
        network = Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=16))
    elif architecture == "granite":
        network = GraniteForCausalLM(
            GraniteConfig(
                **SIZES,
                attention_multiplier=0.2,
                embedding_multiplier=3.0,
                residual_multiplier=0.5,
                logits_scaling=2.0,
            )
        )
    else:
        raise ValueError(architecture)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.15)
    return network.eval()


@pytest.fixture(params=["llama", "qwen3", "granite"])
def architecture(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
