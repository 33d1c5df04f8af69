"""The kernel's ways to the same result."""

from __future__ import annotations

import pytest
import torch

from intrinsics.kernel import Kernel, attend_exact, merge


@pytest.mark.parametrize("keys", [1024, 1025, 3001])
@pytest.mark.parametrize("queries", [1, 5, 40])
def test_keys_in_halves_give_what_all_at_once_gives(keys: int, queries: int) -> None:
    generator = torch.Generator().manual_seed(keys)
    q, k, v = (torch.randn(1, 3, n, 16, generator=generator) for n in (queries, keys, keys))
    found, expected = Kernel(0.3).attend(q, k, v), attend_exact(q, k, v, 0.3)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=2e-6, rtol=0)  # float32 sums in another order


def test_merging_with_nothing_changes_nothing() -> None:
    out, lse = torch.randn(2, 3, 4), torch.randn(2, 3)
    joined, together = merge(out, lse, torch.zeros(2, 3, 4), torch.full((2, 3), -torch.inf))
    assert torch.equal(joined, out)
    assert torch.equal(together, lse)
