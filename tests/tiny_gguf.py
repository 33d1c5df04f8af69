"""A tiny GGUF file as llama.cpp's converter would write it, and the weights it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from tokenizers import pre_tokenizers

CONTROL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOKENS = [*CONTROL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet()), "th", "the"]
HEADS, KV_HEADS, HIDDEN, INNER = 4, 2, 32, 48


def original_weights() -> dict[str, NDArray[np.float16]]:
    """Random weights of one tiny Llama layer, as transformers names and orders them."""
    random = np.random.default_rng(0)
    head = HIDDEN // HEADS
    layer = {
        "input_layernorm": (HIDDEN,),
        "post_attention_layernorm": (HIDDEN,),
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.k_proj": (KV_HEADS * head, HIDDEN),
        "self_attn.v_proj": (KV_HEADS * head, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "mlp.gate_proj": (INNER, HIDDEN),
        "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }
    shapes = {f"model.layers.0.{name}.weight": shape for name, shape in layer.items()}
    shapes |= {"model.embed_tokens.weight": (len(TOKENS), HIDDEN), "model.norm.weight": (HIDDEN,)}
    return {name: random.normal(size=shape).astype(np.float16) for name, shape in shapes.items()}


def gguf_order(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """How llama.cpp's converter reorders the rows of q and k: the naive twin, row by row."""
    half = weight.shape[0] // heads // 2
    rows = [
        weight[head * 2 * half + part * half + i]
        for head in range(heads)
        for i in range(half)
        for part in range(2)
    ]
    return np.stack(rows)


def write_gguf(path: Path, architecture: str = "llama", pre: str = "smollm") -> None:
    """A tiny GGUF file as llama.cpp's converter would write it."""
    names = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    names = {f"model.layers.0.{ours}": f"blk.0.{theirs}" for ours, theirs in names.items()}
    names |= {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_context_length(64)
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * len(CONTROL_TOKENS) + [1] * (len(TOKENS) - len(CONTROL_TOKENS)))
    writer.add_token_merges(["t h", "th e"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    for name, weight in original_weights().items():
        if name.endswith("q_proj.weight"):
            weight = gguf_order(weight, HEADS)
        elif name.endswith("k_proj.weight"):
            weight = gguf_order(weight, KV_HEADS)
        writer.add_tensor(names[name.removesuffix(".weight")] + ".weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
