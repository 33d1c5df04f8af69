"""Linear layers with a second, packed float16 copy of their weights, for few tokens on a CPU.

Reading weights dominates a forward of few tokens. FBGEMM keeps them in float16 and computes in
float32; where the checkpoint itself is float16 nothing is lost but the order of additions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Seen on 2 AVX2 cores, all layers of a 135M model: 27 against 53 ms at 4 tokens, 59 against 128 at
# 32, 80 against 107 at 64, 311 against 298 at 256.
PACKED_TOKENS = 96


class PackedLinear(nn.Linear):
    """A linear layer that takes the packed weights for up to `PACKED_TOKENS` tokens.

    Training and longer inputs use the ordinary weights, which stay in place.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self._packed = torch.ops.quantized.linear_prepack_fp16(linear.weight, linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's map. Shapes: x (..., in_features) -> (..., out_features)."""
        if torch.is_grad_enabled() or x.numel() > PACKED_TOKENS * self.in_features:
            return super().forward(x)
        out: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self._packed)
        return out


def pack(network: nn.Module) -> int:
    """Pack every linear layer whose weights are float16 numbers; return how many.

    Changes: the network's linear modules are replaced by equal ones under the same names.
    """
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        return 0
    linears = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear and _is_half(child)
    ]
    for parent, name, child in linears:
        setattr(parent, name, PackedLinear(child))
    return len(linears)


@torch.no_grad()
def _is_half(linear: nn.Linear) -> bool:
    weight = linear.weight
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and torch.equal(weight, weight.half().float())
    )
