"""Fixtures: tiny random models for exact equality, and one loaded engine for behaviour."""

from __future__ import annotations

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

SIZES = {
    "vocab_size": 260,
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
                parameter.normal_(0, 0.15).copy_(parameter.half())  # as a stored checkpoint
    return network.eval()


CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer(chat_template: str | None = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    """One token for each byte, and the control tokens of a chat."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    controls = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens([AddedToken(c, special=True, normalized=False) for c in controls])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", chat_template=chat_template
    )


@pytest.fixture(params=["llama", "qwen3", "granite"])
def architecture(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
