"""The budget: what is kept, shared and evicted changes cost and never a result."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import check_integrity, tiny_engine, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.errors import MemoryBudgetError
from intrinsics.kv import Branch, KVTree, gather
from intrinsics.messages import Message
from intrinsics.retention import MIN_SHARED_TOKENS, Retention

LAYERS, HEADS, DIM = 2, 2, 4
TOKEN_BYTES = LAYERS * 2 * HEADS * DIM * 4
GRANULE = 16
SYSTEM = "You are a careful assistant that answers briefly and never guesses at anything."


def append(branch: Branch, ids: list[int]) -> None:
    slot = branch.reserve(len(ids))
    keys = torch.tensor(ids, dtype=torch.float32)[None, :, None].expand(HEADS, -1, DIM)
    for layer in range(LAYERS):
        slot.segment.write(layer, slot.offset, keys, -keys)
    slot.commit(ids)


def ids_of(branch: Branch) -> list[int]:
    return [int(k) for k in gather(branch, 1)[0][0, :, 0]] if branch.length else []


actions = st.lists(
    st.tuples(
        st.sampled_from(["append", "fork", "truncate", "hold", "drop", "new", "room"]),
        st.integers(0, 9),
        st.integers(1, 60),
    ),
    max_size=40,
)


class Twins:
    """Branches beside plain lists of what each should read.

    Tokens come from two short cycles, so that much begins alike.
    """

    def __init__(self) -> None:
        self.tree = KVTree()
        self.retention = Retention(self.tree, budget=400 * TOKEN_BYTES)
        self.branches: list[Branch] = [self.tree.branch()]
        self.twins: list[list[int]] = [[]]

    def append(self, i: int, amount: int) -> None:
        self.twins[i] = self.twins[i][: self.branches[i].length]  # what went is computed again
        fresh = [(len(self.twins[i]) + n) // 40 * (i % 2) for n in range(amount)]
        append(self.branches[i], fresh)
        self.twins[i] = self.twins[i] + fresh
        self.retention.use(self.branches[i])

    def fork(self, i: int, amount: int) -> None:
        self.branches.append(self.branches[i].fork(held=bool(amount % 2)))
        self.twins.append(self.twins[i][: self.branches[i].length])

    def truncate(self, i: int, amount: int) -> None:
        length = min(amount, self.branches[i].length)
        self.branches[i].truncate(length)
        self.twins[i] = self.twins[i][:length]

    def hold(self, i: int, amount: int) -> None:
        self.twins[i] = self.twins[i][: self.branches[i].length]
        self.branches[i].held = bool(amount % 2)

    def drop(self, i: int, _: int) -> None:
        if len(self.branches) > 1:
            del self.branches[i], self.twins[i]

    def new(self, i: int, _: int) -> None:
        branch = self.tree.branch()
        found = self.retention.advance(branch, self.twins[i], len(self.twins[i]))
        assert found == 0 or found >= MIN_SHARED_TOKENS
        self.branches.append(branch)
        self.twins.append(self.twins[i][:found])

    def room(self, _: int, amount: int) -> None:
        needed = amount * 5 * TOKEN_BYTES
        try:
            self.retention.make_room(needed)
        except MemoryBudgetError:
            assert all(map(self.in_use, self.branches)), "all there is is in use"
        else:
            assert self.tree.allocated_bytes + needed <= self.retention.budget

    def in_use(self, branch: Branch) -> bool:
        """Whether all that the branch reads is read by a held one too."""
        return branch.tail is None or branch.tail.needed_end(held_only=True) >= branch.length

    def check(self) -> None:
        self.tree.check_integrity()
        for branch, twin in zip(self.branches, self.twins, strict=True):
            found = ids_of(branch)
            assert found == (twin if branch.held else twin[: len(found)])


@given(actions)
@settings(max_examples=200)
def test_held_branches_stay_whole_and_others_a_beginning(steps: list[tuple[str, int, int]]) -> None:
    state = Twins()
    for action, which, amount in steps:
        getattr(state, action)(which % len(state.branches), amount)
        state.check()


def test_the_least_recently_used_goes_first() -> None:
    tree = KVTree()
    retention = Retention(tree, budget=4 * GRANULE * TOKEN_BYTES)
    old, new = tree.branch(held=False), tree.branch(held=False)
    for mark, branch in enumerate((old, new)):
        append(branch, [mark] * GRANULE)
        retention.use(branch)
    retention.use(old)
    retention.make_room(3 * GRANULE * TOKEN_BYTES)
    assert (old.length, new.length) == (GRANULE, 0)
    assert retention.stats().evictions == 1


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = tiny_engine()
    write_intrinsic(engine, tmp_path, "judge", seed=1)
    engine.catalogue = Catalogue([tmp_path])
    return engine


def messages(i: int) -> list[Message]:
    question = f"Question {i}: why is the sky {'blue' * i}?"
    return [Message(role="system", content=SYSTEM), Message(role="user", content=question)]


def test_conversations_that_begin_alike_share_the_beginning(engine: Engine) -> None:
    alone = [engine.call(engine.conversation(messages(i)), "judge") for i in range(3)]
    hits = engine.stats().kv.hits
    assert hits == 2
    assert engine.stats().kv.shared_tokens >= 2 * len(SYSTEM)
    engine.release()
    with engine.model.lock:  # they come at once: one computes what all begin with
        jobs = [engine.submit(engine.conversation(messages(i)), ["judge"]) for i in range(3)]
    for job, verdict in zip(jobs, alone, strict=True):
        found = job.result()
        assert found["judge"].distribution == pytest.approx(verdict.distribution, abs=1e-5)
    assert engine.stats().kv.hits == hits + 2
    check_integrity(engine)


def test_what_was_evicted_is_computed_again_and_is_the_same(engine: Engine) -> None:
    expected = [engine.call(engine.conversation(messages(i)), "judge") for i in range(6)]
    engine.release()
    assert engine.kv_bytes == 0
    twin = tiny_engine()
    budget = 240 * twin.model.token_bytes
    small = Engine(twin.model, twin.chat.tokenizer, engine.catalogue, kv_budget=budget)
    talks = [small.conversation(messages(i)) for i in range(6)]
    for _ in range(3):
        for talk, verdict in zip(talks, expected, strict=True):
            found = small.call(talk, "judge")
            assert found.distribution == pytest.approx(verdict.distribution, abs=1e-5)
            assert small.stats().kv.bytes <= budget
    assert small.stats().kv.evictions > 0
    check_integrity(small)


def test_a_rollback_after_an_eviction_is_exact(engine: Engine) -> None:
    talk = engine.conversation(messages(2))
    expected = engine.call(talk, "judge").distribution
    engine.generate(talk)
    engine.release()
    assert talk.cached == 0
    talk.rollback(2)
    assert engine.call(talk, "judge").distribution == pytest.approx(expected, abs=1e-5)
