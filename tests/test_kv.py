"""The KV tree against a twin that keeps every branch as a plain list."""

from __future__ import annotations

import gc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intrinsics.kv import Branch, KVTree, gather

LAYERS, HEADS, DIM = 2, 2, 4
TOKEN_BYTES = LAYERS * 2 * HEADS * DIM * 4


def append(branch: Branch, marks: list[int], owner: str | None = None) -> None:
    """Write tokens whose keys are their mark and whose values are minus that."""
    slot = branch.reserve(len(marks), owner)
    keys = torch.tensor(marks, dtype=torch.float32)[None, :, None].expand(HEADS, -1, DIM)
    for layer in range(LAYERS):
        slot.segment.write(layer, slot.offset, keys + layer, -keys)
    slot.commit(marks)


def marks_of(branch: Branch) -> list[int]:
    if branch.length == 0:
        return []
    keys, values = gather(branch, layer=1)
    assert torch.equal(keys - 1, -values)
    return [int(mark) for mark in keys[0, :, 0] - 1]


actions = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 9), st.integers(1, 20)),
        st.tuples(st.just("fork"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("truncate"), st.integers(0, 9), st.integers(0, 40)),
        st.tuples(st.just("abandon"), st.integers(0, 9), st.integers(1, 20)),
        st.tuples(st.just("drop"), st.integers(0, 9), st.just(0)),
    ),
    max_size=40,
)


@given(actions)
@settings(max_examples=200, deadline=None)
def test_any_sequence_of_actions_equals_plain_lists(steps: list[tuple[str, int, int]]) -> None:
    tree = KVTree()
    branches, twins, mark = [tree.branch()], [list[int]()], 0
    for action, which, amount in steps:
        i = which % len(branches)
        if action == "append":
            fresh = list(range(mark, mark + amount))
            mark += amount
            append(branches[i], fresh)
            twins[i] = twins[i] + fresh
        elif action == "fork":
            branches.append(branches[i].fork())
            twins.append(twins[i])
        elif action == "truncate":
            length = min(amount, branches[i].length)
            branches[i].truncate(length)
            twins[i] = twins[i][:length]
        elif action == "abandon":
            branches[i].reserve(amount).abandon()
        elif len(branches) > 1:
            del branches[i], twins[i]
        tree.check_integrity()
        assert [marks_of(branch) for branch in branches] == twins


def test_a_fork_allocates_nothing_and_branches_add_only_their_tails() -> None:
    tree = KVTree()
    trunk = tree.branch()
    append(trunk, list(range(64)))
    before = tree.allocated_bytes
    assert before == 64 * TOKEN_BYTES
    forks = [trunk.fork() for _ in range(8)]
    assert tree.allocated_bytes == before
    for fork in forks[1:]:
        append(fork, [1] * 16)
    append(forks[0], [1] * 16)
    tails = tree.allocated_bytes - before
    assert tails <= 8 * 16 * TOKEN_BYTES * 1.25  # one tail grows in place, with its slack


def test_what_no_branch_holds_is_freed() -> None:
    tree = KVTree()
    trunk = tree.branch()
    append(trunk, list(range(32)))
    kept = tree.allocated_bytes
    fork = trunk.fork()
    append(trunk, [1])
    append(fork, [2] * 100)
    del fork
    gc.collect()
    assert len(tree.segments) == 1
    trunk.truncate(0)
    assert tree.allocated_bytes == 0 < kept


def test_an_owner_writes_into_segments_of_its_own() -> None:
    tree = KVTree()
    trunk = tree.branch()
    append(trunk, [1, 2, 3])
    guest = trunk.fork()
    append(guest, [4], owner="safety")
    append(guest, [5], owner="safety")
    append(trunk, [6])
    assert [segment.owner for segment, _ in guest.path()] == [None, "safety"]
    assert marks_of(guest) == [1, 2, 3, 4, 5]
    assert marks_of(trunk) == [1, 2, 3, 6]


def test_two_branches_that_reserve_at_once_do_not_share_room() -> None:
    tree = KVTree()
    one = tree.branch()
    append(one, [1, 2])
    two = one.fork()
    slots = [one.reserve(3), two.reserve(3)]
    assert slots[0].segment is not slots[1].segment
    for slot in slots:
        slot.abandon()
    tree.check_integrity()


@pytest.mark.parametrize("length", [-1, 4])
def test_truncating_to_where_a_branch_never_was_is_refused(length: int) -> None:
    branch = KVTree().branch()
    append(branch, [1, 2, 3])
    with pytest.raises(ValueError, match="cannot truncate a branch of 3 tokens"):
        branch.truncate(length)
