"""Which column each item stands in: the second half of a layered layout, after Brandes and Köpf.

Items are aligned with a median neighbour in four ways: seen from above or below, from the left or
the right. The mean of the two middle places is balanced, and long arrows come out straight.
Source: "Fast and Simple Horizontal Coordinate Assignment", Graph Drawing 2001.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf

from .layers import Item

_GAP = 2  # cells between two items of a row
_ROUNDS = 8
Places = dict[int, int]


def columns(rows: Sequence[Sequence[Item]]) -> Places:
    """The middle column of each item, by its id; none is left of column 0."""
    conflicts = _conflicts(rows)
    found: list[Places] = []
    for down in (True, False):
        for left in (True, False):
            seen = [list(row if left else reversed(row)) for row in (rows if down else rows[::-1])]
            places = _compacted(seen, _roots(seen, down, conflicts))
            found.append(places if left else {key: -x for key, x in places.items()})
    items = {id(item): item for row in rows for item in row}
    middle = {key: sum(row[1:3]) // 2 for key, row in _sorted(found, items).items()}
    _tighten(rows, middle)
    least = min(x - items[key].width // 2 for key, x in middle.items())
    return {key: x - least for key, x in middle.items()}


def _sorted(found: Sequence[Places], items: dict[int, Item]) -> dict[int, list[int]]:
    """Each item's four places; all drawings are moved to an edge of the narrowest one."""
    sides = [
        (
            min(x - items[key].width // 2 for key, x in places.items()),
            max(x + items[key].width // 2 for key, x in places.items()),
        )
        for places in found
    ]
    low, high = min(sides, key=lambda side: side[1] - side[0])
    shifts = [
        (low - side[0]) if index % 2 == 0 else (high - side[1]) for index, side in enumerate(sides)
    ]
    return {
        key: sorted(places[key] + by for places, by in zip(found, shifts, strict=True))
        for key in items
    }


def _conflicts(rows: Sequence[Sequence[Item]]) -> set[tuple[int, int]]:
    """Steps that cross the inside of a long arrow; they give way, so that it stays straight."""
    found: set[tuple[int, int]] = set()
    for upper, lower in pairwise(rows):
        place = {id(item): index for index, item in enumerate(lower)}
        steps = [
            (index, place[id(end)], item, end)
            for index, item in enumerate(upper)
            for end in item.below
        ]
        inner = [(a, b) for a, b, item, end in steps if item.passes and end.passes]
        for a, b, item, end in steps:
            outer = not (item.passes and end.passes)
            if outer and any((a - c) * (b - d) < 0 for c, d in inner):
                found |= {(id(item), id(end)), (id(end), id(item))}
    return found


def _roots(
    rows: Sequence[Sequence[Item]], down: bool, conflicts: set[tuple[int, int]]
) -> dict[int, int]:
    """Blocks of items that share a column, each named by its first item."""
    root = {id(item): id(item) for row in rows for item in row}
    taken: set[int] = set()  # items that are aligned with one in the row after
    for before, row in pairwise(rows):
        place = {id(item): index for index, item in enumerate(before)}
        last = -1
        for item in row:
            near = sorted(item.above if down else item.below, key=lambda one: place[id(one)])
            for one in near[(len(near) - 1) // 2 : len(near) // 2 + 1]:
                free = id(one) not in taken and (id(one), id(item)) not in conflicts
                if root[id(item)] == id(item) and free and last < place[id(one)]:
                    root[id(item)] = root[id(one)]
                    taken.add(id(one))
                    last = place[id(one)]
    return root


def _compacted(rows: Sequence[Sequence[Item]], root: dict[int, int]) -> Places:
    """Blocks as far left as they go, then each as near to its right neighbours as they allow."""
    after: dict[int, dict[int, int]] = {block: {} for block in root.values()}
    for row in rows:
        for left, right in pairwise(row):
            steps = after[root[id(left)]]
            steps[root[id(right)]] = max(_apart(left, right), steps.get(root[id(right)], 0))
    line = _in_line(after)
    x = dict.fromkeys(line, 0)
    for block in line:
        for other, apart in after[block].items():
            x[other] = max(x[other], x[block] + apart)
    for block in reversed(line):
        if after[block]:
            x[block] = max(x[block], min(x[other] - apart for other, apart in after[block].items()))
    return {key: x[block] for key, block in root.items()}


def _in_line(after: dict[int, dict[int, int]]) -> list[int]:
    """The blocks, each before those to its right."""
    waiting = dict.fromkeys(after, 0)
    for steps in after.values():
        for other in steps:
            waiting[other] += 1
    line = [block for block, count in waiting.items() if count == 0]
    for block in line:  # grows while it is read
        for other in after[block]:
            waiting[other] -= 1
            if waiting[other] == 0:
                line.append(other)
    assert len(line) == len(after), "aligned items never cross, so blocks have an order"
    return line


def _tighten(rows: Sequence[Sequence[Item]], x: Places) -> None:
    """Move boxes and straight arrows into the room they have, nearer to what they meet.

    The four alignments leave in the open what none of them aligned. Changes: the places.
    """
    sides = {id(item): (left, right) for row in rows for item, left, right in _with_sides(row)}
    blocks = _straight(rows, x)
    for _ in range(_ROUNDS):
        for block in blocks:
            low, high = _room([(item, *sides[id(item)]) for item in block], x)
            wanted = _between(block, x) if block[0].passes else _median(block[0], x)
            for item in block:
                x[id(item)] = int(min(max(wanted, low), high))


def _median(box: Item, x: Places) -> int:
    """The middle of what a box meets."""
    met = sorted(x[id(one)] for one in box.above + box.below)
    return (met[(len(met) - 1) // 2] + met[len(met) // 2]) // 2 if met else x[id(box)]


def _between(block: Sequence[Item], x: Places) -> int:
    """The column nearest to a straight arrow's own that is straight under or over its ends too."""
    spans = [_span(one, x) for one in (*block[0].above, *block[-1].below)]
    low, high = max(low for low, _ in spans), min(high for _, high in spans)
    here = x[id(block[0])]
    if low <= high:
        return min(max(here, low), high)
    return min((low, high), key=lambda edge: abs(edge - here))


def _span(item: Item, x: Places) -> tuple[int, int]:
    """The columns in which an arrow can meet an item."""
    inside = 0 if item.passes else item.width // 2 - 1
    return x[id(item)] - inside, x[id(item)] + inside


def _with_sides(row: Sequence[Item]) -> list[tuple[Item, Item | None, Item | None]]:
    return list(zip(row, [None, *row[:-1]], [*row[1:], None], strict=True))


def _straight(rows: Sequence[Sequence[Item]], x: Places) -> list[list[Item]]:
    """Each box alone, and items of an arrow together as far as they share a column."""
    blocks: list[list[Item]] = []
    of: dict[int, list[Item]] = {}
    for item in (item for row in rows for item in row):
        above = item.above[0] if item.passes else None
        if above is not None and above.passes and x[id(above)] == x[id(item)]:
            block = of[id(above)]
        else:
            block = []
            blocks.append(block)
        block.append(item)
        of[id(item)] = block
    return blocks


def _room(block: Sequence[tuple[Item, Item | None, Item | None]], x: Places) -> tuple[float, float]:
    """Between which columns a block can stand."""
    low = [x[id(left)] + _apart(left, item) for item, left, _ in block if left is not None]
    high = [x[id(right)] - _apart(item, right) for item, _, right in block if right is not None]
    return max(low, default=-inf), min(high, default=inf)


def _apart(left: Item, right: Item) -> int:
    """From the middle of an item to that of the next."""
    return left.width // 2 + right.width // 2 + 1 + _GAP
