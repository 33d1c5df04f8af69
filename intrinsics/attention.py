"""Attention over paths of the KV tree: each segment is read once for all rows that share it.

All rows of a forward are packed into one sequence. A query's keys lie in several places (shared
segments, an earlier row of the same forward, its own row); each place is attended to separately
and the partial results are merged by their log-sum-exp, so nothing is copied or repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from .kernel import Flow, Kernel, merge
from .kv import Segment, Slot

ATTENTION = "kv_tree"

Tensors: TypeAlias = tuple[Tensor, Tensor, Tensor]


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
    """

    positions: Tensor
    own: Sequence[Sequence[Span]]
    steps: Sequence[tuple[Span, Slot]]
    shared: Sequence[SharedRead]
    fresh: Sequence[FreshRead]
    slots: Sequence[tuple[Span, Slot]]
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
    kernel = Kernel(scale, sliding_window, softcap)
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
    if q.requires_grad:
        out, lse = _Differentiable.apply(kernel, plan, layer, q, k, v)  # type: ignore[no-untyped-call]
    else:
        out, lse = _everywhere(kernel, plan, layer, q, k, v)
    if sinks is not None:  # a sink is one more key with value 0
        out = out * torch.sigmoid(lse - sinks.view(q.shape[0], -1, 1)).unsqueeze(-1).to(out.dtype)
    result: Tensor = out
    return result


