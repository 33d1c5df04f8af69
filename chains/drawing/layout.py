"""Where everything of a picture lies, in character cells: what SVG and ASCII both draw."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len

from .columns import Places, columns
from .layers import Item, Strand, ordered, rows_of, strand
from .picture import Arrow, Box, Picture
from .tracks import Bend, Wire, bends

Point = tuple[int, int]
_WORDS = 30  # cells; longer texts are wrapped
_KEPT = "\N{NO-BREAK SPACE}"
_PORTS = 2  # cells from one arrow's end to the next on the same side of a box


@dataclass(frozen=True)
class PlacedBox:
    """A box and its lines of text; the border is the outermost cells."""

    box: Box
    x: int
    y: int
    width: int
    height: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class PlacedArrow:
    """An arrow as lines from its source to its target, interrupted by its label.

    A line is its corners, each straight above, below or beside the one before. The first begins
    on the source's border, the last ends beside the target's. `label` is the middle column of
    the text, and its first line.
    """

    arrow: Arrow
    lines: tuple[tuple[Point, ...], ...]
    label: Point
    text: tuple[str, ...]

    def stubs(self) -> Iterator[tuple[Point, Point]]:
        """The lines' ends beside the label, and the direction in which it lies from each."""
        for before, after in zip(self.lines, self.lines[1:], strict=False):
            end, start = before[-1], after[0]
            step = (1, 0) if self.arrow.loop else (0, 1 if start[1] > end[1] else -1)
            yield end, step
            yield start, (-step[0], -step[1])


@dataclass(frozen=True)
class Layout:
    """A picture with places; nothing is outside of `width` and `height`."""

    picture: Picture
    width: int
    height: int
    boxes: tuple[PlacedBox, ...]
    arrows: tuple[PlacedArrow, ...]


def layout(picture: Picture) -> Layout:
    """Place a picture: from `start` at the top downwards."""
    return _Plan(picture).layout()


@dataclass(frozen=True)
class _Step:
    """A strand's way from an item to one in the next row; of a loop's two ways, which."""

    strand: Strand
    index: int

    @property
    def upper(self) -> Item:
        return self.strand.items[0 if self.loop else self.index]

    @property
    def lower(self) -> Item:
        return self.strand.items[1 if self.loop else self.index + 1]

    @property
    def loop(self) -> bool:
        """Whether it is a part of a loop on one box."""
        return self.strand.arrow.loop


