"""A layout as text: lines of boxes and arrows, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rich.cells import cell_len

from .layout import Layout, PlacedArrow, PlacedBox, Point

_N, _E, _S, _W = 1, 2, 4, 8
_SIDES = {(0, -1): _N, (1, 0): _E, (0, 1): _S, (-1, 0): _W}
_CORNERS = {_S | _E: "╭", _S | _W: "╮", _N | _E: "╰", _N | _W: "╯"}
_JOINTS = {_E | _W | _S: "┬", _E | _W | _N: "┴", _N | _E | _S | _W: "┼"}
_LINES = _CORNERS | _JOINTS
_PLAIN = str.maketrans("╭╮╰╯┬┴┼─┄│┆▼▲", "..''+++-~|:v^")


def ascii_art(layout: Layout, *, plain: bool = False) -> str:
    """The drawing, its lines without blanks at their end; `plain` has nothing beyond ASCII.

    Lines never join: where two meet they cross. Dashed ones close loops.
    """
    canvas = _Canvas(layout, plain)
    for box in layout.boxes:
        canvas.box(box)
    for arrow in layout.arrows:
        canvas.arrow(arrow)
    for box in layout.boxes:
        left = [(box.width - cell_len(line)) // 2 for line in box.lines]
        for y, (line, x) in enumerate(zip(box.lines, left, strict=True), box.y + 1):
            canvas.write(line, box.x + x, y)
    return canvas.text()


class _Canvas:
    """Sides from which a line comes into each cell, and the characters that stand there."""

    def __init__(self, layout: Layout, plain: bool) -> None:
        self.sides = [[0] * layout.width for _ in range(layout.height)]
        self.solid = [[False] * layout.width for _ in range(layout.height)]
        self.signs: dict[Point, str] = {}
        self.plain = plain

    def box(self, box: PlacedBox) -> None:
        right, bottom = box.x + box.width - 1, box.y + box.height - 1
        corners = ((box.x, box.y), (right, box.y), (right, bottom), (box.x, bottom))
        self.line((*corners, corners[0]), solid=True)

    def arrow(self, arrow: PlacedArrow) -> None:
        for line in arrow.lines:
            self.line(line, solid=not arrow.arrow.back)
        for (x, y), step in arrow.stubs():
            self._side(x, y, step, not arrow.arrow.back)
        x, y = arrow.lines[-1][-1]
        self.signs[x, y] = self._glyph("▲" if arrow.arrow.back else "▼")
        for row, text in enumerate(arrow.text, arrow.label[1]):
            self.write(text, arrow.label[0] - cell_len(text) // 2, row)

    def line(self, corners: Sequence[Point], *, solid: bool) -> None:
        for (x, y), (to_x, to_y) in pairwise(corners):
            step = ((to_x > x) - (to_x < x), (to_y > y) - (to_y < y))
            while (x, y) != (to_x, to_y):
                self._side(x, y, step, solid)
                x, y = x + step[0], y + step[1]
                self._side(x, y, (-step[0], -step[1]), solid)

    def _side(self, x: int, y: int, step: Point, solid: bool) -> None:
        self.sides[y][x] |= _SIDES[step]
        self.solid[y][x] |= solid

    def write(self, text: str, x: int, y: int) -> None:
        for character in text:
            self.signs[x, y] = character
            for beside in range(1, cell_len(character)):  # a wide one covers the next cell
                self.signs[x + beside, y] = ""
            x += cell_len(character)

    def text(self) -> str:
        lines = []
        for y, row in enumerate(self.sides):
            cells = (self.signs.get((x, y), self._drawn(x, y)) for x in range(len(row)))
            lines.append("".join(cells).rstrip())
        return "\n".join(lines) + "\n"

    def _drawn(self, x: int, y: int) -> str:
        sides = self.sides[y][x]
        if not sides:
            return " "
        if sides & (_E | _W) and not sides & (_N | _S):
            return self._glyph("─" if self.solid[y][x] else "┄")
        if sides in _LINES:
            return self._glyph(_LINES[sides])
        return self._glyph("│" if self.solid[y][x] else "┆")

    def _glyph(self, glyph: str) -> str:
        return glyph.translate(_PLAIN) if self.plain else glyph