def _everywhere(
    kernel: Kernel, plan: Plan, layer: int, q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """All places merged: the result and its log-sum-exp."""
    out, lse = _own(kernel, plan, layer, q, k, v)
    for place in _places(plan, layer, q, k, v):
        out, lse = _join(kernel, plan, q, place, out, lse)
    return out, lse


class _Differentiable(torch.autograd.Function):
    """The same with gradients, which go to the packed tokens alone, not into the tree."""

    @staticmethod
    def forward(
        ctx: Any, kernel: Kernel, plan: Plan, layer: int, q: Tensor, k: Tensor, v: Tensor
    ) -> tuple[Tensor, Tensor]:
        out, lse = _everywhere(kernel, plan, layer, q, k, v)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.asked = kernel, plan, layer
        return out, lse

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        kernel, plan, layer = ctx.asked
        q, k, v, out, lse = ctx.saved_tensors
        assert not plan.steps, "a decode step is not trained on"
        drop = (grads[0] * out).sum(-1, dtype=torch.float32) - grads[1]
        found = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for group in plan.own:
            _own_back(kernel, plan, group, (q, k, v), Flow(grads[0], lse, drop), found)
        for place in _places(plan, layer, q, k, v):
            _join_back(kernel, plan, q, place, Flow(grads[0], lse, drop), found)
        return None, None, None, *found


@dataclass(frozen=True)
class _Place:
    """Keys from position `start` on that all tokens of `readers` see.

    `source` is where they lie among the packed tokens, if they do.
    Shapes: keys, values (kv_heads, tokens, head_dim).
    """

    keys: Tensor
    values: Tensor
    start: int
    readers: tuple[Span, ...]
    source: slice | None = None


def _places(plan: Plan, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Iterator[_Place]:
    """Where the packed tokens read beside their own rows."""
    for read in plan.fresh:
        where = read.source.where
        yield _Place(k[:, where], v[:, where], read.source.position, read.readers, where)
    for shared in plan.shared:
        keys, values = shared.segment.keys[layer], shared.segment.values[layer]
        keys, values = keys[:, : shared.used].to(q.dtype), values[:, : shared.used].to(q.dtype)
        yield _Place(keys, values, shared.segment.start, shared.readers)


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
    """Rows of one length as a batch; keys are expanded over the heads with stride 0."""
    index, rows = plan.index(tuple(group)), len(group)
    queries, keys, values = _folded(q[:, :, index], k[:, index], v[:, index], rows)
    mask = _own_mask(kernel, group[0].tokens, q)
    out, lse = kernel.attend(queries, keys, values, causal=True, mask=mask)
    return _unfold(out, rows), _unfold(lse, rows)


def _own_back(
    kernel: Kernel, plan: Plan, group: Sequence[Span], qkv: Tensors, flow: Flow, found: Tensors
) -> None:
    """Changes: `found`, the gradients of q, k and v, which get those of these rows."""
    index, rows = plan.index(tuple(group)), len(group)
    q, k, v = qkv
    queries, keys, values = _folded(q[:, :, index], k[:, index], v[:, index], rows)
    part = Flow(*(_fold(x[:, :, index], rows) for x in (flow.out, flow.lse, flow.drop)))
    mask = _own_mask(kernel, group[0].tokens, q)
    weights, inner = kernel.back(queries, keys, values, part, causal=True, mask=mask)
    found[0][:, :, index] += _unfold(inner @ keys, rows)
    found[1][:, index] += _unfold(inner.transpose(-1, -2) @ queries, rows).sum(1)
    found[2][:, index] += _unfold(weights.transpose(-1, -2) @ part.out, rows).sum(1)


def _own_mask(kernel: Kernel, length: int, q: Tensor) -> Tensor | None:
    if kernel.window is None or length <= kernel.window:
        return None
    steps = torch.arange(length, device=q.device)
    return steps[:, None] - steps[None, :] < kernel.window


def _folded(q: Tensor, k: Tensor, v: Tensor, rows: int) -> Tensors:
    per_head = q.shape[1]
    keys, values = (_fold(x.unsqueeze(1), rows).expand(-1, per_head, -1, -1) for x in (k, v))
    return _fold(q, rows), keys, values


def _fold(x: Tensor, rows: int) -> Tensor:
    """(kv_heads, heads, rows * length, ...) -> (rows * kv_heads, heads, length, ...)."""
    folded: Tensor = x.unflatten(2, (rows, -1)).movedim(2, 0).flatten(0, 1)
    return folded


def _unfold(x: Tensor, rows: int) -> Tensor:
    """The inverse of `_fold`."""
    unfolded: Tensor = x.unflatten(0, (rows, -1)).movedim(0, 2).flatten(2, 3)
    return unfolded


def _join(
    kernel: Kernel, plan: Plan, q: Tensor, place: _Place, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor]:
    """Add what `place.readers` see there: one call, queries folded. Changes: out and lse."""
    index = plan.index(place.readers)
    seen, mask = _reach(kernel, plan, q, place)
    if not seen:
        return out, lse
    everyone = isinstance(index, slice) and index == slice(0, q.shape[2])
    queries = q if everyone else q[:, :, index]
    per_head, count = queries.shape[1:3]
    keys, values = place.keys[None], place.values[None]
    far, far_lse = kernel.attend(queries.flatten(1, 2)[None], keys, values, mask=mask)
    far = far[0].unflatten(1, (per_head, count))
    far_lse = far_lse[0].unflatten(1, (per_head, count))
    if everyone:
        return merge(out, lse, far, far_lse)
    near, near_lse = merge(out[:, :, index], lse[:, :, index], far, far_lse)
    out[:, :, index], lse[:, :, index] = near, near_lse
    return out, lse


def _join_back(
    kernel: Kernel, plan: Plan, q: Tensor, place: _Place, flow: Flow, found: Tensors
) -> None:
    """Changes: `found`, the gradients of q, k and v, which get those of this place."""
    index = plan.index(place.readers)
    seen, mask = _reach(kernel, plan, q, place)
    if not seen:
        return
    part = Flow(*(x[:, :, index].flatten(1, 2)[None] for x in (flow.out, flow.lse, flow.drop)))
    queries = q[:, :, index].flatten(1, 2)[None]
    keys, values = place.keys[None], place.values[None]
    weights, inner = kernel.back(queries, keys, values, part, mask=mask)
    found[0][:, :, index] += (inner @ keys)[0].unflatten(1, (q.shape[1], -1))
    if place.source is not None:
        found[1][:, place.source] += (inner.transpose(-1, -2) @ queries)[0]
        found[2][:, place.source] += (weights.transpose(-1, -2) @ part.out)[0]


def _reach(kernel: Kernel, plan: Plan, q: Tensor, place: _Place) -> tuple[bool, Tensor | None]:
    """Whether a layer's window lets the readers see any of a place, and the mask it then needs."""
    if kernel.window is None:
        return True, None
    positions = plan.positions[plan.index(place.readers)]
    there = torch.arange(place.start, place.start + place.keys.shape[1], device=q.device)
    reach = positions[:, None] - there
    if int(reach.min()) >= kernel.window:
        return False, None
    if int(reach.max()) < kernel.window:
        return True, None
    return True, (reach < kernel.window).repeat(q.shape[1], 1)


AttentionInterface.register(ATTENTION, kv_tree_attention)
