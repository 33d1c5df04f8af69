"""Which networks the engine computes right: found out before anything is computed with one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from .errors import BaseModelError

PROBE = "kv_tree_probe"
TOKEN_BYTES = "token_bytes"  # what a layer's keys and values of one token take
_LAYER_TYPES = {"full_attention", "sliding_attention"}
# Their angles depend on the longest row of a forward, so a token's keys would depend on the others.
_ROPE_BY_LENGTH = {"dynamic", "longrope"}


Told = Mapping[int, Mapping[str, Any]]


def check_architecture(network: PreTrainedModel) -> Told:
    """Refuse what would be computed wrongly: recurrent layers, own attention, hidden windows.

    Returns what each layer tells its attention: scaling, window and the like.
    Raises: BaseModelError: what it is.
    """
    name = type(network).__name__
    config = network.config.get_text_config()
    types = set(getattr(config, "layer_types", None) or ["full_attention"])
    if not types <= _LAYER_TYPES:
        raise BaseModelError(
            f"{name}: layers of type {sorted(types - _LAYER_TYPES)} keep a state that is not "
            f"keys and values; only {sorted(_LAYER_TYPES)} are supported"
        )
    if not getattr(network, "_supports_attention_backend", False):
        raise BaseModelError(f"{name}: its attention can't be replaced; use another base model")
    changing = _ROPE_BY_LENGTH.intersection(_rope_types(getattr(config, "rope_parameters", None)))
    if changing:
        raise BaseModelError(
            f"{name}: positions of type {changing.pop()!r} change with the length of the text, so "
            f"keys and values could not be reused; use a base model with fixed ones"
        )
    seen = _probe(network)
    for layer, window in _windows(config).items():
        if seen.get(layer, {}).get("sliding_window") != window:
            raise BaseModelError(
                f"{name}: layer {layer} has a window of {window} tokens that its attention is not "
                f"told of; use another base model"
            )
    if any(told.get("indices") is not None for told in seen.values()):
        raise BaseModelError(f"{name}: its attention is sparse; use another base model")
    return seen


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
def _probe(network: PreTrainedModel) -> dict[int, dict[str, Any]]:
    """What each layer tells its attention, from a forward of one token."""
    seen: dict[int, dict[str, Any]] = {}
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
    return seen


def _told(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    probe: dict[int, dict[str, Any]],
    **told: Any,
) -> tuple[Tensor, None]:
    """An attention that writes down what it is told, and gives the shape that is expected."""
    layer: int = module.layer_idx  # type: ignore[assignment]
    size = sum(part.shape[1] * part.shape[3] * part.element_size() for part in (key, value))
    probe[layer] = {**told, TOKEN_BYTES: size}
    return query.new_zeros(query.shape[0], query.shape[2], query.shape[1], value.shape[3]), None


AttentionInterface.register(PROBE, _told)
