"""Attention over one run of keys, with the log-sum-exp by which several runs are merged."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_QUERY_BLOCK = 32  # of torch's kernel, for few queries
_MANY_KEYS = 1024


@dataclass(frozen=True)
class Flow:
    """What flows back into the queries of an attention whose result was merged from all places.

    Shapes: out (batch, heads, queries, head_dim), the gradient of the result; lse (batch, heads,
    queries) over all keys; drop (batch, heads, queries), the row sums of gradient times result,
    less the gradient of lse.
    """

    out: Tensor
    lse: Tensor
    drop: Tensor


@dataclass(frozen=True)
class Kernel:
    """What one layer asks of attention beyond q, k, v."""

    scaling: float
    window: int | None = None
    softcap: float | None = None

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, causal: bool = False, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attention with its log-sum-exp, by the fused kernel where it is exact.

        Shapes: q (batch, heads, queries, head_dim); k, v may have stride 0 over heads;
        mask (queries, keys), True = visible; returns out like q and lse (batch, heads, queries).
        """
        fused = (
            self.softcap is None
            and mask is None
            and q.device.type == "cpu"
            and q.shape[-1] == v.shape[-1]
        )
        if fused and not causal and _leaves_cores_idle(q, k):
            return self._halved(q, k, v)
        if fused:
            return self._flash(q, k, v, causal)
        return attend_exact(q, k, v, self.scaling, _visible(q, k, causal, mask), self.softcap)

    def back(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        flow: Flow,
        causal: bool = False,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """How each query weighs these keys, which may be a part of all, and its scores' gradient.

        With both, weights and inner: the gradient of q is inner k, that of k is inner^T q, and that
        of v is weights^T flow.out.
        Shapes: as `attend`; returns twice (batch, heads, queries, keys).
        Source: FlashAttention, arXiv 2205.14135, algorithm 4: the weights come from the
        log-sum-exp over all keys, so the places that keys lie in can be gone through one by one.
        """
        scores = (q @ k.transpose(-1, -2)).float() * self.scaling
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        weights = torch.exp(scores - flow.lse.unsqueeze(-1))
        visible = _visible(q, k, causal, mask)
        if visible is not None:
            weights = weights.masked_fill(~visible, 0.0)
        inner = weights * ((flow.out @ v.transpose(-1, -2)).float() - flow.drop.unsqueeze(-1))
        if self.softcap is not None:
            inner = inner * (1 - (scores / self.softcap).square())
        return weights.to(v.dtype), (inner * self.scaling).to(q.dtype)

    def _flash(self, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # type: ignore[no-any-return]
            q, k, v, 0.0, causal, scale=self.scaling
        )

    def _halved(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The same, the first and the second half of the keys side by side: twice the tasks."""
        half = k.shape[2] // 2
        keys, values = (x[0, :, : 2 * half].unflatten(1, (2, half)).transpose(0, 1) for x in (k, v))
        out, lse = self._flash(q.expand(2, -1, -1, -1), keys, values, causal=False)
        out, lse = merge(out[:1], lse[:1], out[1:], lse[1:])
        if k.shape[2] % 2:
            last, value = k[:, :, -1:], v[:, :, -1:]
            return merge(out, lse, value, (q.float() * last.float()).sum(-1) * self.scaling)
        return out, lse


def _visible(q: Tensor, k: Tensor, causal: bool, mask: Tensor | None) -> Tensor | None:
    """Which query sees which key, True = visible; None: each sees all."""
    if not causal:
        return mask
    own = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
    return own if mask is None else own & mask


def _leaves_cores_idle(q: Tensor, k: Tensor) -> bool:
    """Whether the kernel has few tasks, of a head and a block of queries each, on many keys.

    Three heads on two cores take the time of four. Seen at 2,000 and 4,000 keys: 15 to 20 % less.
    """
    tasks = q.shape[1] * -(-q.shape[2] // _QUERY_BLOCK)
    return q.shape[0] == 1 and k.shape[2] >= _MANY_KEYS and tasks < 4 * torch.get_num_threads()


def attend_exact(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scaling: float,
    mask: Tensor | None = None,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention written out: the twin of the fused kernel, and the path for what that lacks.

    Shapes: as `Kernel.attend`. A query that sees nothing gets out = 0 and lse = -inf.
    """
    scores = (q @ k.transpose(-1, -2)).float() * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    lse = torch.logsumexp(scores, dim=-1)
    finite = torch.where(lse == -math.inf, torch.zeros_like(lse), lse)
    weights = torch.exp(scores - finite.unsqueeze(-1))
    return weights.to(v.dtype) @ v, lse


def merge(out_a: Tensor, lse_a: Tensor, out_b: Tensor, lse_b: Tensor) -> tuple[Tensor, Tensor]:
    """Join the attention over keys A with that over keys B: the attention over both.

    Shapes: out (..., queries, head_dim); lse (..., queries), natural log. Side A always sees at
    least one key (a token sees itself), so its lse is finite; side B may be empty (-inf).
    Source: online softmax, arXiv 1805.02867.
    """
    share_b = torch.sigmoid(lse_b - lse_a)
    joined = torch.lerp(out_a, out_b, share_b.unsqueeze(-1).to(out_a.dtype))
    return joined, torch.logaddexp(lse_a, lse_b)
