"""transformers' own greedy `generate`, the peer of our decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel


def generated(network: PreTrainedModel, ids: Sequence[int], tokens: int, pad: int) -> list[int]:
    """The ids of a reply of at most `tokens` tokens, its end token included."""
    model: Any = network  # its mixins are not typed
    prompt = torch.tensor([list(ids)])
    with torch.inference_mode():
        found = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=pad,
        )
    reply: list[int] = found[0, len(ids) :].tolist()
    return reply
