"""The KV tree as data and as lines: every token once, who reads it, and where it forks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from hypothesis import given
from hypothesis import strategies as st

from chains.kvtree import Drawing, Run, runs_of
from chains.render import ASCII
from intrinsics.kv import Branch, KVTree


def decode(ids: list[int]) -> str:
    return " ".join(map(str, ids))


def grown(branch: Branch, ids: Sequence[int], owner: str | None = None) -> Branch:
    """The branch, with these tokens appended."""
    slot = branch.reserve(len(ids), owner)
    keys = torch.zeros(1, len(ids), 2)
    slot.segment.write(0, slot.offset, keys, keys)
    slot.commit(ids)
    return branch


def every(runs: Sequence[Run]) -> Iterator[Run]:
    for run in runs:
        yield run
        yield from every(run.below)


def test_what_is_shared_is_one_run_and_each_fork_has_its_own() -> None:
    tree = KVTree()
    main = grown(tree.branch(held=False), range(10))
    other = main.fork()
    grown(main, [20, 21])
    grown(other, [30, 31, 32])
    [shared] = runs_of(tree, {"main": main, "other": other})
    assert (shared.ids, shared.readers) == (list(range(10)), ("main", "other"))
    assert [(run.ids, run.readers) for run in shared.below] == [
        ([20, 21], ("main",)),
        ([30, 31, 32], ("other",)),
    ]


def test_a_fork_inside_a_segment_cuts_it() -> None:
    tree = KVTree()
    main = grown(tree.branch(held=False), range(10))
    early = main.fork()
    early.truncate(4)
    [shared] = runs_of(tree, {"main": main, "early": early})
    [rest] = shared.below
    assert (len(shared.ids), len(rest.ids), rest.start) == (4, 6, 4)
    assert (shared.readers, rest.readers) == (("main", "early"), ("main",))


def test_who_only_keeps_or_works_is_told_apart() -> None:
    tree = KVTree()
    base = grown(tree.branch(), range(6))
    private = grown(tree.branch(), range(3), "safety")
    assert private.length == 3
    kinds = {(run.owner, run.held) for run in every(runs_of(tree, {}))}
    assert kinds == {(None, True), ("safety", True)}
    loose = base.fork(held=False)
    base.truncate(0)
    [kept] = [run for run in runs_of(tree, {}) if run.owner is None]
    assert not kept.held
    assert loose.length == 6


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(1, 5)), max_size=12))
def test_every_reader_finds_its_tokens_on_its_way(steps: list[tuple[int, int, int]]) -> None:
    tree = KVTree()
    branches = {f"b{i}": tree.branch(held=False) for i in range(4)}
    said: dict[str, list[int]] = {name: [] for name in branches}
    fresh = iter(range(1000, 10_000))
    for number, back, more in steps:
        name, source = f"b{number}", f"b{(number + back) % 4}"
        if back % 2:
            branches[name].adopt(branches[source], branches[source].length)
            said[name] = list(said[source])
        else:
            kept = min(back, branches[name].length)
            branches[name].truncate(kept)
            del said[name][kept:]
        ids = [next(fresh) for _ in range(more)]
        grown(branches[name], ids)
        said[name] += ids
    runs = runs_of(tree, branches)
    for name, ids in said.items():
        assert [i for run in every(runs) if name in run.readers for i in run.ids] == ids


def test_lines_fit_and_the_rest_is_counted() -> None:
    tree = KVTree()
    main = grown(tree.branch(held=False), range(10))
    forks = {f"f{i}": grown(main.fork(), [50 + i]) for i in range(6)}
    lines = Drawing("f1", ASCII, decode, width=40, rows=4).lines(runs_of(tree, forks))
    assert [line.plain.split()[-1] for line in lines][-1] == "all"
    assert len(lines) == 4 and "and 4 more" in lines[-1].plain
    assert all(line.cell_len <= 40 for line in lines)
    assert "*f1" in Drawing("f1", ASCII, decode, 80).lines(runs_of(tree, forks))[2].plain
