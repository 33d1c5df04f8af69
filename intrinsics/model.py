"""A base model with two hooks: attention over the KV tree, and the adapter bank. No tokenizer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from .attention import ATTENTION, FreshRead, Plan, SharedRead, Span
from .errors import BaseModelError, ContextTooLong
from .kv import Branch, KVTree, Segment, Slot
from .lora import Adapted, AdapterBank

_LAYER_TYPES = {"full_attention", "sliding_attention"}


@dataclass(frozen=True)
class Row:
    """New tokens of one reader in a forward.

    It reads `branch`, then the new tokens of row `after` (and of those that one comes after),
    then its own. `adapter` acts from its token `active_from` on. `read` lists the tokens whose
    logits are wanted; with `store` the keys and values are appended to the branch.
    """

    tokens: tuple[int, ...]
    branch: Branch
    after: int | None = None
    adapter: str | None = None
    active_from: int = 0
    read: tuple[int, ...] = ()
    store: bool = False


class Model:
    """A causal language model of transformers, running packed rows on one KV tree."""

    def __init__(self, network: PreTrainedModel) -> None:
        """Take over a loaded network. Raises: BaseModelError: its attention can't be replaced."""
        _check_architecture(network)
        network.set_attn_implementation(ATTENTION)
        self.network = network.eval().requires_grad_(False)
        self.bank = AdapterBank(network)
        self.tree = KVTree()
        self.forwards = 0

    @staticmethod
    def load(directory: Path) -> Model:
        """Read a local directory of safetensors, as float32. Never touches the network.

        Raises: BaseModelError: not a model directory, or no safetensors in it.
        """
        if not (directory / "config.json").is_file():
            raise BaseModelError(f"{directory}: no config.json; give a model directory")
        if not any(directory.glob("*.safetensors")):
            raise BaseModelError(f"{directory}: no *.safetensors; other formats are not loaded")
        try:
            config = AutoConfig.from_pretrained(directory, local_files_only=True)
            network = AutoModelForCausalLM.from_pretrained(
                directory,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
            )
        except Exception as error:  # transformers raises many kinds for a broken directory
            raise BaseModelError(f"{directory}: the base model could not be loaded: {error}") from error
        return Model(network)

    @property
    def context_tokens(self) -> int:
        """The longest conversation the model was made for."""
        return int(self.network.config.get_text_config().max_position_embeddings)

    @property
    def device(self) -> torch.device:
        """Where the weights are. Untested on GPU."""
        return self.network.device

    def forward(self, rows: Sequence[Row]) -> list[Tensor]:
        """Run all rows in one forward; for each the logits of its `read` tokens.

        Shapes: each result (len(row.read), vocabulary). Changes: the branches of rows with
        `store`, once everything succeeded; on an error no branch has changed.
        Gradients flow only where the caller enabled them and an adapter's weights ask for them.
        Raises: ContextTooLong: a row would end beyond the model's context.
        """
        packed = _Packed(rows)
        self._check_length(packed)
        slots = [(span, _reserve(row)) for row, span in packed if row.store]
        try:
            logits = self._run(packed, slots)
        except BaseException:
            for _, slot in slots:
                slot.abandon()
            raise
        for _, slot in slots:
            slot.commit()
        self.forwards += 1
        return list(logits.split([len(row.read) for row in rows]))

    def _run(self, packed: _Packed, slots: Sequence[tuple[Span, Slot]]) -> Tensor:
        keep = [span.first + i for row, span in packed for i in row.read]
        positions = torch.cat(
            [torch.arange(span.position, span.position + span.tokens) for _, span in packed]
        )
        plan = packed.plan(positions.to(self.device), slots, torch.is_grad_enabled())
        adapted = [
            Adapted(row.adapter, torch.arange(span.first + row.active_from, span.where.stop))
            for row, span in packed
            if row.adapter is not None
        ]
        tokens = torch.tensor([[t for row, _ in packed for t in row.tokens]], device=self.device)
        with self.bank.active(adapted):
            output = self.network(
                input_ids=tokens,
                position_ids=plan.positions[None],
                use_cache=False,
                logits_to_keep=torch.tensor(keep or [0], device=self.device),
                plan=plan,
            )
        logits: Tensor = output.logits[0, : len(keep)]
        return logits

    def _check_length(self, packed: _Packed) -> None:
        longest = max(span.position + span.tokens for _, span in packed)
        if longest > self.context_tokens:
            raise ContextTooLong(
                f"{longest} tokens do not fit into the model's context of {self.context_tokens}; "
                f"shorten the documents or roll the conversation back"
            )


class _Packed:
    """Rows laid one after another in one sequence, and who of them reads what."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = tuple(rows)
        self.spans: list[Span] = []
        first = 0
        for row in self.rows:
            assert row.tokens, "a row has at least one token"
            position = row.branch.length
            if row.after is not None:
                before = self.spans[row.after]
                position = before.position + before.tokens
            self.spans.append(Span(first, len(row.tokens), position))
            first += len(row.tokens)

    def __iter__(self) -> Iterator[tuple[Row, Span]]:
        return zip(self.rows, self.spans, strict=True)

    def plan(
        self, positions: Tensor, slots: Sequence[tuple[Span, Slot]], differentiable: bool
    ) -> Plan:
        own: dict[int, list[Span]] = {}
        fresh: dict[int, list[Span]] = {}
        shared: dict[tuple[Segment, int], list[Span]] = {}
        for row, span in self:
            own.setdefault(span.tokens, []).append(span)
            before = row.after
            while before is not None:
                fresh.setdefault(before, []).append(span)
                before = self.rows[before].after
            for segment, used in row.branch.path():
                assert segment.owner in (None, row.adapter), "an adapter's tokens are its own"
                shared.setdefault((segment, used), []).append(span)
        return Plan(
            positions=positions,
            own=list(own.values()),
            shared=[SharedRead(s, used, tuple(r)) for (s, used), r in shared.items()],
            fresh=[FreshRead(self.spans[i], tuple(r)) for i, r in fresh.items()],
            slots=slots,
            differentiable=differentiable,
        )



def _reserve(row: Row) -> Slot:
    assert row.after is None, "a stored row follows its branch directly"
    return row.branch.reserve(len(row.tokens), row.adapter)


def _check_architecture(network: PreTrainedModel) -> None:
    """Refuse what would be computed wrongly: recurrent layers, chunked attention, own attention."""
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


def use_threads(count: int | None) -> int:
    """Set how many CPU threads torch computes with; None = all cores this process may use."""
    torch.set_num_threads(count or len(os.sched_getaffinity(0)))
    return torch.get_num_threads()
