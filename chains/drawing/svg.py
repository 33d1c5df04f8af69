"""A layout as SVG: by itself, light or dark as its reader likes it, with nothing from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from .layout import Layout, PlacedArrow, PlacedBox, Point

_WIDE, _HIGH = 8, 15  # pixels of a cell
_EDGE = 12  # pixels around the drawing
_ROUND = 7  # pixels
_HEAD = 8  # pixels of an arrowhead
_STUB = 4  # pixels from a label's neighbouring cell towards the label
_STYLE = """\
.chain { --ink: #1f2328; --muted: #59636e; --line: #818b98; --page: #ffffff; --box: #f6f8fa;
  --turn: #0969da; --check: #1a7f37; --say: #6e7781; --ask: #bc4c00; --function: #8250df;
  --other: #57606a; --back: #bf3989; --taken: #0550ae; }
@media (prefers-color-scheme: dark) { .chain { --ink: #e6edf3; --muted: #9198a1; --line: #7d8590;
  --page: #0d1117; --box: #161b22; --turn: #4493f8; --check: #3fb950; --say: #9198a1;
  --ask: #f0883e; --function: #ab7df8; --other: #9198a1; --back: #f778ba; --taken: #79c0ff; } }
.chain .page { fill: var(--page); }
.chain text { text-anchor: middle; font: 12px system-ui, "DejaVu Sans", sans-serif;
  fill: var(--ink); }
.chain .name { font-weight: 600; }
.chain .detail { font-size: 11px; fill: var(--muted); }
.chain .label { font: 11px ui-monospace, "DejaVu Sans Mono", monospace; fill: var(--muted); }
.chain .node rect { fill: var(--box); stroke: var(--kind); stroke-width: 1.5; }
.chain .edge path { fill: none; stroke: var(--line); stroke-width: 1.3; }
.chain .edge .head { fill: var(--line); stroke: none; }
.chain .back path { stroke: var(--back); stroke-dasharray: 5 3; }
.chain .back .head { fill: var(--back); }
.chain .idle { opacity: 0.45; }
.chain .taken path { stroke: var(--taken); stroke-width: 2.6; }
.chain .taken .head { fill: var(--taken); }
.chain .taken .label { fill: var(--ink); }
.chain .count { font-weight: 600; fill: var(--taken); }
"""
_KINDS = ("turn", "check", "say", "ask", "function")


@dataclass(frozen=True)
class Path:
    """What a run took: how often each node by name, and each arrow by its place in the picture."""

    nodes: Mapping[str, int] = field(default_factory=dict)
    arrows: Mapping[int, int] = field(default_factory=dict)


def svg(layout: Layout, path: Path | None = None) -> str:
    """The drawing; with a path, what it did not take is faint. Every text is escaped."""
    width = layout.width * _WIDE + 2 * _EDGE
    height = layout.height * _HIGH + 2 * _EDGE
    name = escape(layout.picture.name)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chain" role="img" '
        f'aria-label="graph of the chain {name}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">',
        f"<title>{name}</title>",
        f"<style>\n{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}" rx="8"/>',
        f'<g transform="translate({_EDGE} {_EDGE})">',
    ]
    for index, arrow in enumerate(layout.arrows):
        parts += _arrow(arrow, None if path is None else path.arrows.get(index, 0))
    for box in layout.boxes:
        parts += _box(box, None if path is None else path.nodes.get(box.box.name, 0))
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _box(box: PlacedBox, times: int | None) -> Iterator[str]:
    kind = box.box.kind if box.box.kind in _KINDS else "other"
    left, top = _pixels((box.x, box.y))
    width, height = (box.width - 1) * _WIDE, (box.height - 1) * _HIGH
    radius = height / 2 if not box.box.detail else 6
    yield f'<g class="node{_state(times)}" data-name="{escape(box.box.name)}">'
    yield f'<g style="--kind: var(--{kind})">'
    yield f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="{radius:g}"/>'
    yield "</g>"
    middle = top + height / 2 - (len(box.lines) - 1) * _HIGH / 2
    for row, line in enumerate(box.lines):
        style = "detail" if row else "name"
        yield _text(line, style, left + width / 2, middle + row * _HIGH)
    if times and times > 1:
        yield _text(f"{times}\N{MULTIPLICATION SIGN}", "count", left + width + 14, top + 4)
    yield "</g>"


def _arrow(arrow: PlacedArrow, times: int | None) -> Iterator[str]:
    one = arrow.arrow
    back = " back" if one.back else ""
    yield (
        f'<g class="edge{back}{_state(times)}" data-source="{escape(one.source)}" '
        f'data-target="{escape(one.target)}">'
    )
    stubs = [_moved(_pixels(end), step, _STUB) for end, step in arrow.stubs()]
    up = -1 if one.back else 1
    for index, line in enumerate(arrow.lines):
        points = [*stubs[2 * index - 1 : 2 * index], *map(_pixels, line)]
        if line is arrow.lines[-1]:
            tip = _moved(points[-1], (0, up), _HIGH)
            points.append(_moved(tip, (0, -up), _HEAD - 1))
            yield _head(tip, up)
        points += stubs[2 * index : 2 * index + 1]
        yield f'<path d="{_rounded(points)}"/>'
    middle, top = _pixels(arrow.label)
    for row, text in enumerate(arrow.text):
        yield _text(text, "label", middle, top + row * _HIGH)
    if times and times > 1:
        x, y = _pixels(arrow.lines[0][0])
        yield _text(f"{times}\N{MULTIPLICATION SIGN}", "count", x + 14, y + up * _HIGH)
    yield "</g>"


def _state(times: int | None) -> str:
    if times is None:
        return ""
    return " taken" if times else " idle"


def _text(text: str, style: str, x: float, y: float) -> str:
    """A line of text around a point."""
    return f'<text class="{style}" x="{x:g}" y="{y + 4:g}">{escape(text)}</text>'


def _head(tip: Point, up: int) -> str:
    x, y = tip
    back, half = y - _HEAD * up, _HEAD // 2
    return f'<path class="head" d="M{x} {y} L{x - half} {back} L{x + half} {back} Z"/>'


def _pixels(cell: Point) -> Point:
    """The middle of a cell."""
    return cell[0] * _WIDE + _WIDE // 2, cell[1] * _HIGH + _HIGH // 2


def _moved(point: Point, step: Point, by: int) -> Point:
    return point[0] + step[0] * by, point[1] + step[1] * by


def _rounded(points: Sequence[Point]) -> str:
    """A path through points with round corners."""
    corners = [point for i, point in enumerate(points) if i == 0 or point != points[i - 1]]
    drawn = [f"M{corners[0][0]} {corners[0][1]}"]
    for before, here, after in zip(corners, corners[1:], corners[2:], strict=False):
        (x0, y0), (x1, y1) = _towards(here, before), _towards(here, after)
        drawn.append(f"L{x0:g} {y0:g} Q{here[0]} {here[1]} {x1:g} {y1:g}")
    return " ".join([*drawn, f"L{corners[-1][0]} {corners[-1][1]}"])


def _towards(here: Point, there: Point) -> tuple[float, float]:
    """A little way on the straight line from one point to another; at most half of it."""
    apart = abs(there[0] - here[0]) + abs(there[1] - here[1])
    share = min(_ROUND, apart / 2) / apart
    return here[0] + (there[0] - here[0]) * share, here[1] + (there[1] - here[1]) * share
