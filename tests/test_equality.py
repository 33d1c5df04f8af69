"""Every supported architecture computes what transformers' own eager attention does, uncached.

The texts are longer than the windows, and the reference is another network with the same weights
that has never seen the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from conftest import random_adapter
from intrinsics import kernel
from intrinsics.adapter import Adapter
from intrinsics.kv import Branch
from intrinsics.lora import lora_twin
from intrinsics.model import Model, Row
from tiny_networks import NETWORKS, SIZES, WINDOW_TOKENS, tiny_network

# Float32 rounding of sums taken in another order, on logits of up to 4: up to 6e-6 was seen, and
# 1.1e-5 for gpt-oss. A window longer by one token, or a cap, a sink or a bias left out, was seen
# to give 0.18 to 3.4.
TOLERANCE = 5e-5

GRADIENT_TOLERANCE = 1e-4  # of a weight's greatest gradient, for the same reason

CHUNKS = (1, 12, 3)  # of the stored prefix: shorter and longer than the window
PREFIX = sum(CHUNKS)


@pytest.fixture(params=NETWORKS)
def architecture(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def model(architecture: str) -> Model:
    return Model(tiny_network(architecture))


@pytest.fixture
def plain(architecture: str) -> PreTrainedModel:
    network = tiny_network(architecture)
    network.set_attn_implementation("eager")
    return network


def tokens(count: int, seed: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(3, SIZES["vocab_size"], (count,), generator=generator).tolist())


@torch.inference_mode()
def scratch(plain: PreTrainedModel, ids: tuple[int, ...], last: int) -> Tensor:
    """The logits of the last tokens, from one forward over all of them."""
    logits: Tensor = plain(torch.tensor([ids]), use_cache=False).logits[0, -last:]
    return logits


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


def every(ids: Sequence[int]) -> tuple[int, ...]:
    return tuple(range(len(ids)))


def stored(model: Model, ids: tuple[int, ...]) -> Branch:
    """A branch that holds the first tokens, appended chunk by chunk."""
    branch = model.tree.branch()
    for chunk in CHUNKS:
        start = branch.length
        model.forward([Row(ids[start : start + chunk], branch, store=True)])
    assert branch.length == PREFIX
    return branch


@contextmanager
def adapted(plain: PreTrainedModel, adapter: Adapter, start: int) -> Iterator[None]:
    """Within this block the plain network has the adapter from position `start` on."""

    def hook(name: str) -> Any:
        def add(_: nn.Module, args: tuple[Tensor], out: Tensor) -> Tensor:
            out = out.clone()
            out[..., start:, :] += lora_twin(args[0][..., start:, :], adapter.modules[name])
            return out

        return add

    hooks = [
        plain.get_submodule(name).register_forward_hook(hook(name)) for name in adapter.modules
    ]
    yield
    for handle in hooks:
        handle.remove()


@torch.inference_mode()
def test_a_whole_text_in_one_row(model: Model, plain: PreTrainedModel) -> None:
    ids = tokens(40, 1)
    found = model.forward([Row(ids, model.tree.branch(), read=every(ids))])[0]
    close(found, scratch(plain, ids, 40))


@torch.inference_mode()
def test_a_prefix_stored_in_uneven_chunks_then_the_rest(
    model: Model, plain: PreTrainedModel
) -> None:
    ids = tokens(40, 1)
    rest = ids[PREFIX:]
    found = model.forward([Row(rest, stored(model, ids), read=every(rest))])[0]
    close(found, scratch(plain, ids, len(rest)))


@torch.inference_mode()
def test_two_branches_of_one_prefix_and_a_step_of_each_in_one_forward(
    model: Model, plain: PreTrainedModel
) -> None:
    """The steps read a row of the same forward; the next ones read what that forward stored."""
    ids, long, short, step = tokens(PREFIX, 1), tokens(11, 2), tokens(4, 3), tokens(1, 4)
    one = stored(model, ids)
    two = one.fork()
    found = model.forward(
        [
            Row(long, one, read=every(long), store=True),
            Row(short, two, read=every(short), store=True),
            Row(step, one, after=0, read=(0,)),
            Row(step, two, after=1, read=(0,)),
        ]
    )
    expected = [scratch(plain, ids + tail + step, len(tail) + 1) for tail in (long, short)]
    for tail, logits, after in zip(found[:2], expected, found[2:], strict=True):
        close(torch.cat([tail, after]), logits)
    model.tree.check_integrity()
    again = model.forward([Row(step, branch, read=(0,), store=True) for branch in (one, two)])
    for logits, whole in zip(again, expected, strict=True):
        close(logits, whole[-1:])


@torch.inference_mode()
def test_an_adapter_from_a_token_on_among_rows_of_the_base_model(
    model: Model, plain: PreTrainedModel, architecture: str
) -> None:
    ids, judged, other = tokens(PREFIX, 1), tokens(13, 2), tokens(9, 3)
    adapter = random_adapter(model, targets=NETWORKS[architecture].targets)
    assert {name.rpartition(".")[2] for name in adapter.modules} == {
        *NETWORKS[architecture].targets
    }
    model.bank.add("judge", adapter)
    branch, start = stored(model, ids), 4
    found = model.forward(
        [
            Row(other, branch, read=every(other)),
            Row(judged, branch, adapter="judge", active_from=start, read=every(judged)),
            Row(judged, branch, read=every(judged)),
        ]
    )
    close(found[0], scratch(plain, ids + other, len(other)))
    base = scratch(plain, ids + judged, len(judged))
    close(found[2], base)
    with adapted(plain, adapter, PREFIX + start):
        expected = scratch(plain, ids + judged, len(judged))
    close(found[1], expected)
    close(found[1][:start], base[:start])
    assert (expected[start:] - base[start:]).abs().max() > 0.1  # the adapter does something


def test_gradients(model: Model, plain: PreTrainedModel, architecture: str) -> None:
    """Those of transformers' own attention and layers: of two rows, one of which reads another."""
    ids, judged, after = tokens(PREFIX, 1), tokens(13, 2), tokens(5, 3)
    adapter = random_adapter(model, targets=NETWORKS[architecture].targets)
    weights = [weight for low in adapter.modules.values() for weight in (low.a, low.b)]
    weight = torch.randn(len(after), SIZES["vocab_size"])
    for one in weights:
        one.requires_grad_()
    model.bank.add("judge", adapter)
    with torch.no_grad():
        branch = stored(model, ids)
    rows = [
        Row(judged, branch, adapter="judge", active_from=4, read=every(judged)),
        Row(after, branch, 0, "judge", read=every(after)),
    ]
    first, second = model.forward(rows)
    found = torch.autograd.grad((first.logsumexp(-1).sum() + (second * weight).sum()), weights)
    with adapted(plain, adapter, PREFIX + 4):
        logits = plain(torch.tensor([ids + judged + after]), use_cache=False).logits[0, PREFIX:]
    first, second = logits[: len(judged)], logits[len(judged) :]
    loss = first.logsumexp(-1).sum() + (second * weight).sum()
    for ours, theirs in zip(found, torch.autograd.grad(loss, weights), strict=True):
        scale = float(theirs.abs().max())
        torch.testing.assert_close(ours, theirs, atol=GRADIENT_TOLERANCE * scale, rtol=0)


