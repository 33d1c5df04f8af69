"""Which networks the engine computes right: found out before anything is computed with one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from .errors import BaseModelError

PROBE = "kv_tree_probe"
_LAYER_TYPES = {"full_attention", "sliding_attention"}
# transformers' names for Mamba and other recurrences, short convolutions, and mixtures with them
_STATEFUL = {"linear_attention", "conv", "hybrid", "hybrid_sliding"}
# Their angles depend on the longest row of a forward, so a token's keys would depend on the others.
_ROPE_BY_LENGTH = {"dynamic", "longrope"}
# Tensors that change nothing, or that `kv_tree_attention` computes. Any other may be a bias on the
# scores or a choice of keys, which it would ignore.
_KNOWN_TENSORS = {"s_aux", "position_ids", "cache_position"}


@dataclass(frozen=True)
class Told:
    """What one layer tells its attention beyond queries, keys and values.

    `even`: keys are as wide as values; `ignored` names tensors our attention would not look at.
    `token_bytes` are those of the keys and values of one token.
    """

    scaling: float
    window: int | None
    softcap: float | None
    sinks: bool
    even: bool
    causal: bool
    ignored: tuple[str, ...]
    token_bytes: int


def check_architecture(network: PreTrainedModel) -> tuple[Told, ...]:
    """Refuse what would be computed wrongly; return what each layer tells its attention.

    The cost is one forward of one token.
    Raises: BaseModelError: what it is.
    """
    name = type(network).__name__
    config = network.config.get_text_config()
    _check_layer_types(name, getattr(config, "layer_types", None) or [])
    if not getattr(network, "_supports_attention_backend", False):
        raise BaseModelError(f"{name}: its attention can't be replaced; use another base model")
    changing = _ROPE_BY_LENGTH.intersection(_rope_types(getattr(config, "rope_parameters", None)))
    if changing:
        raise BaseModelError(
            f"{name}: positions of type {changing.pop()!r} change with the length of the text, so "
            f"keys and values could not be reused; use a base model with fixed ones"
        )
    told = [_once(name, layer, calls) for layer, calls in enumerate(_probe(network))]
    windows = _windows(config)
    for layer, one in enumerate(told):
        _check_told(name, layer, one, windows.get(layer))
    return tuple(told)


def attention_path(layers: Sequence[Told], context_tokens: int) -> str:
    """How attention is computed on a CPU: "fused", or what keeps layers from it, then "sinks".

    fused: the kernel that gives its log-sum-exp. windowed: written out with a mask where a key
    lies beyond the window, else fused. soft-capped, uneven (keys not as wide as values): always
    written out in the layers that have it. sinks: one factor on what either way gave.
    """
    written_out = {
        "soft-capped": any(told.softcap is not None for told in layers),
        "uneven": any(not told.even for told in layers),
        "windowed": any(
            told.window is not None and told.window < context_tokens for told in layers
        ),
    }
    parts = [part for part, found in written_out.items() if found] or ["fused"]
    return ", ".join([*parts, "sinks"] if any(told.sinks for told in layers) else parts)


def _check_layer_types(name: str, types: Sequence[str]) -> None:
    stateful = [kind for kind in types if kind in _STATEFUL]
    if stateful:
        raise BaseModelError(
            f"{name}: {len(stateful)} of its {len(types)} layers ({', '.join(sorted({*stateful}))})"
            f" keep one running state, not keys and values of each token, so nothing could be "
            f"shared, forked or rolled back; use a base model with attention in every layer"
        )
    other = set(types) - _LAYER_TYPES
    if other:
        raise BaseModelError(
            f"{name}: layers of type {sorted(other)} are not supported, only "
            f"{sorted(_LAYER_TYPES)}; use another base model"
        )


def _once(name: str, layer: int, calls: Sequence[Told]) -> Told:
    """The one call of a layer: with two its keys would overwrite each other in the tree."""
    if len(calls) != 1:
        raise BaseModelError(
            f"{name}: layer {layer} reaches the attention function {len(calls)} times in a "
            f"forward, not once; use another base model"
        )
    return calls[0]


def _check_told(name: str, layer: int, told: Told, window: int | None) -> None:
    if window is not None and told.window != window:
        raise BaseModelError(
            f"{name}: layer {layer} has a window of {window} tokens that its attention is not "
            f"told of; use another base model"
        )
    if not told.causal:
        raise BaseModelError(
            f"{name}: in layer {layer} a token sees those after it, so keys and values would "
            f"change with every new token; use a base model that only looks back"
        )
    if told.ignored:
        raise BaseModelError(
            f"{name}: layer {layer} changes its attention by {', '.join(told.ignored)}, which is "
            f"not supported; use another base model"
        )


def _rope_types(parameters: Any) -> Iterator[str]:
    """Every `rope_type` in a configuration, those of single layer types included."""
    if isinstance(parameters, Mapping):
        if isinstance(parameters.get("rope_type"), str):
            yield parameters["rope_type"]
        for value in parameters.values():
            yield from _rope_types(value)


def _windows(config: Any) -> dict[int, int]:
    """The window of each layer that has one which matters within the model's context."""
    window = getattr(config, "sliding_window", None)
    used = getattr(config, "use_sliding_window", True) is not False
    if not window or not used or window >= config.max_position_embeddings:
        return {}
    types = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    return {i: window for i, kind in enumerate(types) if kind == "sliding_attention"}


@torch.no_grad()
def _probe(network: PreTrainedModel) -> list[list[Told]]:
    """What each layer tells its attention, call by call, from a forward of one token."""
    seen: dict[int, list[Told]] = {}
    before = network.config._attn_implementation
    network.set_attn_implementation(PROBE)
    try:
        network(
            input_ids=torch.zeros(1, 1, dtype=torch.long, device=network.device),
            use_cache=False,
            logits_to_keep=1,
            probe=seen,
        )
    finally:
        network.set_attn_implementation(before)
    return [seen.get(i, []) for i in range(network.config.get_text_config().num_hidden_layers)]


def _record(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    probe: dict[int, list[Told]] | None = None,
    **told: Any,
) -> tuple[Tensor, None]:
    """An attention that writes down what it is told, and gives the shape that is expected.

    A network that passes no keywords on to its attention leaves `probe` empty, and is refused.
    """
    if probe is not None:
        layer: int = module.layer_idx  # type: ignore[assignment]
        probe.setdefault(layer, []).append(_as_told(module, key, value, attention_mask, told))
    return query.new_zeros(query.shape[0], query.shape[2], query.shape[1], value.shape[3]), None


def _as_told(
    module: nn.Module, key: Tensor, value: Tensor, mask: Tensor | None, told: Mapping[str, Any]
) -> Told:
    tensors = {k for k, v in {**told, "a mask": mask}.items() if isinstance(v, Tensor)}
    causal, scaling = told.get("is_causal"), told.get("scaling")
    return Told(
        scaling=key.shape[-1] ** -0.5 if scaling is None else scaling,
        window=told.get("sliding_window"),
        softcap=told.get("softcap"),
        sinks=told.get("s_aux") is not None,
        even=key.shape[-1] == value.shape[-1],
        causal=bool(getattr(module, "is_causal", True) if causal is None else causal),
        ignored=tuple(sorted(tensors - _KNOWN_TENSORS)),
        token_bytes=sum(x.shape[1] * x.shape[3] * x.element_size() for x in (key, value)),
    )


AttentionInterface.register(PROBE, _record)
