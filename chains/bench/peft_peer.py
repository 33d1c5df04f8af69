"""PEFT at its best on the same weights: the base cache handed over by hand, offsets passed right.

PEFT looks for the invocation in the tokens of each forward. With a cache handed over and one token
a step it would find none and fall back to the base model without a word, so every forward here is
given `alora_offsets`: how many of its tokens are adapted. The cache is cropped, never copied.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from intrinsics.errors import RequestError


def require_peft() -> Any:
    """PEFT's model class. Raises: RequestError: peft is not installed."""
    try:
        from peft import PeftModel  # a development extra
    except ImportError as error:
        raise RequestError(
            "this benchmark needs peft: pip install 'alora-chains[bench]'"
        ) from error
    return PeftModel


class PeftPeer:
    """Several adapters loaded into one PEFT model."""

    def __init__(self, network: PreTrainedModel, directories: Sequence[Path]) -> None:
        """Load the adapters. Raises: RequestError: peft is not installed."""
        self.names = [directory.name for directory in directories]
        first, *others = zip(self.names, map(str, directories), strict=True)
        with warnings.catch_warnings():
            # peft asks transformers by the name a property had before
            warnings.filterwarnings("ignore", ".is_gradient_checkpointing.", FutureWarning)
            self.model: Any = require_peft().from_pretrained(
                network, first[1], adapter_name=first[0]
            )
            for name, directory in others:
                self.model.load_adapter(directory, adapter_name=name)
        self.model.train(False)

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int]) -> DynamicCache:
        """The base model's cache of a context."""
        cache = DynamicCache()
        with self.model.disable_adapter():
            self._forward(ids, cache, None)
        return cache

    @torch.inference_mode()
    def turn(self, cache: DynamicCache, pending: Sequence[int], reply: Sequence[int]) -> None:
        """The base model's reply, greedy; the ids fed are those of `reply`, whatever it chose.

        Changes: the cache, which gets the pending ids and the reply but its last id.
        """
        with self.model.disable_adapter():
            self._decode(self._forward(pending, cache, None), cache, None, len(reply), reply)

    @torch.inference_mode()
    def activated(
        self, name: str, cache: DynamicCache, invocation: Sequence[int], tokens: int
    ) -> Tensor:
        """An aLoRA's answer of `tokens` tokens on a base cache, greedy; the first one's logits.

        Changes: nothing; the cache is cropped to its length before.
        """
        length = cache.get_seq_length()
        self.model.set_adapter(name)
        first = self._forward(invocation, cache, len(invocation))
        self._decode(first, cache, 1, tokens)
        cache.crop(length - cache.get_seq_length())
        return first

    @torch.inference_mode()
    def verdict(
        self,
        name: str,
        cache: DynamicCache,
        pending: Sequence[int],
        invocation: Sequence[int],
        answer: Sequence[int],
    ) -> list[Tensor]:
        """An aLoRA's logits for each id of an answer that is fed to it, on a base cache.

        The pending ids are the base model's and ride in the invocation's forward.
        Changes: the cache, which gets the pending ids alone.
        """
        kept = cache.get_seq_length() + len(pending)
        self.model.set_adapter(name)
        first = self._forward([*pending, *invocation], cache, len(invocation))
        found = self._decode(first, cache, 1, len(answer), answer)
        cache.crop(kept - cache.get_seq_length())
        return found

    @torch.inference_mode()
    def ordinary(
        self, name: str, ids: Sequence[int], tokens: int, answer: Sequence[int] = ()
    ) -> Tensor:
        """A LoRA's answer of `tokens` tokens: everything is prefilled anew with it.

        Where `answer` is given its ids are fed, whatever the LoRA chose. The first one's logits.
        """
        self.model.set_adapter(name)
        cache = DynamicCache()
        first = self._forward(ids, cache, None)
        self._decode(first, cache, None, tokens, answer)
        return first

    def _decode(
        self,
        first: Tensor,
        cache: DynamicCache,
        adapted: int | None,
        tokens: int,
        fed: Sequence[int] = (),
    ) -> list[Tensor]:
        """The logits of `tokens` tokens, `first` among them; the last one is not run."""
        found = [first]
        for i in range(tokens - 1):
            chosen = int(found[-1].argmax())  # also where another is fed: the work is the same
            found.append(self._forward([fed[i] if fed else chosen], cache, adapted))
        return found

    def _forward(self, ids: Sequence[int], cache: DynamicCache, adapted: int | None) -> Tensor:
        offsets = {} if adapted is None else {"alora_offsets": [adapted]}
        output = self.model(
            input_ids=torch.tensor([list(ids)]),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **offsets,
        )
        logits: Tensor = output.logits[0, -1]
        return logits
