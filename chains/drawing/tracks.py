"""Between two rows: on which line each arrow goes sideways, so that no two lie on each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Wire:
    """A step from a column of the upper row to a column of the lower one."""

    upper: int
    lower: int


@dataclass(frozen=True)
class Bend:
    """A wire's way sideways: from a column to a column, on a track counted from the top."""

    start: int
    stop: int
    track: int


@dataclass(frozen=True)
class _Piece:
    wire: int
    start: int
    stop: int

    @property
    def span(self) -> tuple[int, int]:
        return min(self.start, self.stop), max(self.start, self.stop)


def bends(wires: Sequence[Wire]) -> list[list[Bend]]:
    """The bends of each wire: none where it is straight, and two where others are in its way.

    No column is the end of two wires at the same row.
    """
    pieces = [
        _Piece(i, wire.upper, wire.lower)
        for i, wire in enumerate(wires)
        if wire.upper != wire.lower
    ]
    free = max((max(wire.upper, wire.lower) for wire in wires), default=0) + 2
    while ring := _ring(pieces):  # each waits for the next: one goes by a column of its own
        old = pieces.pop(ring)
        pieces[ring:ring] = [_Piece(old.wire, old.start, free), _Piece(old.wire, free, old.stop)]
        free += 2
    tracks = _tracks(pieces)
    found: list[list[Bend]] = [[] for _ in wires]
    for piece, track in zip(pieces, tracks, strict=True):
        found[piece.wire].append(Bend(piece.start, piece.stop, track))
    return found


def _above(pieces: Sequence[_Piece]) -> Iterator[tuple[int, int]]:
    """Pairs of pieces of which the first must lie above the second.

    Where one comes down in the column in which another goes on down, it must have turned before.
    """
    for a, first in enumerate(pieces):
        for b, second in enumerate(pieces):
            if first.wire == second.wire:
                if b == a + 1:
                    yield a, b
            elif first.start == second.stop:
                yield a, b


def _ring(pieces: Sequence[_Piece]) -> int | None:
    """A piece that must lie above itself, by way of others; never the first."""
    after: dict[int, set[int]] = {}
    for a, b in _above(pieces):
        after.setdefault(a, set()).add(b)
    return next((i for i in range(1, len(pieces)) if _reaches(after, i, i)), None)


def _reaches(after: dict[int, set[int]], start: int, goal: int) -> bool:
    seen: set[int] = set()
    ahead = list(after.get(start, ()))
    while ahead:
        here = ahead.pop()
        if here == goal:
            return True
        if here not in seen:
            seen.add(here)
            ahead += after.get(here, ())
    return False


def _tracks(pieces: Sequence[_Piece]) -> list[int]:
    """A track for each piece: of two that overlap, the one above crosses less that way."""
    after: dict[int, set[int]] = {i: set() for i in range(len(pieces))}
    for a, b in _above(pieces):
        after[a].add(b)
    for a, first in enumerate(pieces):
        for b, second in enumerate(pieces[:a]):
            if first.span[0] > second.span[1] or second.span[0] > first.span[1]:
                continue
            upper, lower = (b, a) if _cost(second, first) <= _cost(first, second) else (a, b)
            if _reaches(after, lower, upper):
                upper, lower = lower, upper
            after[upper].add(lower)
    tracks = [0] * len(pieces)
    for _ in pieces:  # longest paths have no more steps than there are pieces
        for a, lower_ones in after.items():
            for b in lower_ones:
                tracks[b] = max(tracks[b], tracks[a] + 1)
    return tracks


def _cost(upper: _Piece, lower: _Piece) -> int:
    """How often two pieces cross if the first lies above."""
    down = lower.span[0] < upper.stop < lower.span[1]
    up = upper.span[0] < lower.start < upper.span[1]
    return down + up
