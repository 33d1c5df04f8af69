"""Linear layers on packed float16 weights, on a CPU.

FBGEMM keeps weights in float16 and computes in float32; where the checkpoint itself is float16
nothing is lost but the order of additions. A step of few tokens reads half the bytes, and long
inputs get its matrix kernel, which uses what the processor has (docs/decisions.md). Gradients to
the input, which training an adapter needs, take the same kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class PackedLinear(nn.Linear):
    """A linear layer that computes with packed weights; it is frozen.

    The ordinary weights stay in place, for whoever looks at them.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self._joined = Joined([linear])

    def forward(self, x: Tensor) -> Tensor:
        """The layer's map. Shapes: x (..., in_features) -> (..., out_features)."""
        return self._joined(x)


class Joined:
    """Linear layers with one input as a single one, their outputs side by side.

    Packed where that loses nothing, else on a joined copy of the weights.
    """

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        self._packed = None
        self._backwards = None
        self._linears = tuple(linears)
        with torch.no_grad():
            weight = torch.cat([linear.weight for linear in linears])
            bias = _joined_bias(linears)
            if packable(linears):
                self._packed = torch.ops.quantized.linear_prepack_fp16(weight, bias)
                return
        alone = linears[0] if len(linears) == 1 else None
        self._weight, self._bias = (weight, bias) if alone is None else (alone.weight, alone.bias)

    def __call__(self, x: Tensor) -> Tensor:
        """The map; gradients reach the input. Shapes: x (..., in) -> (..., sum of outputs)."""
        if self._packed is None:
            return nn.functional.linear(x, self._weight, self._bias)
        if x.requires_grad:
            out: Tensor = _Frozen.apply(x, self)  # type: ignore[no-untyped-call]
            return out
        return self.packed(x)

    def packed(self, x: Tensor) -> Tensor:
        """The map by packed weights, without gradients."""
        out: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self._packed)
        return out

    def back(self, grad: Tensor) -> Tensor:
        """The input's gradient. The weights are packed the other way when first asked for."""
        if self._backwards is None:
            weight = torch.cat([linear.weight for linear in self._linears])
            self._backwards = torch.ops.quantized.linear_prepack_fp16(weight.T.contiguous(), None)
        out: Tensor = torch.ops.quantized.linear_dynamic_fp16(grad, self._backwards)
        return out


class _Frozen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, joined: Joined) -> Tensor:
        ctx.joined = joined
        return joined.packed(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        joined: Joined = ctx.joined
        return joined.back(grad), None


def pack(network: nn.Module) -> int:
    """Pack every linear layer whose weights are float16 numbers; return how many.

    Changes: the network's linear modules are replaced by equal ones under the same names.
    """
    linears = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear and packable([child])
    ]
    for parent, name, child in linears:
        setattr(parent, name, PackedLinear(child))
    return len(linears)


@torch.no_grad()
def packable(linears: Sequence[nn.Linear]) -> bool:
    """Whether packing loses nothing: float16 numbers, held as float32 on a CPU with FBGEMM."""
    return "fbgemm" in torch.backends.quantized.supported_engines and all(
        linear.weight.device.type == "cpu"
        and linear.weight.dtype == torch.float32
        and torch.equal(linear.weight, linear.weight.half().float())
        for linear in linears
    )


def _joined_bias(linears: Sequence[nn.Linear]) -> Tensor | None:
    if all(linear.bias is None for linear in linears):
        return None
    parts: list[Tensor] = [
        linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
        for linear in linears
    ]
    return torch.cat(parts)