def test_the_attention_path_is_what_is_expected(model: Model, architecture: str) -> None:
    assert model.attention_path == NETWORKS[architecture].path


@pytest.mark.parametrize("count", [WINDOW_TOKENS, 4 * WINDOW_TOKENS])
@torch.inference_mode()
def test_the_attention_path_is_the_one_that_is_taken(
    model: Model, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention is written out always, never, or from where a text is longer than the window."""
    written_out, calls = kernel.attend_exact, []

    def counted(*args: Any, **keywords: Any) -> tuple[Tensor, Tensor]:
        calls.append(args)
        return written_out(*args, **keywords)

    monkeypatch.setattr(kernel, "attend_exact", counted)
    ids = tokens(count, 1)
    branch = model.tree.branch()
    model.forward([Row(ids[:3], branch, store=True)])
    model.forward([Row(ids[3:], branch)])
    parts = set(model.attention_path.split(", "))
    always, windowed = parts & {"soft-capped", "uneven"}, "windowed" in parts
    assert bool(calls) == bool(always or (windowed and count > WINDOW_TOKENS))


def test_a_window_as_long_as_the_context_leaves_the_path_fused() -> None:
    network = tiny_network("mistral")
    network.config.sliding_window = network.config.max_position_embeddings
    assert Model(network).attention_path == "fused"
