"""A Llama-shaped network computed directly: few operations a layer, joined projections.

transformers' own forward spends as long between the matrix products of a decode step as in them.
The modules stay transformers'; this walks over their weights. It is used only for classes it was
written for, and only where it gives what transformers gives on a probe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu
from transformers import PreTrainedModel

from .architecture import Told
from .attention import Plan, attend
from .kernel import Kernel
from .lora import AdapterBank
from .packed import Joined

CLASSES = frozenset(
    f"{name}ForCausalLM" for name in ("Llama", "Mistral", "Qwen2", "Qwen3", "Granite", "SmolLM3")
)


@dataclass(frozen=True)
class _Norm:
    weight: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight.shape, self.weight, self.eps)

    @staticmethod
    def of(module: Any) -> _Norm:
        return _Norm(module.weight, module.variance_epsilon)


@dataclass(frozen=True)
class _Projection:
    """Linear layers computed as one, and what the adapter bank calls them."""

    names: tuple[str, ...]
    map: Joined
    bank: AdapterBank

    def __call__(self, x: Tensor) -> Tensor:
        out = self.map(x)
        self.bank.update(self.names, x, out)
        return out

    @staticmethod
    def of(bank: AdapterBank, parent: nn.Module, prefix: str, *names: str) -> _Projection:
        linears = [parent.get_submodule(name) for name in names]
        full = tuple(f"{prefix}.{name}" for name in names)
        return _Projection(full, Joined(linears), bank)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Layer:
    before_attention: _Norm
    qkv: _Projection
    query_norm: _Norm | None
    key_norm: _Norm | None
    rotated: bool
    kernel: Kernel
    output: _Projection
    before_mlp: _Norm
    gate_up: _Projection
    down: _Projection


class Direct:
    """The forward of one network. It reads the adapter bank as transformers' layers do."""

    def __init__(self, network: PreTrainedModel, bank: AdapterBank, told: Sequence[Told]) -> None:
        """`told`: what each layer tells its attention (see `architecture.check_architecture`)."""
        config = network.config.get_text_config()
        body: Any = network.model
        self._embedding: Tensor = body.embed_tokens.weight
        self._scale_in = float(getattr(config, "embedding_multiplier", 1.0))
        self._scale_branch = float(getattr(config, "residual_multiplier", 1.0))
        self._scale_out = float(getattr(config, "logits_scaling", 1.0))
        self._rotary = body.rotary_emb
        self._heads: int = config.num_attention_heads
        self._kv_heads: int = config.num_key_value_heads
        self._layers = [
            _layer(layer, f"model.layers.{i}", bank, told[i]) for i, layer in enumerate(body.layers)
        ]
        self._norm = _Norm.of(body.norm)
        self._head = Joined([network.lm_head])

    def __call__(self, tokens: Tensor, plan: Plan, keep: Tensor) -> Tensor:
        """Logits of the kept tokens. Shapes: tokens (n,), keep (m,) -> (m, vocabulary).

        Changes: the segments of the plan's slots, and the bank's active adapters act.
        """
        x = self._embedding[tokens]
        if self._scale_in != 1.0:
            x = x * self._scale_in
        cos, sin = (part[0].unsqueeze(1) for part in self._rotary(x, plan.positions[None]))
        half = sin.shape[-1] // 2
        sin = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)
        for number, layer in enumerate(self._layers):
            attended = self._attention(layer, number, layer.before_attention(x), plan, cos, sin)
            x = self._add(x, attended)
            gate, up = layer.gate_up(layer.before_mlp(x)).chunk(2, dim=-1)
            inner = silu(gate)
            x = self._add(x, layer.down(inner * up if inner.requires_grad else inner.mul_(up)))
        logits = self._head(self._norm(x[keep]))
        return logits if self._scale_out == 1.0 else logits / self._scale_out

    def _add(self, x: Tensor, branch: Tensor) -> Tensor:
        """In place, unless a gradient needs what was there before."""
        if branch.requires_grad:
            return x.add(branch, alpha=self._scale_branch)
        return x.add_(branch, alpha=self._scale_branch)

    def _attention(
        self, layer: _Layer, number: int, x: Tensor, plan: Plan, cos: Tensor, sin: Tensor
    ) -> Tensor:
        count, heads, kv_heads = x.shape[0], self._heads, self._kv_heads
        parts = layer.qkv(x).view(count, heads + 2 * kv_heads, -1)
        rotated, v = parts[:, : heads + kv_heads], parts[:, heads + kv_heads :]
        if layer.query_norm is not None and layer.key_norm is not None:
            q, k = layer.query_norm(rotated[:, :heads]), layer.key_norm(rotated[:, heads:])
            rotated = torch.cat([q, k], dim=1)
        if layer.rotated:  # the halves change places, the first with its sign changed
            turned = rotated.roll(rotated.shape[-1] // 2, -1)
            rotated = torch.addcmul(rotated * cos, turned, sin)
        q = rotated[:, :heads].transpose(0, 1).unflatten(0, (kv_heads, -1))
        k = rotated[:, heads:].transpose(0, 1)
        out = attend(layer.kernel, plan, number, q, k, v.transpose(0, 1))
        return layer.output(out.permute(2, 0, 1, 3).reshape(count, -1))


def _layer(layer: Any, path: str, bank: AdapterBank, told: Told) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    within = f"{path}.self_attn"
    normed = getattr(attention, "q_norm", None) is not None
    return _Layer(
        before_attention=_Norm.of(layer.input_layernorm),
        qkv=_Projection.of(bank, attention, within, "q_proj", "k_proj", "v_proj"),
        query_norm=_Norm.of(attention.q_norm) if normed else None,
        key_norm=_Norm.of(attention.k_norm) if normed else None,
        rotated=bool(getattr(attention, "use_rope", True)),
        kernel=Kernel(told.scaling, told.window),
        output=_Projection.of(bank, attention, within, "o_proj"),
        before_mlp=_Norm.of(layer.post_attention_layernorm),
        gate_up=_Projection.of(bank, mlp, f"{path}.mlp", "gate_proj", "up_proj"),
        down=_Projection.of(bank, mlp, f"{path}.mlp", "down_proj"),
    )
