"""Rows into train, dev and test: the same rows always fall the same way, and none into two.

A row goes where the hash of its first key says (article, passage, question, prompt), so that a
source more or less moves no other row.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from variety import Row

SPLITS = ("train", "dev", "test")
VERDICTS = ("label", "answer")


@dataclass(frozen=True)
class Keyed:
    """A row and what it must not share with another split; the first key places it."""

    row: Row
    keys: tuple[str, ...]


@dataclass
class Divided:
    """The rows of each split, and how many were left out for what."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    repeated: int = 0
    contradictory: int = 0
    straddling: int = 0


def place(key: str) -> str:
    """Where a key falls: 80 in 100 to train, 10 to dev, 10 to test."""
    percent = int(hashlib.sha1(key.encode()).hexdigest(), 16) % 100
    return "train" if percent < 80 else "dev" if percent < 90 else "test"


def bare(text: str) -> str:
    """Letters and digits only, in one case: what is left when two texts differ by typesetting."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def limited(rows: Iterable[Keyed], limit: int) -> list[Keyed]:
    """All rows of `limit` first keys, drawn by another hash than the one that places them."""
    rows = list(rows)
    keys = sorted({row.keys[0] for row in rows}, key=lambda k: hashlib.sha256(k.encode()).digest())
    kept = set(keys[:limit])
    return [row for row in rows if row.keys[0] in kept]


def divide(rows: Iterable[Keyed], placed: Mapping[str, str]) -> Divided:
    """Split rows by their first key, or as `placed` says; rows keep their order.

    Repeated rows come once, those of two verdicts not at all, and a row that shares any key with a
    later split is left out of the earlier one: dev and test lose nothing to train.
    """
    divided = Divided()
    unique = _unique(rows, divided)
    splits = [placed.get(row.keys[0]) or place(row.keys[0]) for row in unique]
    taken: dict[str, str] = {}
    for split in reversed(SPLITS):
        for row, own in zip(unique, splits, strict=True):
            if own == split:
                if any(taken.get(key, split) != split for key in row.keys):
                    divided.straddling += 1
                    continue
                divided.rows[split].append(row.row)
                taken.update(dict.fromkeys(row.keys, split))
    return divided


def _unique(rows: Iterable[Keyed], divided: Divided) -> list[Keyed]:
    said: dict[str, list[Keyed]] = {}
    for row in rows:
        texts = [document["text"] for document in row.row["documents"]]
        said.setdefault(json.dumps([row.row["messages"], texts]), []).append(row)
    unique = []
    for same in said.values():
        verdicts = Counter(str([row.row.get(name) for name in VERDICTS]) for row in same)
        if len(verdicts) > 1:
            divided.contradictory += len(same)
            continue
        divided.repeated += len(same) - 1
        unique.append(same[0])
    return unique