class _Plan:
    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        rows = rows_of(picture)
        self.ends = {box.name: _box_item(box, rows[box.name]) for box in picture.boxes}
        self.labels: dict[int, Item] = {}
        self.strands: list[Strand] = []
        for arrow in picture.arrows:
            label = _label_item(arrow)
            self.strands.append(strand(arrow, self.ends, label))
            self.labels[id(self.strands[-1])] = label
        for item in self.ends.values():
            item.width = max(item.width, _odd(_PORTS * (self._ports(item) - 1) + 3))
        self.rows = ordered(self._rows())
        self.x: Places = columns(self.rows)
        self.y: dict[int, int] = {}
        self.port: dict[tuple[int, int, bool], int] = {}
        self.bend: dict[tuple[int, int], list[Bend]] = {}

    def _ports(self, item: Item) -> int:
        """How many arrows meet the fuller side of a box; a loop has two ends below it."""
        assert item.box is not None
        loops = sum(one.loop and one.source == item.box.name for one in self.picture.arrows)
        return max(len(item.above), len(item.below) + loops)

    def _rows(self) -> list[list[Item]]:
        """All items by row, in the order of the chain: what comes first stands left."""
        rows: dict[int, dict[int, Item]] = {}
        for item in self.ends.values():
            rows.setdefault(item.row, {})[id(item)] = item
        for one in self.strands:
            for item in one.items:
                rows.setdefault(item.row, {})[id(item)] = item
        return [list(rows[row].values()) for row in sorted(rows)]

    def layout(self) -> Layout:
        self._set_ports()
        height = self._set_rows()
        boxes = tuple(self._placed_box(item) for item in self.ends.values())
        arrows = tuple(self._placed_arrow(one) for one in self.strands)
        right = [box.x + box.width for box in boxes]
        right += [arrow.label[0] + _width(arrow.text) // 2 + 1 for arrow in arrows]
        right += [x + 1 for arrow in arrows for line in arrow.lines for x, _ in line]
        return Layout(self.picture, max(right), height, boxes, arrows)

    def _steps(self) -> list[_Step]:
        return [_Step(one, i) for one in self.strands for i in range(len(one.items) - 1)]

    def _set_ports(self) -> None:
        """The columns of the arrows' ends on each side of each box: near where they lead."""
        ends: list[tuple[Item, bool, int, _Step]] = []
        for step in self._steps():
            ends.append((step.upper, True, self._far(step, step.lower), step))
            ends.append((step.lower, False, self._far(step, step.upper), step))
        ends.sort(key=lambda end: (id(end[0]), end[1], end[2]))
        for (_, below), group in groupby(ends, key=lambda end: (id(end[0]), end[1])):
            side = list(group)
            item = side[0][0]
            spread = _spread([far for _, _, far, _ in side], self.x[id(item)], item)
            for (_, _, _, step), column in zip(side, spread, strict=True):
                self.port[id(step.strand), step.index, below] = column

    def _far(self, step: _Step, item: Item) -> int:
        """Where a step goes; the two ways of a loop go to the two sides of its label."""
        half = item.width // 2 if step.loop else 0
        return self.x[id(item)] + (half if step.index else -half)

    def _set_rows(self) -> int:
        """The line at which each row and each arrow's bends lie; the height of all."""
        by_row: dict[int, list[_Step]] = {}
        for step in self._steps():
            by_row.setdefault(step.upper.row, []).append(step)
        y = 0
        for row in self.rows:
            self.y[row[0].row] = y
            y += max(item.height for item in row)
            steps = by_row.get(row[0].row, [])
            found = bends([self._wire(step) for step in steps])
            first = y + (row[0].row % 2 == 0)  # below boxes there is a line for arrowheads
            tracks = 1 + max((bend.track for one in found for bend in one), default=-1)
            for step, one in zip(steps, found, strict=True):
                lines = [Bend(bend.start, bend.stop, first + bend.track) for bend in one]
                self.bend[id(step.strand), step.index] = lines
            if steps:
                y += tracks + 1
        return y

    def _wire(self, step: _Step) -> Wire:
        strand_, index = id(step.strand), step.index
        return Wire(self.port[strand_, index, True], self.port[strand_, index, False])

    def _placed_box(self, item: Item) -> PlacedBox:
        assert item.box is not None
        left = self.x[id(item)] - item.width // 2
        return PlacedBox(item.box, left, self.y[item.row], item.width, item.height, item.lines)

    def _placed_arrow(self, one: Strand) -> PlacedArrow:
        """Its lines from upper end to lower end, turned round if it points up."""
        label = self.labels[id(one)]
        place = (self.x[id(label)], self.y[label.row])
        if one.arrow.loop:
            lines = self._loop(one)
        else:
            lines = self._lines(one, label)
            if one.arrow.back:
                lines = [line[::-1] for line in reversed(lines)]
        return PlacedArrow(one.arrow, tuple(lines), place, label.lines)

    def _lines(self, one: Strand, label: Item) -> list[tuple[Point, ...]]:
        upper, lower = one.items[0], one.items[-1]
        lines: list[list[Point]] = [[]]
        top = self.y[upper.row] + upper.height
        for index in range(len(one.items) - 1):
            wire = self._wire(_Step(one, index))
            if not lines[-1]:
                lines[-1].append((wire.upper, top - (index == 0 and not one.arrow.back)))
            lines[-1] += _corners(self.bend[id(one), index])
            if one.items[index + 1] is label and label.lines:
                lines[-1].append((wire.lower, self.y[label.row] - 1))
                lines.append([])
                top = self.y[label.row] + label.height
        lines[-1].append((wire.lower, self.y[lower.row] - (not one.arrow.back)))
        return [tuple(line) for line in lines]

    def _loop(self, one: Strand) -> list[tuple[Point, ...]]:
        """Down to the left end of its label, and up again from the right end."""
        box, label = one.items[:2]
        bottom, y = self.y[box.row] + box.height, self.y[label.row]
        lines: list[tuple[Point, ...]] = []
        for index, top in ((0, bottom - 1), (1, bottom)):
            wire = self._wire(_Step(one, index))
            corners = _corners(self.bend[id(one), index])
            line = ((wire.upper, top), *corners, (wire.lower, y))
            lines.append(line if index == 0 else line[::-1])
        return lines


def _corners(bends_: Iterable[Bend]) -> list[Point]:
    return [point for one in bends_ for point in ((one.start, one.track), (one.stop, one.track))]


def _spread(wanted: Sequence[int], middle: int, item: Item) -> list[int]:
    """Columns on a side of an item, as near to the wanted ones as width and distance allow."""
    if item.passes and len(wanted) == 1:
        return [middle]
    if item.passes:  # a loop's label: its two ends
        return [middle - item.width // 2, middle + item.width // 2]
    low, high = middle - item.width // 2 + 1, middle + item.width // 2 - 1
    found = [min(max(x, low), high) for x in wanted]
    for i in range(len(found)):
        least = low if i == 0 else found[i - 1] + _PORTS
        found[i] = max(found[i], least)
    for i in reversed(range(len(found))):
        most = high if i == len(found) - 1 else found[i + 1] - _PORTS
        found[i] = min(found[i], most)
    return found


def _box_item(box: Box, row: int) -> Item:
    lines = (box.name, *textwrap.wrap(box.detail, _WORDS))
    return Item(row, _odd(_width(lines) + 4), len(lines) + 2, box, lines)


def _label_item(arrow: Arrow) -> Item:
    """Of a loop on one box the label stands between the line's two ends."""
    lines = _lines(arrow.label)
    width = max(_width(lines) + 4, 5) if arrow.loop else max(_width(lines), 1)
    return Item(0, _odd(width), max(len(lines), int(arrow.loop)), None, lines)


def _lines(label: str) -> tuple[str, ...]:
    """A label in lines, broken behind commas wherever what lies between them is short enough."""
    parts = label.split(", ")
    whole = (one.replace(" ", _KEPT) if len(one) < _WORDS else one for one in parts)
    lines = textwrap.wrap(", ".join(whole), _WORDS, break_on_hyphens=False)
    return tuple(line.replace(_KEPT, " ") for line in lines)


def _width(lines: Sequence[str]) -> int:
    return max(map(cell_len, lines), default=0)


def _odd(width: int) -> int:
    return width + 1 - width % 2
