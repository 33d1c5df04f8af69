"""Reused keys and values give what a computation from scratch gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import SIZES, random_adapter, tiny_network
from intrinsics.errors import BaseModelError, ContextTooLong
from intrinsics.kv import Segment
from intrinsics.model import Model, Row

# float32 rounding of sums taken in another order, on logits of magnitude 1 to 10
TOLERANCE = 2e-5


def tokens(count: int, seed: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, SIZES["vocab_size"], (count,), generator=generator).tolist())


def scratch(architecture: str, ids: tuple[int, ...]) -> Tensor:
    """transformers' own forward over all tokens, eager attention, no cache."""
    network = tiny_network(architecture)
    network.set_attn_implementation("eager")
    with torch.inference_mode():
        logits: Tensor = network(torch.tensor([ids]), use_cache=False).logits[0]
    return logits


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=TOLERANCE, rtol=0)


@pytest.fixture
def model(architecture: str) -> Model:
    return Model(tiny_network(architecture))


@torch.inference_mode()
def test_prefill_and_decode_equal_a_forward_from_scratch(model: Model, architecture: str) -> None:
    ids = tokens(40, 1)
    expected = scratch(architecture, ids)
    branch = model.tree.branch()
    read = tuple(range(25))
    close(model.forward([Row(ids[:25], branch, read=read, store=True)])[0], expected[:25])
    for i in range(25, 40):
        logits = model.forward([Row(ids[i : i + 1], branch, read=(0,), store=True)])[0]
        close(logits[0], expected[i])
    model.tree.check_integrity()


@torch.inference_mode()
def test_forks_and_rollbacks_leave_no_trace(model: Model, architecture: str) -> None:
    ids, other = tokens(30, 1), tokens(12, 2)
    branch = model.tree.branch()
    model.forward([Row(ids[:20], branch, store=True)])
    fork = branch.fork()
    model.forward([Row(other, fork, store=True)])
    fork.truncate(10)
    model.forward([Row(other[:4], fork, store=True)])
    model.tree.check_integrity()
    logits = model.forward([Row(ids[20:], branch, read=(9,), store=True)])[0]
    close(logits[0], scratch(architecture, ids)[-1])
    again = model.forward([Row(other[4:5], fork, read=(0,))])[0]
    close(again[0], scratch(architecture, ids[:10] + other[:5])[-1])


@torch.inference_mode()
def test_a_mixed_forward_equals_each_row_alone(model: Model) -> None:
    """Different prefixes, lengths, adapters, ranks and modules, with base rows among them."""
    model.bank.add("small", random_adapter(model, 2, 5, ("q_proj", "v_proj")))
    model.bank.add("large", random_adapter(model, 8, 6, ("q_proj", "k_proj", "down_proj")))
    long, short = model.tree.branch(), model.tree.branch()
    model.forward([Row(tokens(33, 1), long, store=True), Row(tokens(7, 2), short, store=True)])
    rows = [
        Row(tokens(5, 3), long, adapter="small", active_from=2, read=(0, 4)),
        Row(tokens(5, 4), long, read=(4,)),
        Row(tokens(1, 5), short, adapter="large", read=(0,)),
        Row(tokens(5, 6), short, adapter="small", read=(4,)),
        Row(tokens(9, 7), long, adapter="large", active_from=8, read=(7, 8)),
    ]
    together = model.forward(rows)
    for row, mixed in zip(rows, together, strict=True):
        close(mixed, model.forward([row])[0])


@torch.inference_mode()
def test_tokens_before_activation_are_the_base_model_bit_for_bit(model: Model) -> None:
    model.bank.add("one", random_adapter(model, 4, 5, ("q_proj", "k_proj", "v_proj", "o_proj")))
    branch = model.tree.branch()
    row = Row(tokens(12, 1), branch, read=tuple(range(12)))
    adapted = Row(row.tokens, branch, adapter="one", active_from=7, read=row.read)
    base, mixed = model.forward([row])[0], model.forward([adapted])[0]
    assert torch.equal(base[:7], mixed[:7])
    assert not torch.allclose(base[7:], mixed[7:], atol=1e-3)


@torch.inference_mode()
def test_the_base_model_after_an_adapter_is_the_base_model(model: Model) -> None:
    branch = model.tree.branch()
    model.forward([Row(tokens(12, 1), branch, store=True)])
    before = model.forward([Row(tokens(3, 2), branch, read=(2,))])[0]
    model.bank.add("one", random_adapter(model, 4, 5, ("q_proj", "v_proj")))
    model.forward([Row(tokens(4, 3), branch, adapter="one", read=(3,))])
    assert torch.equal(before, model.forward([Row(tokens(3, 2), branch, read=(2,))])[0])


