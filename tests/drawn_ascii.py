"""Reads a drawing of a chain in box-drawing characters: its boxes, and where each line leads."""

from __future__ import annotations

import re
from collections.abc import Iterator

N, E, S, W = (0, -1), (1, 0), (0, 1), (-1, 0)
TURNS = {
    ("╭", N): E, ("╭", W): S, ("╮", N): W, ("╮", E): S,
    ("╰", S): E, ("╰", W): N, ("╯", S): W, ("╯", E): N,
}  # fmt: skip


class Drawn:
    """A drawing whose characters are all one cell wide and whose labels have single blanks."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        width = max(map(len, lines))
        self.lines = [line.ljust(width) for line in lines]
        self.boxes = list(self._boxes())

    def at(self, x: int, y: int) -> str:
        return self.lines[y][x]

    def _boxes(self) -> Iterator[tuple[str, int, int, int, int]]:
        """Name and corners of each box."""
        for top, line in enumerate(self.lines):
            for edge in re.finditer("╭[─┴]+╮", line):
                left, right = edge.start(), edge.end() - 1
                bottom = top + 1
                while self.at(left, bottom) == "│" and self.at(right, bottom) == "│":
                    bottom += 1
                if re.fullmatch("╰[─┬]+╯", self.lines[bottom][left : right + 1]):
                    name = self.lines[top + 1][left + 1 : right].strip()
                    yield name, left, top, right, bottom

    def arrows(self) -> Iterator[tuple[str, str, str]]:
        """Source, target and label of each, found by going along its line."""
        for name, left, top, right, bottom in self.boxes:
            for x in range(left, right + 1):
                if self.at(x, bottom) == "┬":
                    yield name, *self._follow(x, bottom + 1, S)
                if self.at(x, top) == "┴":
                    yield name, *self._follow(x, top - 1, N)

    def _follow(self, x: int, y: int, way: tuple[int, int]) -> tuple[str, str]:
        label: list[str] = []
        while True:
            here = self.at(x, y)
            if here in "▼▲":
                assert way == (S if here == "▼" else N)
                return self._box_at(x, y + way[1]), " ".join(label)
            if (here, way) in TURNS:
                way = TURNS[here, way]
            elif way == E and here == " ":
                pass  # between a loop's line and its label
            elif here not in ("│┆┼┴┬" if way in (N, S) else "─┄┼"):
                text, start, end = self._words(x, y)
                label.insert(0 if way == N else len(label), text)
                if way == E:  # a loop's label, the other lines of it below the first
                    label += self._below((start + end) // 2, y)
                    x = end
                    continue
            x, y = x + way[0], y + way[1]

    def _words(self, x: int, y: int) -> tuple[str, int, int]:
        """The piece of a line around a cell, up to two blanks on either side."""
        for piece in re.finditer(r"[^\s╰╯]+(?: [^\s╰╯]+)*", self.lines[y]):
            if piece.start() <= x < piece.end():
                return piece[0], piece.start(), piece.end()
        raise AssertionError(f"a line ends in nothing at column {x}, line {y}")

    def _below(self, x: int, y: int) -> Iterator[str]:
        """The further lines of a text around column x; it may have a blank there."""
        while True:
            y += 1
            near = [i for i in (x, x - 1, x + 1) if self.at(i, y) not in " │┆─┄┼╭╮╰╯▲▼┬┴"]
            if not near:
                return
            yield self._words(near[0], y)[0]

    def _box_at(self, x: int, y: int) -> str:
        [name] = [
            name
            for name, left, top, right, bottom in self.boxes
            if left < x < right and y in (top, bottom)
        ]
        return name
