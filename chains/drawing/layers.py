"""Rows and their order: the first half of a layered layout, after Sugiyama, Tagawa and Toda.

Boxes stand in even rows and labels in odd ones. An arrow is a strand of items, one in each row
between its ends, so that the next steps see steps from a row to the next and nothing longer.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from .picture import Arrow, Box, Picture

_SWEEPS = 24


@dataclass(eq=False)
class Item:
    """A box, a label, or a place where an arrow passes a row. Width and height in cells.

    The width is odd: an item has a middle column.
    """

    row: int
    width: int = 1
    height: int = 0
    box: Box | None = None
    lines: tuple[str, ...] = ()
    above: list[Item] = field(default_factory=list)
    below: list[Item] = field(default_factory=list)

    @property
    def passes(self) -> bool:
        """Whether it belongs to an arrow."""
        return self.box is None


@dataclass(frozen=True)
class Strand:
    """An arrow as items from its upper to its lower end; of a loop on one box it comes back."""

    arrow: Arrow
    items: tuple[Item, ...]


def rows_of(picture: Picture) -> dict[str, int]:
    """An even row for each box: below all that come before it, loops apart."""
    forward = [one for one in picture.arrows if not one.back]
    waiting = {box.name: 0 for box in picture.boxes}
    for arrow in forward:
        waiting[arrow.target] += 1
    rows = dict.fromkeys(waiting, 0)
    ready = [name for name, count in waiting.items() if count == 0]
    for name in ready:  # grows while it is read
        for arrow in forward:
            if arrow.source == name:
                rows[arrow.target] = max(rows[arrow.target], rows[name] + 2)
                waiting[arrow.target] -= 1
                if waiting[arrow.target] == 0:
                    ready.append(arrow.target)
    return rows


def strand(arrow: Arrow, ends: dict[str, Item], label: Item) -> Strand:
    """The items of an arrow; the label is in the row next to its source.

    Changes: the items' neighbours.
    """
    source, target = ends[arrow.source], ends[arrow.target]
    upper, lower = (target, source) if arrow.back else (source, target)
    if arrow.loop:
        label.row = upper.row + 1
        items = [upper, label]
    else:
        label.row = lower.row - 1 if arrow.back else upper.row + 1
        middle = [
            label if row == label.row else Item(row) for row in range(upper.row + 1, lower.row)
        ]
        items = [upper, *middle, lower]
    for first, second in pairwise(items):
        first.below.append(second)
        second.above.append(first)
    return Strand(arrow, (*items, upper) if arrow.loop else tuple(items))


def ordered(rows: Sequence[list[Item]]) -> list[list[Item]]:
    """The rows' items from left to right, with few crossings: the best of some sweeps."""
    best, fewest = [list(row) for row in rows], crossings(rows)
    now = [list(row) for row in rows]
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        down = sweep % 2 == 0
        for index in range(1, len(now)) if down else range(len(now) - 2, -1, -1):
            _sort(now[index], now[index - 1 if down else index + 1], down)
        _swap_neighbours(now)
        count = crossings(now)
        if count < fewest:
            best, fewest = [list(row) for row in now], count
    return best


def _sort(row: list[Item], fixed: Sequence[Item], down: bool) -> None:
    """Each item goes to the mean place of its neighbours in the fixed row."""
    place = {id(item): index for index, item in enumerate(fixed)}
    keys: dict[int, float] = {}
    for index, item in enumerate(row):
        near = [place[id(one)] for one in (item.above if down else item.below)]
        keys[id(item)] = sum(near) / len(near) if near else float(index)
    row.sort(key=lambda item: keys[id(item)])


def _swap_neighbours(rows: list[list[Item]]) -> None:
    """Swap two that stand side by side wherever that takes a crossing away."""
    for index, row in enumerate(rows):
        above = _places(rows[index - 1]) if index else {}
        below = _places(rows[index + 1]) if index + 1 < len(rows) else {}
        for left in range(len(row) - 1):
            first, second = row[left], row[left + 1]
            gain = _inversions(first.above, second.above, above)
            gain += _inversions(first.below, second.below, below)
            if gain > 0:
                row[left], row[left + 1] = second, first


def _places(row: Sequence[Item]) -> dict[int, int]:
    return {id(item): index for index, item in enumerate(row)}


def _inversions(first: Sequence[Item], second: Sequence[Item], place: dict[int, int]) -> int:
    """How many crossings go, less those that come, when the two change places."""
    pairs = [(place[id(a)], place[id(b)]) for a in first for b in second]
    return sum(a > b for a, b in pairs) - sum(a < b for a, b in pairs)


def crossings(rows: Sequence[Sequence[Item]]) -> int:
    """How often strands cross between rows."""
    total = 0
    for upper, lower in pairwise(rows):
        place = _places(lower)
        seen: list[int] = []
        for item in upper:
            ends = sorted(place[id(one)] for one in item.below)
            total += sum(len(seen) - bisect_left(seen, end + 1) for end in ends)
            for end in ends:
                insort(seen, end)
    return total
