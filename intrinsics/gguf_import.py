"""Turn a GGUF file of a Llama-like model into a checkpoint that transformers loads.

The weights are rounded once to float16, and that checkpoint is the base model from then on: what
is packed in float16 later loses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from .errors import BaseModelError

Progress = Callable[[str, float], None]

_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_CONTROL = 3  # GGUF's token type of a control token
_SOURCE_SHARE = 0.8  # of the progress; the rest is writing and the tokenizer


def convert(source: Path, target: Path, name: str, progress: Progress) -> None:
    """Write config, weights and tokenizer of `source` into the existing directory `target`.

    Raises: BaseModelError: the file is corrupt, or of an architecture other than Llama.
    """
    progress(f"reading {source.name}", 0.0)
    try:
        reader = gguf.GGUFReader(source)
    except Exception as error:  # the reader raises whatever a broken header leads to
        raise BaseModelError(f"{source}: not a readable GGUF file ({error}); reinstall it") from error
    fields = {key: field.contents() for key, field in reader.fields.items()}
    if fields.get("general.architecture") != "llama":
        architecture = fields.get("general.architecture")
        raise BaseModelError(f"{source}: a GGUF of {architecture!r}; only Llama ones are converted")
    config = _config(fields)
    weights: dict[str, NDArray[np.float16]] = {}
    for i, tensor in enumerate(reader.tensors):
        key = _checkpoint_key(tensor.name, source)
        full = gguf.dequantize(tensor.data, tensor.tensor_type)
        weights[key] = unpermuted(key, full, config).astype(np.float16)
        progress(f"converting {name}", _SOURCE_SHARE * (i + 1) / len(reader.tensors))
    config["tie_word_embeddings"] = "lm_head.weight" not in weights
    _save(weights, target / "model.safetensors")
    _write_json(target / "config.json", config)
    _write_json(
        target / "generation_config.json",
        {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
    )
    progress("writing the tokenizer", 0.95)
    _write_tokenizer(fields, target)
    progress("done", 1.0)


def unpermuted(key: str, weight: NDArray[Any], config: dict[str, Any]) -> NDArray[Any]:
    """Undo GGUF's row order of q and k: it interleaves the two halves that rotary turns together.

    Shapes: (heads * head_dim, hidden) in and out; other weights are returned as they are.
    """
    heads = {
        "q_proj": config["num_attention_heads"],
        "k_proj": config["num_key_value_heads"],
    }.get(key.split(".")[-2])
    if heads is None:
        return weight
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def _checkpoint_key(name: str, source: Path) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in _TOP:
        return f"{_TOP[stem]}.{kind}"
    parts = stem.split(".")
    if len(parts) == 3 and parts[0] == "blk" and parts[2] in _LAYER:
        return f"model.layers.{parts[1]}.{_LAYER[parts[2]]}.{kind}"
    raise BaseModelError(f"{source}: unexpected tensor {name!r}; this model is not supported")


def _config(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float16",
        "hidden_act": "silu",
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "max_position_embeddings": fields["llama.context_length"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "rms_norm_eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": fields["llama.rope.freq_base"],
        "vocab_size": fields["llama.vocab_size"],
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
    }


def _save(weights: dict[str, NDArray[np.float16]], path: Path) -> None:
    from safetensors.numpy import save_file  # heavy, and only a conversion needs it

    save_file({k: np.ascontiguousarray(w) for k, w in weights.items()}, path, {"format": "pt"})


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def _write_tokenizer(fields: dict[str, Any], target: Path) -> None:
    """Byte-level BPE with single digits, as SmolLM2's own tokenizer is."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # heavy, as above

    if fields.get("tokenizer.ggml.pre") != "smollm":
        raise BaseModelError(
            f"a GGUF with the pre-tokenizer {fields.get('tokenizer.ggml.pre')!r}; only that of "
            f"SmolLM2 is converted"
        )
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = fields["tokenizer.ggml.token_type"]
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    tokenizer.save(str(target / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": fields["llama.context_length"],
        "additional_special_tokens": control,
        **{
            name: tokens[fields[f"tokenizer.ggml.{key}_token_id"]]
            for name, key in {
                "bos_token": "bos",
                "eos_token": "eos",
                "unk_token": "unknown",
                "pad_token": "padding",
            }.items()
        },
    }
    _write_json(target / "tokenizer_config.json", settings)
    (target / "chat_template.jinja").write_text(fields["tokenizer.chat_template"])
