"""PEFT's training of an Activated LoRA, as well as it can be done: the peer of ours.

Rows are padded on the left, so that the label tokens stand at the end of all, and only their
logits are computed (a trainer that asks for all logits takes longer). Every step is that of ours:
batches, loss, schedule, clipping and optimiser.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from intrinsics.learner import schedule
from intrinsics.prepared import Prepared
from intrinsics.readout import Ids
from intrinsics.train_settings import TrainSettings


class PeftTraining:
    """One adapter in training by PEFT."""

    def __init__(
        self,
        network: PreTrainedModel,
        invocation: Ids,
        settings: TrainSettings,
        weights: Mapping[str, Tensor],
        pad: int,
    ) -> None:
        """`weights` are those it begins with, named as ours."""
        from peft import LoraConfig, get_peft_model  # a development extra

        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.rank,
            lora_alpha=int(settings.alpha),
            target_modules=list(settings.targets),
            alora_invocation_tokens=list(invocation),
        )
        with warnings.catch_warnings():
            # peft asks transformers by the name a property had before
            warnings.filterwarnings("ignore", ".is_gradient_checkpointing.", FutureWarning)
            self._model: Any = get_peft_model(network, config)
        self._settings = settings
        self._invocation = invocation
        self._pad = pad
        self._weights = {
            name: self._model.get_parameter(
                f"base_model.model.{name[:-2]}.lora_{name[-1].upper()}.default.weight"
            )
            for name in weights
        }
        self.copy(weights)

    @torch.no_grad()
    def copy(self, weights: Mapping[str, Tensor]) -> None:
        """Go on with these weights. Changes: the model."""
        for name, weight in self._weights.items():
            weight.copy_(weights[name])

    def train(self, examples: Sequence[Prepared], batches: Sequence[Sequence[int]]) -> list[float]:
        """All steps of all epochs; the loss of each. Changes: the weights."""
        settings, losses = self._settings, []
        optimizer = torch.optim.AdamW(
            self._weights.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        for i, batch in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * schedule(i, len(batches), settings.warmup)
            optimizer.zero_grad()
            loss = self._loss([examples[j] for j in batch])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._weights.values(), 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    def gradients(self, examples: Sequence[Prepared]) -> dict[str, Tensor]:
        """The gradient of a batch's loss, by our names of the weights."""
        loss = self._loss(examples)
        found = torch.autograd.grad(loss, list(self._weights.values()))
        return dict(zip(self._weights, found, strict=True))

    def _loss(self, examples: Sequence[Prepared]) -> Tensor:
        texts = [(*e.prefix, *e.suffix.ids, *e.target) for e in examples]
        longest = max(map(len, texts))
        read = max(len(example.target) for example in examples) + 1
        gaps = [longest - len(text) for text in texts]
        ids = [[self._pad] * gap + list(text) for gap, text in zip(gaps, texts, strict=True)]
        mask = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in gaps])
        output = self._model(
            input_ids=torch.tensor(ids),
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            logits_to_keep=read,
            use_cache=False,
        )
        logits = [
            row[read - 1 - len(example.target) : -1]
            for row, example in zip(output.logits, examples, strict=True)
        ]
        targets = torch.tensor([token for example in examples for token in example.target])
        return torch.nn.functional.cross_entropy(torch.cat(logits), targets)
