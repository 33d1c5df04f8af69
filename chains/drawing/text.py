"""A chain as Mermaid or DOT text, for programs that lay it out themselves."""

from __future__ import annotations

from ..model import END, START
from .picture import Box, Picture

_SHAPES = {
    "turn": ("[", "]", "box"),
    "check": ("{{", "}}", "hexagon"),
    "say": ("(", ")", "note"),
    "ask": ("[/", "/]", "parallelogram"),
    "function": ("[[", "]]", "component"),
    "retrieve": ("[(", ")]", "cylinder"),
    "parallel": ("[[", "]]", "box3d"),
    "map": ("[[", "]]", "box3d"),
    "best_of": ("[[", "]]", "box3d"),
    "subchain": ("[[", "]]", "folder"),
}
_OTHER = ("[", "]", "box")
_TAKEN = {
    *("end", "graph", "subgraph", "flowchart", "direction", "style", "linkstyle", "classdef"),
    *("class", "click", "call", "href", "default", "interpolate"),
}


def mermaid(picture: Picture) -> str:
    """Mermaid's flowchart syntax; dotted arrows close loops."""
    lines = ["flowchart TD", f"    {START}(({START}))", f"    {_id(END)}(({END}))"]
    for box in _inner(picture):
        left, right, _ = _SHAPES.get(box.kind, _OTHER)
        lines.append(f'    {_id(box.name)}{left}"{_mermaid(_words(box))}"{right}')
    for arrow in picture.arrows:
        line = "-.->" if arrow.back else "-->"
        mark = f'|"{_mermaid(arrow.label)}"|' if arrow.label else ""
        lines.append(f"    {_id(arrow.source)} {line}{mark} {_id(arrow.target)}")
    return "\n".join(lines) + "\n"


def dot(picture: Picture) -> str:
    """Graphviz's language; dashed arrows close loops."""
    lines = [f'digraph "{_dot(picture.name)}" {{', '    "start" [shape=circle];']
    lines.append('    "end" [shape=doublecircle];')
    for box in _inner(picture):
        shape = _SHAPES.get(box.kind, _OTHER)[2]
        lines.append(f'    "{_dot(box.name)}" [shape={shape}, label="{_dot(_words(box))}"];')
    for arrow in picture.arrows:
        marks = [f'label="{_dot(arrow.label)}"'] if arrow.label else []
        marks += ["style=dashed"] if arrow.back else []
        drawn = f" [{', '.join(marks)}]" if marks else ""
        lines.append(f'    "{_dot(arrow.source)}" -> "{_dot(arrow.target)}"{drawn};')
    return "\n".join([*lines, "}"]) + "\n"


def _inner(picture: Picture) -> tuple[Box, ...]:
    return picture.boxes[1:-1]


def _words(box: Box) -> str:
    return f"{box.name}\n{box.detail}"


def _id(name: str) -> str:
    """A name that is none of Mermaid's own words, and no other node's."""
    return f"{name}_" if name.rstrip("_").lower() in _TAKEN else name


def _mermaid(text: str) -> str:
    """Mermaid reads Markdown between backticks, and `#35;` as the character of that number."""
    escapes = {"&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;", "\n": "<br/>"}
    escapes |= {"#": "#35;", "`": "#96;"}
    return "".join(escapes.get(character, character) for character in text)


def _dot(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
