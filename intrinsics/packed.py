"""Linear layers on packed float16 weights, on a CPU.

FBGEMM keeps weights in float16 and computes in float32; where the checkpoint itself is float16
nothing is lost but the order of additions. A step of few tokens reads half the bytes, and long
inputs get its matrix kernel, which uses what the processor has (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PackedLinear(nn.Linear):
    """A linear layer that computes with packed weights, except for gradients.

    Training uses the ordinary weights, which stay in place.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self._joined = Joined([linear])

    def forward(self, x: Tensor) -> Tensor:
        """The layer's map. Shapes: x (..., in_features) -> (..., out_features)."""
        return super().forward(x) if torch.is_grad_enabled() else self._joined(x)


class Joined:
    """Linear layers with one input as a single one, their outputs side by side.

    Packed where that loses nothing, else on a joined copy of the weights.
    """

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        self._packed = None
        with torch.no_grad():
            weight = torch.cat([linear.weight for linear in linears])
            bias = _joined_bias(linears)
            if packable(linears):
                self._packed = torch.ops.quantized.linear_prepack_fp16(weight, bias)
                return
        alone = linears[0] if len(linears) == 1 else None
        self._weight, self._bias = (weight, bias) if alone is None else (alone.weight, alone.bias)

    def __call__(self, x: Tensor) -> Tensor:
        """The map, without gradients. Shapes: x (..., in_features) -> (..., sum of outputs)."""
        if self._packed is not None:
            out: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self._packed)
            return out
        return nn.functional.linear(x, self._weight, self._bias)


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
