"""A base model with two hooks: attention over the KV tree, and the adapter bank. No tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from .architecture import Told, attention_path, check_architecture
from .attention import ATTENTION, FreshRead, Plan, SharedRead, Span
from .device import DTYPES, check_device, one_thread
from .direct import CLASSES, Direct
from .errors import BaseModelError, ContextTooLong
from .kv import Branch, KVTree, Segment, Slot
from .lora import Adapted, AdapterBank
from .packed import pack

PREFILL_CHUNK_TOKENS = 1024  # bounds the memory of one forward's activations
# of the largest logit: far above rounding, far below any wrong operation
PROBE_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class Row:
    """New tokens of one reader in a forward.

    It reads `branch`, then the new tokens of row `after` (and of those that one comes after),
    then its own. `adapter` acts from its token `active_from` on. `read` lists the tokens whose
    logits are wanted; with `store` the keys and values are appended to the branch, which expects
    `ahead` more tokens soon (None: unknown).
    """

    tokens: tuple[int, ...]
    branch: Branch
    after: int | None = None
    adapter: str | None = None
    active_from: int = 0
    read: tuple[int, ...] = ()
    store: bool = False
    ahead: int | None = None


class Model:
    """A causal language model of transformers, running packed rows on one KV tree."""

    def __init__(self, network: PreTrainedModel, name: str = "") -> None:
        """Take over a loaded network. Raises: BaseModelError: it would be computed wrongly."""
        with one_thread():
            self._take_over(network, name)

    def _take_over(self, network: PreTrainedModel, name: str) -> None:
        told = check_architecture(network)
        network.set_attn_implementation(ATTENTION)
        network.train(False).requires_grad_(False)
        self.network = network
        self.name = name
        self.token_bytes = sum(layer.token_bytes for layer in told)
        self.attention_path = attention_path(told, self.context_tokens)
        self.tree = KVTree()
        self.lock = RLock()  # one forward at a time, and none while the bank changes
        self.forwards = 0
        self.bank = AdapterBank(network)
        self._direct = self._probed(told)
        if self._direct is None:
            pack(network)
            self.bank = AdapterBank(network)
        self.forwards = 0

    @staticmethod
    def load(
        directory: Path, name: str = "", *, device: str = "cpu", dtype: str = "float32"
    ) -> Model:
        """Read a local directory of safetensors. Never touches the network.

        `name` is what adapters call this base model ("": unknown); `dtype` is float32 or bfloat16.
        A `device` other than the CPU is untested.
        Raises: BaseModelError: not a model directory, no safetensors in it, not all weights, or a
        device or dtype that there is not.
        """
        if dtype not in DTYPES:
            raise BaseModelError(f"dtype {dtype!r}; use one of {', '.join(DTYPES)}")
        check_device(device)
        if not (directory / "config.json").is_file():
            raise BaseModelError(f"{directory}: no config.json; give a model directory")
        if not any(directory.glob("*.safetensors")):
            raise BaseModelError(f"{directory}: no *.safetensors; other formats are not loaded")
        try:
            config = AutoConfig.from_pretrained(directory, local_files_only=True)
            with _quiet(), one_thread():
                loaded: Any = AutoModelForCausalLM.from_pretrained(
                    directory,
                    config=config,
                    dtype=DTYPES[dtype],
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
        except Exception as error:  # transformers raises many kinds for a broken directory
            raise BaseModelError(
                f"{directory}: the base model could not be loaded: {error}"
            ) from error
        network, info = loaded
        lacking = sorted({*info["missing_keys"], *map(str, info["mismatched_keys"])})
        if lacking:
            raise BaseModelError(
                f"{directory}: {len(lacking)} weights that config.json asks for are missing or of "
                f"another shape, such as {lacking[0]}; copy or download the model again"
            )
        return Model(network.to(device), name)

    @property
    def context_tokens(self) -> int:
        """The longest conversation the model was made for."""
        return int(self.network.config.get_text_config().max_position_embeddings)

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """The token ids at which the model ends a reply."""
        generation = self.network.generation_config
        ids = None if generation is None else generation.eos_token_id
        return frozenset([ids] if isinstance(ids, int) else ids or [])

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that tell this model's weights from others of the same shape."""
        digest = hashlib.sha256()
        for name, weight in sorted(self.network.named_parameters()):
            sample = weight.detach().flatten()[:: max(1, weight.numel() // 64)].half().cpu()
            digest.update(f"{name}{tuple(weight.shape)}".encode() + sample.numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def device(self) -> torch.device:
        """Where the weights are. Untested on GPU."""
        device: torch.device = self.network.device
        return device

    def forward(self, rows: Sequence[Row]) -> list[Tensor]:
        """Run all rows in one forward; for each the logits of its `read` tokens.

        Shapes: each result (len(row.read), vocabulary). Changes: the branches of rows with
        `store`, once everything succeeded; on an error no branch has changed.
        Gradients flow only where the caller enabled them and an adapter's weights ask for them.
        Raises: ContextTooLong: a row would end beyond the model's context.
        """
        packed = _Packed(rows)
        self.check_fits(max(span.position + span.tokens for span in packed.spans))
        stored = [(row, span) for row, span in packed if row.store]
        with self.lock:
            slots: list[tuple[Span, Slot]] = []
            try:
                for row, span in stored:
                    slots.append((span, _reserve(row)))
                logits = self._run(packed, slots)
            except BaseException:
                for _, slot in slots:
                    slot.abandon()
                raise
            for (row, _), (_, slot) in zip(stored, slots, strict=True):
                slot.commit(row.tokens)
            self.forwards += 1
        return list(logits.split([len(row.read) for row in rows]))

    def prefill(self, branch: Branch, tokens: Sequence[int]) -> None:
        """Append tokens to a branch, in chunks. Changes: the branch.

        Raises: ContextTooLong: before anything is computed.
        """
        rest = self.prefill_early(branch, tokens)
        if rest:
            self.forward([Row(rest, branch, store=True)])

    def prefill_early(self, branch: Branch, tokens: Sequence[int]) -> tuple[int, ...]:
        """Append all but the last chunk; return that chunk, to ride in a forward with other rows.

        Changes: the branch. Raises: ContextTooLong: before anything is computed.
        """
        self.check_fits(branch.length + len(tokens))
        rest = tuple(tokens)
        while len(rest) > PREFILL_CHUNK_TOKENS:
            self.forward([Row(rest[:PREFILL_CHUNK_TOKENS], branch, store=True)])
            rest = rest[PREFILL_CHUNK_TOKENS:]
        return rest

    def _run(self, packed: _Packed, slots: Sequence[tuple[Span, Slot]]) -> Tensor:
        keep = [span.first + i for row, span in packed for i in row.read]
        positions = torch.cat(
            [torch.arange(span.position, span.position + span.tokens) for _, span in packed]
        )
        plan = packed.plan(positions.to(self.device), slots)
        adapted = [
            Adapted(
                row.adapter,
                torch.arange(span.first + row.active_from, span.where.stop, device=self.device),
            )
            for row, span in packed
            if row.adapter is not None
        ]
        tokens = torch.tensor([[t for row, _ in packed for t in row.tokens]], device=self.device)
        with self.bank.active(adapted):
            if self._direct is not None:
                return self._direct(
                    tokens[0], plan, torch.tensor(keep, dtype=torch.long, device=self.device)
                )
            output = self.network(
                input_ids=tokens,
                position_ids=plan.positions[None],
                use_cache=False,
                logits_to_keep=torch.tensor(keep or [0], device=self.device),
                plan=plan,
            )
        logits: Tensor = output.logits[0, : len(keep)]
        return logits

    @property
    def direct(self) -> bool:
        """Whether the network is computed directly, not by transformers' own forward."""
        return self._direct is not None

    @torch.inference_mode()
    def _probed(self, told: Sequence[Told]) -> Direct | None:
        """The direct forward, where it was written for this class and gives the same logits."""
        self._direct = None
        if type(self.network).__name__ not in CLASSES or self.network.dtype not in PROBE_TOLERANCE:
            return None
        expected = self._probe()
        try:
            self._direct = Direct(self.network, self.bank, told)
            found = self._probe()
        except (AttributeError, RuntimeError, TypeError, ValueError):  # not built as its class is
            return None
        apart = float((found - expected).abs().max() / expected.abs().max())
        return self._direct if apart < PROBE_TOLERANCE[expected.dtype] else None

    def _probe(self) -> Tensor:
        """Logits of a short text: a chunk, a decode step, and two rows after it."""
        branch, size = self.tree.branch(), self.network.config.get_text_config().vocab_size
        ids = tuple(int(i) for i in torch.linspace(0, size - 1, 24))
        self.forward([Row(ids[:12], branch, store=True)])
        rows = [Row(ids[12:13], branch, read=(0,), store=True)]
        rows += [Row(ids[n:], branch, 0, read=(0,)) for n in (13, 20)]
        return torch.cat(self.forward(rows))

    def check_fits(self, longest: int) -> None:
        """Raises: ContextTooLong: so many tokens are more than the model's context."""
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

    def plan(self, positions: Tensor, slots: Sequence[tuple[Span, Slot]]) -> Plan:
        own: dict[int, list[Span]] = {}
        fresh: dict[int, list[Span]] = {}
        shared: dict[tuple[Segment, int], list[Span]] = {}
        steps = {span: slot for span, slot in slots if span.tokens == 1}
        for row, span in self:
            step = steps.get(span)
            if step is None:
                own.setdefault(span.tokens, []).append(span)
            before = row.after
            while before is not None:
                fresh.setdefault(before, []).append(span)
                before = self.rows[before].after
            for segment, used in row.branch.path():
                assert segment.owner in (None, row.adapter), "an adapter's tokens are its own"
                if step is None or segment is not step.segment:
                    shared.setdefault((segment, used), []).append(span)
        return Plan(
            positions=positions,
            own=list(own.values()),
            steps=list(steps.items()),
            shared=[SharedRead(s, used, tuple(r)) for (s, used), r in shared.items()],
            fresh=[FreshRead(self.spans[i], tuple(r)) for i, r in fresh.items()],
            slots=slots,
        )


def _reserve(row: Row) -> Slot:
    assert row.after is None, "a stored row follows its branch directly"
    return row.branch.reserve(len(row.tokens), row.adapter, row.ahead)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own bar and report: what is wrong is raised here as an error."""
    bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
