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

from .checkpoint import Progress
from .errors import BaseModelError

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
_WEIGHTS_SHARE = 0.8  # of the progress; the rest is writing and the tokenizer


def convert(source: Path, target: Path, name: str, progress: Progress) -> None:
    """Write config, weights and tokenizer of `source` into the existing directory `target`.

    Raises: BaseModelError: the file is corrupt, or of an architecture other than Llama.
    """
    progress(f"converting {name}", 0.0)
    try:
        reader = gguf.GGUFReader(source)
        fields = {key: field.contents() for key, field in reader.fields.items()}
        config = _config(fields, source)
        weights = _weights(
            reader, config, source, lambda done: progress(f"converting {name}", done)
        )
        config["tie_word_embeddings"] = "lm_head.weight" not in weights
        _save(weights, target / "model.safetensors")
        _write_config(config, target)
        _write_tokenizer(fields, source, target)
    except (BaseModelError, OSError):
        raise
    except Exception as error:  # the reader raises whatever a broken file leads to
        raise BaseModelError(
            f"{source}: not a GGUF file that can be converted ({type(error).__name__}: {error}); "
            f"reinstall the package it came with"
        ) from error
    progress(f"converting {name}", 1.0)


def _weights(
    reader: gguf.GGUFReader,
    config: dict[str, Any],
    source: Path,
    progress: Callable[[float], None],
) -> dict[str, NDArray[np.float16]]:
    weights: dict[str, NDArray[np.float16]] = {}
    for i, tensor in enumerate(reader.tensors):
        key = _checkpoint_key(tensor.name, source)
        full = gguf.dequantize(tensor.data, tensor.tensor_type)
        weights[key] = unpermuted(key, full, config).astype(np.float16)
        progress(_WEIGHTS_SHARE * (i + 1) / len(reader.tensors))
    return weights


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


def _config(fields: dict[str, Any], source: Path) -> dict[str, Any]:
    architecture = fields.get("general.architecture")
    if architecture != "llama":
        raise BaseModelError(f"{source}: a GGUF of {architecture!r}; only Llama ones are converted")
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


def _write_config(config: dict[str, Any], target: Path) -> None:
    special = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write_json(target / "config.json", config)
    _write_json(target / "generation_config.json", special)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def _write_tokenizer(fields: dict[str, Any], source: Path, target: Path) -> None:
    """Byte-level BPE with single digits, as SmolLM2's own tokenizer is."""
    kind = fields.get("tokenizer.ggml.pre")
    if kind != "smollm":
        raise BaseModelError(f"{source}: pre-tokenizer {kind!r}; only that of SmolLM2 is converted")
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    types: list[int] = fields["tokenizer.ggml.token_type"]
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    pairs = (merge.partition(" ") for merge in fields["tokenizer.ggml.merges"])
    merges = [(left, right) for left, _, right in pairs]
    _save_tokenizer(tokens, merges, control, target / "tokenizer.json")
    special = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": fields["llama.context_length"],
        "additional_special_tokens": control,
        **{
            f"{ours}_token": tokens[fields[f"tokenizer.ggml.{theirs}_token_id"]]
            for ours, theirs in special.items()
        },
    }
    _write_json(target / "tokenizer_config.json", settings)
    (target / "chat_template.jinja").write_text(fields["tokenizer.chat_template"])


def _save_tokenizer(
    tokens: list[str], merges: list[tuple[str, str]], control: list[str], path: Path
) -> None:
    import tokenizers as tk  # heavy, and only a conversion needs it

    tokenizer = tk.Tokenizer(tk.models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = tk.pre_tokenizers.Sequence(
        [
            tk.pre_tokenizers.Digits(individual_digits=True),
            tk.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = tk.decoders.ByteLevel()
    special = [tk.AddedToken(token, special=True, normalized=False) for token in control]
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(path))
