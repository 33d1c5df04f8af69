"""Tiny random networks of every architecture that is tested: two layers, the same for a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

SIZES: dict[str, Any] = {
    "vocab_size": 260,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
WINDOW_TOKENS = 8  # shorter than every text of the tests


@dataclass(frozen=True)
class Tiny:
    """How to build a tiny network, by the names of its classes, so that only these are imported.

    `kind` begins the name of both classes, but for a `config` of another name. `extra` comes on
    top of `SIZES`; `targets` are the linear layers that the tests' adapters act on; `path` is
    what `attention_path` must say, and for a network in `REFUSED` `refusal` what the error must.
    """

    kind: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    path: str = "fused"
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    config: str = ""
    refusal: str = ""


_GRANITE = {
    "attention_multiplier": 0.2,
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.5,
    "logits_scaling": 2.0,
}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_HYBRID = {
    **_GRANITE,
    **_EXPERTS,
    "shared_intermediate_size": 24,
    "mamba_n_heads": 4,
    "mamba_d_state": 8,
}
_WINDOW = {"sliding_window": WINDOW_TOKENS}
_MIXED = {**_WINDOW, "layer_types": ["sliding_attention", "full_attention"], "head_dim": 16}
# a cap near the scores' own size, so that it bends them
_GEMMA = {**_MIXED, "attn_logit_softcapping": 1.0}
_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # inside the vocabulary
_ROPE = {"rope_theta": 10000.0, "factor": 32.0}
_LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 12,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
_FUSED = ("qkv_proj", "o_proj", "gate_up_proj")  # Phi-3's layers: q, k and v in one

NETWORKS: dict[str, Tiny] = {
    "llama": Tiny("Llama"),
    "qwen2": Tiny("Qwen2"),
    "qwen3": Tiny("Qwen3", {"head_dim": 16}),
    "granite": Tiny("Granite", _GRANITE),
    "granitemoe": Tiny("GraniteMoe", {**_GRANITE, **_EXPERTS}),
    "granitemoehybrid": Tiny(
        "GraniteMoeHybrid",
        {**_HYBRID, "layer_types": ["attention"] * 2, "position_embedding_type": "rope"},
    ),
    "mistral": Tiny("Mistral", _WINDOW, "windowed"),
    "phi3": Tiny("Phi3", _IDS, targets=_FUSED),
    "phi3-windowed": Tiny("Phi3", {**_IDS, **_WINDOW}, "windowed", _FUSED),
    # its second layer knows no positions
    "smollm3": Tiny("SmolLM3", {**_IDS, "no_rope_layer_interval": 2}),
    "gemma2": Tiny("Gemma2", _GEMMA, "soft-capped, windowed"),
    # its configuration has a cap too, which transformers' attention never applies
    "gemma3": Tiny("Gemma3", _GEMMA, "windowed", config="Gemma3TextConfig"),
    "gpt_oss": Tiny(
        "GptOss",
        {
            **_MIXED,
            **_EXPERTS,
            "rope_parameters": {
                **_ROPE,
                "rope_type": "yarn",
                "original_max_position_embeddings": 16,
            },
        },
        "windowed, sinks",
    ),
    # its attention takes a view of the result, then gates it
    "afmoe": Tiny(
        "Afmoe",
        {
            **_MIXED,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "num_dense_layers": 1,
        },
        "windowed",
    ),
    "deepseek_v3": Tiny("DeepseekV3", _LATENT, "uneven", ("q_b_proj", "kv_b_proj", "o_proj")),
}

REFUSED: dict[str, Tiny] = {
    "granitemoehybrid-mamba": Tiny(
        "GraniteMoeHybrid",
        {**_HYBRID, "layer_types": ["mamba", "attention"]},
        refusal=r"1 of its 2 layers \(linear_attention\) keep one running state",
    ),
    "llama4_text": Tiny(
        "Llama4",
        {**_IDS, **_EXPERTS, "layer_types": ["chunked_attention", "full_attention"]},
        config="Llama4TextConfig",
        refusal=r"layers of type \['chunked_attention'\] are not supported",
    ),
    "bloom": Tiny("Bloom", refusal="its attention can't be replaced"),
    "llama-dynamic": Tiny(
        "Llama",
        {"rope_parameters": {**_ROPE, "rope_type": "dynamic"}},
        refusal="positions of type 'dynamic' change with the length",
    ),
    "phi3-longrope": Tiny(
        "Phi3",
        {
            **_IDS,
            "original_max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": [1.0] * 4,
                "long_factor": [2.0] * 4,
            },
        },
        refusal="positions of type 'longrope' change with the length",
    ),
    "phimoe": Tiny("Phimoe", _WINDOW, refusal="layer 0 has a window of 8 tokens"),
    "gemma3-bidirectional": Tiny(
        "Gemma3",
        {**_MIXED, "use_bidirectional_attention": True},
        config="Gemma3TextConfig",
        refusal="in layer 0 a token sees those after it",
    ),
    "doge": Tiny("Doge", refusal="layer 0 changes its attention by a mask"),
    "diffllama": Tiny("DiffLlama", refusal="layer 0 reaches the attention function 2 times"),
    "nemotron": Tiny("Nemotron", refusal="layer 0 reaches the attention function 0 times"),
}


def tiny_network(architecture: str = "llama", seed: int = 0) -> PreTrainedModel:
    """A two-layer random network, the same for the same seed."""
    tiny = NETWORKS.get(architecture) or REFUSED[architecture]
    config = getattr(transformers, tiny.config or f"{tiny.kind}Config")
    kind = getattr(transformers, f"{tiny.kind}ForCausalLM")
    torch.manual_seed(seed)
    network: PreTrainedModel = kind(config(**{**SIZES, **tiny.extra}))
    fill(network)
    network.train(False)
    return network


@torch.no_grad()
def fill(network: PreTrainedModel) -> None:
    """Random weights as a stored checkpoint has them, rounded to float16; biases and sinks too."""
    named = dict(network.named_parameters())
    matrices = [p for p in named.values() if p.ndim > 1]
    vectors = [p for name, p in named.items() if p.ndim == 1 and "norm" not in name]
    for parameter in (*matrices, *vectors):
        parameter.normal_(0, 0.15).copy_(parameter.half())
