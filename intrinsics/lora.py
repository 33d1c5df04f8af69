"""The adapter bank: many adapters on one base model, chosen per token within a forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .adapter import Adapter, LowRank
from .errors import AdapterError

_STACKS_KEPT = 8  # sets of adapters whose weights stay stacked; a chain uses one or two


@dataclass(frozen=True)
class Adapted:
    """The packed tokens that one adapter acts on in a forward."""

    adapter: str
    tokens: Tensor


@dataclass(frozen=True)
class _Active:
    """One forward's choice: adapters side by side, their tokens padded to equal counts.

    Shapes: index (adapters, most), which packed token; real (adapters * most,) positions of
    those entries that are not padding; targets (tokens,) = index without the padding.
    """

    names: tuple[str, ...]
    index: Tensor
    real: Tensor
    targets: Tensor


@dataclass(frozen=True)
class _Stack:
    """The weights of several adapters for modules computed as one, ranks padded with zeros.

    Shapes: a (adapters, in_features, rank), b (adapters, rank, out_features), scaling inside b.
    """

    a: Tensor
    b: Tensor


class AdapterBank:
    """Holds adapters by name and adds their updates to the linear layers of one model.

    It works through forward hooks on the targeted layers, so the model's classes stay untouched.
    Tokens no adapter acts on are not touched at all: they are bit-identical to the base model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._linears = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
        self._head = getattr(model, "get_output_embeddings", lambda: None)()
        self._adapters: dict[str, Adapter] = {}
        self._stacks: dict[tuple[str, ...], dict[tuple[str, ...], _Stack]] = {}
        self._hooked: set[str] = set()
        self._active: _Active | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._adapters

    def __getitem__(self, name: str) -> Adapter:
        return self._adapters[name]

    def check(self, name: str, adapter: Adapter) -> None:
        """Raises: AdapterError: the adapter does not fit this base model."""
        for module, low in adapter.modules.items():
            linear = self._linears.get(module)
            if linear is None:
                raise AdapterError(f"adapter {name}: the base model has no linear layer {module!r}")
            if linear is self._head:
                raise AdapterError(
                    f"adapter {name}: it acts on the output layer {module}, which is computed for "
                    f"the tokens that are read alone; train it without that target"
                )
            if low.a.shape[1] != linear.in_features or low.b.shape[0] != linear.out_features:
                raise AdapterError(
                    f"adapter {name}: {module} is {linear.in_features} -> {linear.out_features} in "
                    f"the base model but {low.a.shape[1]} -> {low.b.shape[0]} in the adapter; "
                    f"it was trained for another base model ({adapter.base_model or 'unnamed'})"
                )

    def add(self, name: str, adapter: Adapter) -> None:
        """Register an adapter. Changes: the bank. Raises: AdapterError: it does not fit."""
        self.check(name, adapter)
        self._adapters[name] = adapter
        self._stacks = {names: s for names, s in self._stacks.items() if name not in names}
        for module in adapter.modules.keys() - self._hooked:
            self._linears[module].register_forward_hook(_Hook(self, module))
            self._hooked.add(module)

    def remove(self, name: str) -> None:
        """Forget an adapter. Changes: the bank."""
        del self._adapters[name]
        self._stacks = {names: s for names, s in self._stacks.items() if name not in names}

    @contextmanager
    def active(self, rows: Sequence[Adapted]) -> Iterator[None]:
        """Within this block, forwards add each adapter's update to its tokens."""
        self._active = _side_by_side(rows) if rows else None
        try:
            yield
        finally:
            self._active = None

    def update(self, modules: tuple[str, ...], x: Tensor, out: Tensor) -> None:
        """Add the active adapters' updates of one layer, or of several computed as one.

        `modules` are linear layers with one input, whose outputs lie side by side in `out`.
        Shapes: x (tokens, in_features), out (tokens, sum of out_features). Changes: `out`.
        """
        active = self._active
        if active is None:
            return
        stack = self._stack(active.names, modules)
        if stack is None:
            return
        delta = torch.bmm(torch.bmm(x[active.index], stack.a), stack.b)
        out.index_add_(0, active.targets, delta.flatten(0, 1)[active.real])

    def _stack(self, names: tuple[str, ...], modules: tuple[str, ...]) -> _Stack | None:
        """The stacked weights of these modules; kept, unless they are in training and change."""
        kept = self._stacks.get(names, {})
        if modules in kept:
            return kept[modules]
        lows = [[self._adapters[name].modules.get(m) for m in modules] for name in names]
        present = [low for row in lows for low in row if low is not None]
        if not present:
            return None
        stack = _stack(lows, [self._linears[module] for module in modules])
        if any(low.a.requires_grad for low in present):
            return stack
        if names not in self._stacks:
            while len(self._stacks) >= _STACKS_KEPT:
                self._stacks.pop(next(iter(self._stacks)))
            self._stacks[names] = {}
        self._stacks[names][modules] = stack
        return stack


class _Hook:
    def __init__(self, bank: AdapterBank, module: str) -> None:
        self.bank, self.module = bank, module

    def __call__(self, _: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        x = args[0]
        if x.ndim < 3 or x.shape[:-2].numel() != 1:  # such as an expert: it sees only some tokens
            raise AdapterError(
                f"the base model computes {self.module} for a tensor of shape {tuple(x.shape)}, "
                f"not for all tokens in order; train the adapter without that target"
            )
        self.bank.update((self.module,), x.flatten(0, -2), out.view(-1, out.shape[-1]))
        return out


def _side_by_side(rows: Sequence[Adapted]) -> _Active:
    tokens: dict[str, list[Tensor]] = {}
    for row in rows:
        tokens.setdefault(row.adapter, []).append(row.tokens)
    names = tuple(sorted(tokens))  # one order, so that the stacked weights are found again
    lists = [torch.cat(tokens[name]) for name in names]
    most = max(len(part) for part in lists)
    index = lists[0].new_zeros(len(lists), most)
    real = torch.zeros_like(index, dtype=torch.bool)
    for i, part in enumerate(lists):
        index[i, : len(part)] = part
        real[i, : len(part)] = True
    return _Active(names, index, real.flatten().nonzero()[:, 0], index[real])


def _stack(lows: Sequence[Sequence[LowRank | None]], linears: Sequence[nn.Linear]) -> _Stack:
    """`lows[adapter][module]`: the modules' ranks side by side, each acting on its own outputs."""
    some = next(low for row in lows for low in row if low is not None)
    ranks = [
        max((low.rank for low in column if low), default=0) for column in zip(*lows, strict=True)
    ]
    a, b = [], []
    for row in lows:
        inner, blocks = [], []
        for low, rank, linear in zip(row, ranks, linears, strict=True):
            if low is None:
                inner.append(some.a.new_zeros(linear.in_features, rank))
                blocks.append(some.b.new_zeros(rank, linear.out_features))
                continue
            pad = rank - low.rank
            inner.append(nn.functional.pad(low.a, (0, 0, 0, pad)).T)
            blocks.append(nn.functional.pad(low.b, (0, pad)).T * low.scaling)
        a.append(torch.cat(inner, dim=1))
        b.append(torch.block_diag(*blocks))
    like = linears[0].weight  # adapters are kept as float32 on the CPU
    return _Stack(torch.stack(a).to(like), torch.stack(b).to(like))


def lora_twin(x: Tensor, low: LowRank) -> Tensor:
    """The update of one adapter on its tokens, written out: the twin of `AdapterBank.update`.

    Shapes: x (tokens, in_features); returns (tokens, out_features).
    """
    return (x @ low.a.T) @ low.b.T * low.scaling
