"""Prefixes kept for training: each read as if computed from scratch, what is common held once."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import tiny_engine
from intrinsics.errors import TrainingError
from intrinsics.kv import gather
from intrinsics.model import Model, Row
from intrinsics.prefix_cache import BATCH_TOKENS, MIN_SHARED_TOKENS, CacheLimits, PrefixCache
from intrinsics.readout import Ids

runs = st.lists(st.integers(3, 6), min_size=1, max_size=2 * MIN_SHARED_TOKENS).map(tuple)
prefixes = st.lists(st.lists(runs, min_size=1, max_size=3), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_engine().model


@settings(max_examples=30)
@given(prefixes, st.lists(runs, min_size=1, max_size=3))
def test_every_prefix_is_as_from_scratch(
    model: Model, tails: list[list[Ids]], heads: list[Ids]
) -> None:
    """Texts that begin alike, end within each other, or share nothing."""
    texts = [
        head + tuple(token for run in tail for token in run) for head in heads for tail in tails
    ]
    cache = PrefixCache(model, texts, torch.float32)
    for done in cache.fill():
        assert 0 < done <= cache.tokens
    assert done == cache.tokens <= sum(map(len, texts))
    for text in texts:
        branch, alone = cache.branch(text), model.tree.branch()
        with torch.no_grad():
            model.forward([Row(text, alone, store=True)])
        assert branch.length == len(text)
        assert tuple(t for segment, used in branch.path() for t in segment.ids[:used]) == text
        for ours, scratch in zip(gather(branch, 1), gather(alone, 1), strict=True):
            torch.testing.assert_close(ours, scratch, atol=1e-5, rtol=0)  # sums in another order


def test_what_is_common_is_held_once(model: Model) -> None:
    trunk, passage = tuple(range(3, 23)), tuple(range(30, 90))
    texts = [(*trunk, *passage, i, i) for i in range(3, 9)] + [(*trunk, i) for i in range(90, 99)]
    cache = PrefixCache(model, texts, torch.float32)
    list(cache.fill())
    assert cache.tokens == len(trunk) + len(passage) + 6 * 2 + 9


def test_a_forward_takes_many_short_ones_and_a_long_one_in_chunks(model: Model) -> None:
    before = model.forwards
    list(PrefixCache(model, [(3 + i, 4) for i in range(200)], torch.float32).fill())
    assert model.forwards == before + 1
    assert BATCH_TOKENS >= 400


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (CacheLimits(0, 0), "take 0.0 GiB; the limits are 0.0 GiB in memory and 0.0 GiB on disk"),
        (CacheLimits(0), "No space left on device.*; free space there, set TMPDIR to another"),
    ],
)
def test_prefixes_that_fit_nowhere_are_told(
    model: Model, limits: CacheLimits, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = _full if limits.disk else os.posix_fallocate
    monkeypatch.setattr(os, "posix_fallocate", full)
    cache = PrefixCache(model, [(3, 4, 5)], torch.float16, limits)
    with pytest.raises(TrainingError, match=message):
        list(cache.fill())


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_limits_are_not_negative() -> None:
    with pytest.raises(TrainingError, match="0 bytes or more"):
        CacheLimits(memory=-1)