@torch.inference_mode()
def test_rows_after_rows_of_the_same_forward(model: Model, architecture: str) -> None:
    ids, first, second = tokens(20, 1), tokens(4, 2), tokens(3, 3)
    branch = model.tree.branch()
    model.forward([Row(ids[:11], branch, store=True)])
    rows = [
        Row(ids[11:], branch, store=True),
        Row(first, branch, after=0, read=(3,)),
        Row(second, branch, after=1, read=(2,)),
        Row(second, branch, after=0, read=(2,)),
    ]
    _, one, two, three = model.forward(rows)
    close(one[0], scratch(architecture, ids + first)[-1])
    close(two[0], scratch(architecture, ids + first + second)[-1])
    close(three[0], scratch(architecture, ids + second)[-1])


def test_the_differentiable_path_equals_the_fused_one(model: Model) -> None:
    branch = model.tree.branch()
    with torch.no_grad():
        model.forward([Row(tokens(30, 1), branch, store=True)])
        fused = model.forward(
            [Row(tokens(6, 2), branch, read=(5,)), Row(tokens(3, 3), branch, read=(2,))]
        )
    exact = model.forward(
        [Row(tokens(6, 2), branch, read=(5,)), Row(tokens(3, 3), branch, read=(2,))]
    )
    for a, b in zip(fused, exact, strict=True):
        close(a, b)


@torch.inference_mode()
def test_a_failing_forward_changes_nothing(
    model: Model, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = tokens(20, 1)
    branch = model.tree.branch()
    model.forward([Row(ids[:12], branch, store=True)])
    with monkeypatch.context() as broken:
        broken.setattr(Segment, "write", _full_at_the_second_layer)
        with pytest.raises(MemoryError):
            model.forward([Row(tokens(5, 9), branch, store=True)])
    model.tree.check_integrity()
    assert branch.length == 12
    logits = model.forward([Row(ids[12:], branch, read=(7,), store=True)])[0]
    close(logits[0], scratch(architecture, ids)[-1])


_write = Segment.write


def _full_at_the_second_layer(segment: Segment, layer: int, *written: Any) -> None:
    if layer == 1:
        raise MemoryError
    _write(segment, layer, *written)


@torch.inference_mode()
def test_beyond_the_context_is_refused(model: Model) -> None:
    with pytest.raises(ContextTooLong, match=r"600 tokens do not fit .* 512"):
        model.forward([Row(tokens(600, 1), model.tree.branch())])


def test_a_directory_that_is_no_model_is_refused(tmp_path: object) -> None:
    with pytest.raises(BaseModelError, match=r"no config\.json"):
        Model.load(tmp_path)  # type: ignore[arg-type]


@torch.inference_mode()
def test_bfloat16_is_computed_as_by_transformers(architecture: str) -> None:
    ids = tokens(40, 1)
    plain = tiny_network(architecture).bfloat16()
    plain.set_attn_implementation("eager")
    expected = plain(torch.tensor([ids]), use_cache=False).logits[0].float()
    model = Model(tiny_network(architecture).bfloat16())
    branch = model.tree.branch()
    model.forward([Row(ids[:20], branch, store=True)])
    logits = [model.forward([Row((i,), branch, read=(0,), store=True)])[0] for i in ids[20:]]
    exact = scratch(architecture, ids)
    # as far from float32 as transformers' own bfloat16 is, within a factor of 2
    apart = float((torch.cat(logits).float() - exact[20:]).abs().max())
    assert apart <= 2 * float((expected - exact).abs().max())
    assert model.token_bytes * 2 == Model(tiny_network(architecture)).token_bytes


@torch.inference_mode()
def test_adapters_work_in_bfloat16(architecture: str) -> None:
    ids = tokens(20, 2)
    small, full = Model(tiny_network(architecture).bfloat16()), Model(tiny_network(architecture))
    full.bank.add("one", random_adapter(full, 4, 5))
    small.bank.add("one", full.bank["one"])
    rows = [
        model.forward([Row(ids, model.tree.branch(), adapter="one", active_from=9, read=(19,))])[0]
        for model in (small, full)
    ]
    assert float((rows[0].float() - rows[1]).abs().max()) < 0.2 * float(rows[1].abs().max())


@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [
        ("cpu", "int3", "dtype 'int3'; use one of float32, bfloat16"),
        ("abacus", "float32", "device 'abacus'"),
        pytest.param(
            "cuda",
            "float32",
            "sees no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one here"),
        ),
    ],
)
def test_a_device_or_dtype_that_there_is_not_is_refused(
    tmp_path: Path, device: str, dtype: str, message: str
) -> None:
    tiny_network().save_pretrained(tmp_path)
    with pytest.raises(BaseModelError, match=message):
        Model.load(tmp_path, device=device, dtype=dtype)
    assert Model.load(tmp_path, dtype="bfloat16").network.dtype == torch.bfloat16
