"""Prompts that were copied from one another, so that a family lies in one split as a whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from random import Random

from passages import words

SHINGLE = 4  # words
ALIKE = 0.2  # Jaccard index of the shingles from which on one is a copy of the other
LOOKED_AT = 150  # words from the start
SPLITS = (("train", 0.64), ("dev", 0.78), ("test", 1.0))


def families(prompts: Sequence[str]) -> list[int]:
    """For each prompt the index of its family's first member."""
    parent = list(range(len(prompts)))
    shingles = [_shingles(prompt) for prompt in prompts]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, own in enumerate(shingles):
        shared = Counter(j for shingle in own for j in holders[shingle])
        for j, count in sorted(shared.items()):
            if count >= ALIKE * (len(own) + len(shingles[j]) - count):
                one, other = sorted((_root(parent, i), _root(parent, j)))
                parent[other] = one
        for shingle in own:
            holders[shingle].append(i)
    return [_root(parent, i) for i in range(len(prompts))]


def split_of(prompt: str) -> str:
    """The split of the family that begins with this prompt."""
    drawn = Random(f"family {prompt}").random()
    return next(split for split, below in SPLITS if drawn < below)


def _root(parent: list[int], i: int) -> int:
    while parent[i] != i:
        i = parent[i]
    return i


def _shingles(prompt: str) -> set[tuple[str, ...]]:
    said = words(prompt)[:LOOKED_AT]
    return {tuple(said[i : i + SHINGLE]) for i in range(max(1, len(said) - SHINGLE + 1))}
