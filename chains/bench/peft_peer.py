"""PEFT at its best on the same weights: the base cache handed over by hand, offsets passed right.

PEFT looks for the invocation in the tokens of each forward. With a cache handed over and one token
a step it would find none and fall back to the base model without a word, so every forward here is
given `alora_offsets`: how many of its tokens are adapted. The cache is cropped, never copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from intrinsics.errors import RequestError


class PeftPeer:
    """Several adapters loaded into one PEFT model."""

    def __init__(self, network: PreTrainedModel, directories: Sequence[Path]) -> None:
        """Load the adapters. Raises: RequestError: peft is not installed."""
        try:
            from peft import PeftModel  # a development extra
        except ImportError as error:
            raise RequestError("this benchmark needs peft: pip install peft") from error
        self.names = [directory.name for directory in directories]
        self.model: Any = PeftModel.from_pretrained(
            network, str(directories[0]), adapter_name=self.names[0]
        )
        for name, directory in zip(self.names[1:], directories[1:], strict=True):
            self.model.load_adapter(str(directory), adapter_name=name)
        self.model.train(False)

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int]) -> DynamicCache:
        """The base model's cache of a context."""
        cache = DynamicCache()
        with self.model.disable_adapter():
            self.model(
                input_ids=torch.tensor([list(ids)]),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return cache

    @torch.inference_mode()
    def activated(
        self, name: str, cache: DynamicCache, invocation: Sequence[int], tokens: int
    ) -> Tensor:
        """An aLoRA's answer of `tokens` tokens on a base cache, greedy; the first one's logits.

        Changes: nothing; the cache is cropped to its length before.
        """
        length = cache.get_seq_length()
        self.model.set_adapter(name)
        logits = self._forward(list(invocation), cache, len(invocation))
        first = logits
        for _ in range(tokens - 1):
            logits = self._forward([int(logits.argmax())], cache, 1)
        cache.crop(length - cache.get_seq_length())
        return first

    @torch.inference_mode()
    def ordinary(self, name: str, ids: Sequence[int], tokens: int) -> Tensor:
        """A LoRA's answer of `tokens` tokens: everything is prefilled anew with it."""
        self.model.set_adapter(name)
        cache = DynamicCache()
        logits = self._forward(list(ids), cache, None)
        first = logits
        for _ in range(tokens - 1):
            logits = self._forward([int(logits.argmax())], cache, None)
        return first

    def _forward(self, ids: list[int], cache: DynamicCache, adapted: int | None) -> Tensor:
        offsets = {} if adapted is None else {"alora_offsets": [adapted]}
        output = self.model(
            input_ids=torch.tensor([ids]),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **offsets,
        )
        logits: Tensor = output.logits[0, -1]
        return logits
