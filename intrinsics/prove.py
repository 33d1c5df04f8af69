"""Proof: every result computed again from scratch, by other means, and compared.

From scratch means transformers' own forward and attention over the whole text, with no keys and
values kept, no shared prefix, no other row beside it. It is slow, and shares nothing with the KV
tree, the packed rows, the direct forward or the readout's tries but the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from .attention import ATTENTION
from .errors import ProofError, RequestError
from .fanout import TextVerdict, Verdict
from .lora import Adapted
from .model import Model

# float32 sums in another order differ by up to 1e-4 at logits of magnitude 20; a wrong or missing
# token moves them by 1e-1 and more
LOGIT_TOLERANCE = 2e-3
PROBABILITY_TOLERANCE = 1e-3


class Prover:
    """Computes results from scratch with one model and compares."""

    def __init__(self, model: Model) -> None:
        """Raises: RequestError: rounding in less than float32 would look like an error."""
        if model.network.dtype != torch.float32:
            raise RequestError(f"prove needs float32, not {model.network.dtype}")
        self.model = model
        able = (
            getattr(model.network, "_supports_sdpa", False) and "soft" not in model.attention_path
        )
        self._attention = "sdpa" if able and "sinks" not in model.attention_path else "eager"

    @torch.inference_mode()
    def logits(
        self, ids: Sequence[int], read: Sequence[int], adapter: str | None = None, start: int = 0
    ) -> Tensor:
        """What follows the tokens at the positions `read`; `adapter` acts from `start` on.

        Shapes: (len(read), vocabulary).
        """
        tokens = torch.tensor([list(ids)], device=self.model.device)
        adapted = [Adapted(adapter, torch.arange(start, len(ids)))] if adapter else []
        with self._plain(), self.model.bank.active(adapted):
            output = self.model.network(
                input_ids=tokens,
                use_cache=False,
                logits_to_keep=torch.tensor(list(read), device=self.model.device),
            )
        logits: Tensor = output.logits[0]
        return logits

    @contextmanager
    def _plain(self) -> Iterator[None]:
        """transformers' own attention in place of ours; nothing else computes meanwhile."""
        with self.model.lock:
            self.model.network.set_attn_implementation(self._attention)
            try:
                yield
            finally:
                self.model.network.set_attn_implementation(ATTENTION)

    def check_verdict(self, verdict: Verdict) -> None:
        """Raises: ProofError: some label's probability, or a text, is another from scratch."""
        if isinstance(verdict, TextVerdict):
            self._check_text(verdict)
            return
        expected = self.distribution(verdict)
        for label, found in verdict.raw_distribution.items():
            if abs(found - expected[label]) > PROBABILITY_TOLERANCE:
                raise ProofError(
                    f"{verdict.intrinsic}: {label!r} has {found:.6f}, but {expected[label]:.6f} "
                    f"when computed from scratch over {len(verdict.token_ids)} tokens; please "
                    f"report this with the base model's name"
                )

    def _check_text(self, verdict: TextVerdict) -> None:
        """Every token must be the likeliest from scratch too, and as likely as it was."""
        ids, written = verdict.token_ids, verdict.written
        read = [len(ids) - 1 + i for i in range(len(written))]
        start = verdict.ledger.activated_at or 0
        logits = self.logits((*ids, *written[:-1]), read, verdict.intrinsic, start)
        for i, (token, found) in enumerate(zip(written, verdict.logprobs, strict=True)):
            logs = logits[i].double().log_softmax(-1)
            short, apart = float(logs.max() - logs[token]), abs(found - float(logs[token]))
            if max(short, apart) > LOGIT_TOLERANCE:
                raise ProofError(
                    f"{verdict.intrinsic}: token {i + 1} of its text has the log-probability "
                    f"{found:.6f}, but from scratch {float(logs[token]):.6f}, {short:.2g} below "
                    f"the likeliest; please report this with the base model's name"
                )

    def distribution(self, verdict: Verdict) -> dict[str, float]:
        """The raw distribution of a verdict, each label scored by a text of its own."""
        start = verdict.ledger.activated_at or 0
        scores = []
        for ids in verdict.candidates.values():
            prompt = len(verdict.token_ids)
            read = [prompt - 1 + i for i in range(len(ids))]
            text = (*verdict.token_ids, *ids[:-1])
            logits = self.logits(text, read, verdict.intrinsic, start).double()
            logs = torch.log_softmax(logits, dim=-1)
            scores.append(float(sum(logs[i, token] for i, token in enumerate(ids))))
        weights = torch.softmax(torch.tensor(scores, dtype=torch.float64), dim=0).tolist()
        return dict(zip(verdict.candidates, weights, strict=True))

    def check_reply(self, ids: Sequence[int], head: int, found: Sequence[Tensor]) -> None:
        """`found[i]` are the logits from which the token at `head + i` was chosen.

        Raises: ProofError: some are others from scratch.
        """
        count = min(len(found), len(ids) - head + 1)
        expected = self.logits(ids, [head - 1 + i for i in range(count)])
        for i in range(count):
            apart = float((found[i] - expected[i]).abs().max())
            if apart > LOGIT_TOLERANCE:
                raise ProofError(
                    f"token {i + 1} of the reply was chosen from logits that are {apart:.2g} away "
                    f"from those computed from scratch; please report this with the base "
                    f"model's name"
                )
