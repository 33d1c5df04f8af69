"""Attention over paths of the KV tree: each segment is read once for all rows that share it.

All rows of a forward are packed into one sequence. A query's keys lie in several places (shared
segments, an earlier row of the same forward, its own row); each place is attended to separately
and the partial results are merged by their log-sum-exp, so nothing is copied or repeated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from .kv import Segment, Slot

ATTENTION = "kv_tree"
_QUERY_BLOCK = 32  # of torch's kernel, for few queries
_MANY_KEYS = 1024


@dataclass(frozen=True)
class Span:
    """One run of packed tokens: where it lies in the forward and where in the conversation."""

    first: int
    tokens: int
    position: int

    @property
    def where(self) -> slice:
        """Its place among the packed tokens."""
        return slice(self.first, self.first + self.tokens)


@dataclass(frozen=True)
class SharedRead:
    """The first `used` tokens of a segment, read by all tokens of `readers`."""

    segment: Segment
    used: int
    readers: tuple[Span, ...]


@dataclass(frozen=True)
class FreshRead:
    """The new tokens of an earlier row, read by all tokens of `readers` in the same forward."""

    source: Span
    readers: tuple[Span, ...]


@dataclass
class Plan:
    """Who reads what in one forward.

    `own` holds the rows by equal length, so that each group is one causal call without padding.
    `steps` are decode steps: one token that is stored, and so read where it is stored, together
    with what lies before it in the same segment.
    `differentiable` chooses the exact path, since the fused kernel gives no gradient of its
    log-sum-exp.
    """

    positions: Tensor
    own: Sequence[Sequence[Span]]
    steps: Sequence[tuple[Span, Slot]]
    shared: Sequence[SharedRead]
    fresh: Sequence[FreshRead]
    slots: Sequence[tuple[Span, Slot]]
    differentiable: bool = False
    index_of: dict[tuple[Span, ...], slice | Tensor] = field(default_factory=dict)

    def index(self, spans: tuple[Span, ...]) -> slice | Tensor:
        """The packed tokens of `spans`: a slice where they are contiguous (a view, no copy)."""
        if spans not in self.index_of:
            ordered = sorted(spans, key=lambda span: span.first)
            touching = all(a.where.stop == b.first for a, b in pairwise(ordered))
            self.index_of[spans] = (
                slice(ordered[0].first, ordered[-1].where.stop)
                if touching
                else torch.cat([torch.arange(s.first, s.where.stop) for s in ordered])
            )
        return self.index_of[spans]


@dataclass(frozen=True)
class Kernel:
    """What one layer asks of attention beyond q, k, v."""

    scaling: float
    window: int | None = None
    softcap: float | None = None
    differentiable: bool = False

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
            and not self.differentiable
            and q.device.type == "cpu"
            and q.shape[-1] == v.shape[-1]
        )
        if fused and not causal and _leaves_cores_idle(q, k):
            return self._halved(q, k, v)
        if fused:
            return self._flash(q, k, v, causal)
        if causal:
            own = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
            mask = own if mask is None else own & mask
        return attend_exact(q, k, v, self.scaling, mask, self.softcap)

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


def kv_tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    plan: Plan,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls in every layer.

    `plan` reaches it as a keyword of the model's forward. No mask is registered for it, so the
    model builds none: visibility follows from the plan alone.
    Shapes: query (1, heads, tokens, head_dim); key, value (1, kv_heads, tokens, head_dim);
    returns (1, tokens, heads, head_dim). `s_aux` (heads,) are attention sinks.
    """
    layer: int = module.layer_idx  # type: ignore[assignment]
    heads, tokens, head_dim = query.shape[1:]
    kv_heads = key.shape[1]
    q = query[0].view(kv_heads, heads // kv_heads, tokens, head_dim)
    scale = head_dim**-0.5 if scaling is None else scaling
    kernel = Kernel(scale, sliding_window, softcap, plan.differentiable)
    out = attend(kernel, plan, layer, q, key[0], value[0], s_aux)
    # contiguous, as transformers' own functions return it: some layers take a view of it
    return out.reshape(1, heads, tokens, -1).transpose(1, 2).contiguous(), None


def attend(
    kernel: Kernel,
    plan: Plan,
    layer: int,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sinks: Tensor | None = None,
) -> Tensor:
    """One layer's attention of all packed tokens, each over all it may see.

    Shapes: q (kv_heads, heads per kv head, tokens, head_dim); k, v (kv_heads, tokens, head_dim);
    sinks (heads,); returns like q. Changes: the segments of `plan.slots`, which get k and v.
    """
    for span, slot in plan.slots:
        slot.segment.write(layer, slot.offset, k[:, span.where], v[:, span.where])
    out, lse = _own(kernel, plan, layer, q, k, v)
    for read in plan.fresh:
        where = read.source.where
        out, lse = _join(
            kernel, plan, q, k[:, where], v[:, where], read.source.position, read.readers, out, lse
        )
    for shared in plan.shared:
        keys, values = shared.segment.keys[layer], shared.segment.values[layer]
        keys, values = keys[:, : shared.used].to(q.dtype), values[:, : shared.used].to(q.dtype)
        out, lse = _join(
            kernel, plan, q, keys, values, shared.segment.start, shared.readers, out, lse
        )
    if sinks is not None:  # a sink is one more key with value 0
        out = out * torch.sigmoid(lse - sinks.view(q.shape[0], -1, 1)).unsqueeze(-1).to(out.dtype)
    return out


def _own(
    kernel: Kernel, plan: Plan, layer: int, q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Each row over its own tokens, causally; a decode step over the segment it is stored in."""
    if len(plan.own) == 1 and not plan.steps:
        return _own_group(kernel, plan, plan.own[0], q, k, v)
    if len(plan.steps) == 1 and not plan.own:
        out, lse = _step(kernel, plan.steps[0][1], layer, q[:, :, 0])
        return out.unsqueeze(2), lse.unsqueeze(2)
    out = q.new_empty(*q.shape[:3], v.shape[-1])  # values may be narrower than keys
    lse = q.new_empty(q.shape[:3], dtype=torch.float32)
    for group in plan.own:
        index = plan.index(tuple(group))
        out[:, :, index], lse[:, :, index] = _own_group(kernel, plan, group, q, k, v)
    for span, slot in plan.steps:
        i = span.first
        out[:, :, i], lse[:, :, i] = _step(kernel, slot, layer, q[:, :, i])
    return out, lse


def _step(kernel: Kernel, slot: Slot, layer: int, q: Tensor) -> tuple[Tensor, Tensor]:
    """A stored token over its segment up to itself. Shapes: q (kv_heads, heads, head_dim)."""
    end = slot.offset + 1
    first = 0 if kernel.window is None else max(0, end - kernel.window)
    keys, values = slot.segment.keys[layer], slot.segment.values[layer]
    out, lse = kernel.attend(q[None], keys[None, :, first:end], values[None, :, first:end])
    return out[0], lse[0]


def _own_group(
    kernel: Kernel, plan: Plan, group: Sequence[Span], q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    rows, length = len(group), group[0].tokens
    index = plan.index(tuple(group))
    kv_heads, per_head = q.shape[:2]
    # (rows * kv_heads, heads per kv head, length, head_dim); keys are expanded with stride 0
    queries = q[:, :, index].unflatten(2, (rows, length)).permute(2, 0, 1, 3, 4).flatten(0, 1)
    keys, values = (
        x[:, index].unflatten(1, (rows, length)).transpose(0, 1).flatten(0, 1).unsqueeze(1)
        for x in (k, v)
    )
    mask = None
    if kernel.window is not None and length > kernel.window:
        steps = torch.arange(length, device=q.device)
        mask = steps[:, None] - steps[None, :] < kernel.window
    out, lse = kernel.attend(
        queries,
        keys.expand(-1, per_head, -1, -1),
        values.expand(-1, per_head, -1, -1),
        causal=True,
        mask=mask,
    )
    out = out.unflatten(0, (rows, kv_heads)).permute(1, 2, 0, 3, 4).flatten(2, 3)
    lse = lse.unflatten(0, (rows, kv_heads)).permute(1, 2, 0, 3).flatten(2, 3)
    return out, lse


def _join(
    kernel: Kernel,
    plan: Plan,
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    start: int,
    readers: tuple[Span, ...],
    out: Tensor,
    lse: Tensor,
) -> tuple[Tensor, Tensor]:
    """Add what `readers` see in keys at positions `start`...: one call, queries folded.

    Shapes: keys, values (kv_heads, tokens, head_dim); q, out (kv_heads, group, tokens, head_dim).
    """
    index = plan.index(readers)
    everyone = isinstance(index, slice) and index == slice(0, q.shape[2])
    queries = q if everyone else q[:, :, index]
    per_head, count = queries.shape[1:3]
    mask = None
    if kernel.window is not None:
        positions = plan.positions[index]
        reach = positions[:, None] - torch.arange(start, start + keys.shape[1], device=q.device)
        if int(reach.min()) >= kernel.window:
            return out, lse
        if int(reach.max()) >= kernel.window:
            mask = (reach < kernel.window).repeat(per_head, 1)
    far, far_lse = kernel.attend(queries.flatten(1, 2)[None], keys[None], values[None], mask=mask)
    far = far[0].unflatten(1, (per_head, count))
    far_lse = far_lse[0].unflatten(1, (per_head, count))
    if everyone:
        return merge(out, lse, far, far_lse)
    near, near_lse = merge(out[:, :, index], lse[:, :, index], far, far_lse)
    if plan.differentiable:
        out, lse = out.clone(), lse.clone()
    out[:, :, index], lse[:, :, index] = near, near_lse
    return out, lse


AttentionInterface.register(ATTENTION, kv_tree_attention)
