"""The KV tree as it is now: runs of tokens between two places where something forks, and who reads.

A segment is cut where a child begins or a reader ends; runs that nothing distinguishes are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.text import Text

from intrinsics.kv import Branch, KVTree, Segment, snapshot

from .render import ACCENT, DIM, Glyphs

_BAR_CELLS = 10
_FIRST_TOKENS = 24  # of a run, as text
_KEPT = "kept"  # by nobody; the next conversation that begins alike finds it
_AT_WORK = "at work"


@dataclass
class Run:
    """A run of tokens: `owner` is None for the base model; `readers` are names of forks.

    `held`: a request is reading or writing it.
    """

    start: int
    ids: list[int]
    owner: str | None
    readers: tuple[str, ...]
    held: bool
    below: list[Run] = field(default_factory=list)

    @property
    def kind(self) -> tuple[str | None, tuple[str, ...], bool]:
        """What a run has in common with one it is joined to."""
        return self.owner, self.readers, self.held


def runs_of(tree: KVTree, readers: Mapping[str, Branch]) -> list[Run]:
    """The tree's runs, the oldest first. Changes: nothing."""
    with tree.lock:
        segments = snapshot(tree.segments)
        reach = {name: dict(branch.path()) for name, branch in readers.items()}
        held = [b.path() for s in segments for b in snapshot(s.branches) if b.held]
        return _below(snapshot(tree.roots), reach, _furthest(held))


def _furthest(paths: Sequence[list[tuple[Segment, int]]]) -> dict[Segment, int]:
    """How many tokens of each segment are read by the longest of some paths."""
    longest: dict[Segment, int] = {}
    for segment, used in (step for path in paths for step in path):
        longest[segment] = max(used, longest.get(segment, 0))
    return longest


def _below(
    segments: Sequence[Segment],
    reach: Mapping[str, Mapping[Segment, int]],
    held: Mapping[Segment, int],
) -> list[Run]:
    found = [run for one in segments for run in _runs(one, reach, held)]
    return sorted(found, key=lambda run: (run.start, run.ids))


def _runs(
    segment: Segment, reach: Mapping[str, Mapping[Segment, int]], held: Mapping[Segment, int]
) -> list[Run]:
    """The runs of a segment and of what follows it: one, or none where it is still empty."""
    ids, children = list(segment.ids), snapshot(segment.children)
    ends = [used for steps in reach.values() if (used := steps.get(segment))]
    ends += [child.start - segment.start for child in children]
    ends += [len(ids), held.get(segment, 0)]
    cuts = sorted({end for end in ends if 0 < end <= len(ids)})
    below: list[Run] = []
    for start, end in reversed(list(zip([0, *cuts], cuts, strict=False))):
        after = [child for child in children if child.start - segment.start == end]
        run = Run(
            segment.start + start,
            ids[start:end],
            segment.owner,
            tuple(name for name, steps in reach.items() if steps.get(segment, 0) >= end),
            held.get(segment, 0) >= end,
            below + _below(after, reach, held),
        )
        below = [_joined(run)]
    return below


def _joined(run: Run) -> Run:
    """A run and the only one below it as one, where they are of one kind."""
    if len(run.below) == 1 and run.below[0].kind == run.kind:
        run.ids, run.below = run.ids + run.below[0].ids, run.below[0].below
    return run


@dataclass(frozen=True)
class Drawing:
    """How the tree is drawn: for whom, in which glyphs, in how many columns and rows."""

    current: str
    glyphs: Glyphs
    decode: Callable[[list[int]], str]
    width: int
    rows: int = 1000

    def lines(self, runs: Sequence[Run]) -> list[Text]:
        """A line for each run: its place in the tree, tokens, readers, and how it begins."""
        placed = list(self._placed(runs))
        left = len(placed) - self.rows
        if left > 0:
            placed = placed[: self.rows - 1]
        most = max((len(run.ids) for _, run in placed), default=1)
        deep = max((len(place) for place, _ in placed), default=0)
        wide = max((self._readers(run).cell_len for _, run in placed), default=0)
        lines = []
        for place, run in placed:
            line = Text("  ").append(place.ljust(deep), DIM)
            line.append_text(self._tokens(run, most)).append_text(self._readers(run))
            begin = self.decode(run.ids[:_FIRST_TOKENS]).replace("\n", self.glyphs.line_end)
            line.append(" " * (deep + 22 + wide - line.cell_len) + begin, DIM)
            line.truncate(self.width, overflow="crop")
            lines.append(line)
        if left > 0:
            lines.append(Text(f"  and {left + 1} more; /tree shows all", DIM))
        return lines

    def _placed(self, runs: Sequence[Run], indent: str | None = None) -> Iterator[tuple[str, Run]]:
        """Each run with the lines that lead to it; a root needs none."""
        branch, last, trunk = self.glyphs.tree
        for run in runs:
            end = run is runs[-1]
            yield "" if indent is None else indent + (last if end else branch), run
            below = "" if indent is None else indent + ("  " if end else trunk)
            yield from self._placed(run.below, below)

    def _tokens(self, run: Run, most: int) -> Text:
        here = self.current in run.readers
        text = Text(f"{len(run.ids):>6,} ", "bold" if here else "")
        bar = self.glyphs.computed if here else self.glyphs.shade
        cells = max(1, round(_BAR_CELLS * len(run.ids) / most))
        return text.append((bar * cells).ljust(_BAR_CELLS + 1), ACCENT if run.held or here else DIM)

    def _readers(self, run: Run) -> Text:
        who = Text()
        for number, name in enumerate(run.readers):
            who.append(" + " if number else "", DIM)
            mark = self.glyphs.here if name == self.current else ""
            who.append(f"{mark}{name}", f"bold {ACCENT}" if mark else "")
        if run.owner is not None:
            who.append(f"adapter {run.owner}", "yellow")
        elif not run.readers:
            who.append(_AT_WORK if run.held else _KEPT, DIM)
        return who
