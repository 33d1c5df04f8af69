"""Where the parts of a chain stand in its source: a YAML file, a Python file, or nowhere yet."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import FrameType
from typing import Protocol

from intrinsics.errors import Fault
from intrinsics.located import Loc, Located


class Places(Protocol):
    """Turns a place in the model into a fault that points at the source.

    Places: ("nodes", NAME, ...), ("flow", INDEX, "source" | "target" | "when" | ...), (KEY, ...).
    """

    def fault(self, loc: Loc, message: str, offset: int = 0) -> Fault:
        """A fault at `loc`; `offset` counts characters into the text that stands there."""
        ...

    def inner(self, loc: Loc) -> Places:
        """The places of the sub-chain whose node stands at `loc`, its kind included."""
        ...


@dataclass(frozen=True)
class EdgePlace:
    """Where one edge stands in a YAML file: its item, and the columns of its two names."""

    loc: Loc
    source: int
    target: int


@dataclass(frozen=True)
class YamlPlaces:
    """Places in a YAML file, of the chain that stands at `prefix` in it.

    `subs` are those of its sub-chains, which may be in files of their own.
    """

    located: Located
    edges: tuple[EdgePlace, ...]
    prefix: Loc = ()
    subs: Mapping[Loc, YamlPlaces] = field(default_factory=dict)

    def fault(self, loc: Loc, message: str, offset: int = 0) -> Fault:
        """A fault at the line and column of `loc`."""
        if loc[:1] == ("flow",) and len(loc) > 1:
            return self._edge_fault(loc, message, offset)
        at = (*self.prefix, *loc)
        key = len(loc) == 2 and loc[0] != "budget" and offset == 0
        return self.located.fault(at, message, key=key, offset=offset)

    def inner(self, loc: Loc) -> YamlPlaces:
        """The places of a sub-chain."""
        return self.subs[loc]

    def _edge_fault(self, loc: Loc, message: str, offset: int) -> Fault:
        edge = self.edges[int(loc[1])]
        part = loc[2] if len(loc) > 2 else "source"
        if part in ("source", "target"):
            offset = edge.source if part == "source" else edge.target
            return self.located.fault(edge.loc, message, key=True, offset=offset)
        return self.located.fault((*edge.loc, str(part)), message, offset=offset)


@dataclass(frozen=True)
class CodePlace:
    """A place in a Python file; line and column count from 1."""

    file: str
    line: int
    column: int

    def fault(self, message: str) -> Fault:
        """A fault here, with its source line."""
        source = linecache.getline(self.file, self.line).rstrip("\n")
        return Fault(self.file, self.line, self.column, message, source)


@dataclass(frozen=True)
class CodePlaces:
    """Places in Python code; an unknown one is that of its nearest known parent."""

    places: Mapping[Loc, CodePlace]
    subs: Mapping[Loc, Places] = field(default_factory=dict)

    def fault(self, loc: Loc, message: str, offset: int = 0) -> Fault:
        """A fault at the call that made the part."""
        return self._near(loc).fault(message)

    def _near(self, loc: Loc) -> CodePlace:
        known = (loc[:size] for size in range(len(loc), -1, -1) if loc[:size] in self.places)
        return self.places[next(known)]

    def inner(self, loc: Loc) -> Places:
        """The places of a sub-chain; those of one that came as data are its node's."""
        return self.subs.get(loc) or CodePlaces({(): self._near(loc)})


def caller(depth: int = 1) -> CodePlace:
    """The place of the expression that called the caller of this function."""
    frame: FrameType = sys._getframe(depth + 1)
    code = frame.f_code
    line, _, column, _ = next(islice(code.co_positions(), frame.f_lasti // 2, None))
    source = linecache.getline(code.co_filename, line or frame.f_lineno)
    column = len(source.encode()[: column or 0].decode(errors="replace"))
    return CodePlace(code.co_filename, line or frame.f_lineno, column + 1)
