"""A chain as Mermaid or DOT text: the drawing is the graph that runs."""

from __future__ import annotations

from collections.abc import Iterator

from .model import END, START, ChainModel, Check, Edge, Node

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


def mermaid(model: ChainModel) -> str:
    """Mermaid's flowchart syntax."""
    lines = ["flowchart TD", f"    {START}((start))", f"    {END}_((end))"]
    for name, node in model.nodes.items():
        left, right, _ = _SHAPES[node.kind]
        lines.append(f'    {_id(name)}{left}"{_mermaid_text(_words(name, node))}"{right}')
    for source, target, label in _arrows(model):
        mark = f'|"{_mermaid_text(label)}"|' if label else ""
        lines.append(f"    {_id(source)} -->{mark} {_id(target)}")
    return "\n".join(lines) + "\n"


def dot(model: ChainModel) -> str:
    """Graphviz's language."""
    lines = [f'digraph "{_dot_text(model.name)}" {{', "    start [shape=circle];"]
    lines.append("    end [shape=doublecircle];")
    for name, node in model.nodes.items():
        shape = _SHAPES[node.kind][2]
        lines.append(f'    "{name}" [shape={shape}, label="{_dot_text(_words(name, node))}"];')
    for source, target, label in _arrows(model):
        mark = f' [label="{_dot_text(label)}"]' if label else ""
        lines.append(f'    "{source}" -> "{target}"{mark};')
    return "\n".join([*lines, "}"]) + "\n"


def _words(name: str, node: Node) -> str:
    what = ", ".join(node.intrinsics) if isinstance(node, Check) else node.kind
    return name if what == name else f"{name}: {what}"


def _arrows(model: ChainModel) -> Iterator[tuple[str, str, str]]:
    for edge in model.flow:
        yield edge.source, edge.target, edge.label
        if edge.then is not None:
            yield edge.source, edge.then, _spent(edge)
    if model.budget is not None and model.budget.then != END:
        yield START, model.budget.then, "budget spent"


def _spent(edge: Edge) -> str:
    spent = f"after {edge.at_most}"
    return spent if edge.until is None else f"{edge.until}, or {spent}"


def _id(name: str) -> str:
    """`end` is a word of Mermaid's own."""
    return f"{name}_" if name == END else name


def _mermaid_text(text: str) -> str:
    escapes = {"&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;", "\n": "<br/>"}
    return "".join(escapes.get(character, character) for character in text)


def _dot_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
