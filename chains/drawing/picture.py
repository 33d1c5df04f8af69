"""What is drawn of a chain: a box for every node, an arrow for every step a run could make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..graph import Graph
from ..model import END, START, ChainModel, Node, guards_of

Hop = tuple[str, str]
_ABOUT = ("intrinsics", "call", "folder", "branches", "do", "turn", "of")


@dataclass(frozen=True)
class Box:
    """A node; `kind` is that of the model, or start or end. `detail` is what it does, in short."""

    name: str
    kind: str
    detail: str = ""


@dataclass(frozen=True)
class Arrow:
    """A step from one node to the next; `back` if it closes a loop."""

    source: str
    target: str
    label: str = ""
    back: bool = False

    @property
    def loop(self) -> bool:
        """Whether it leads from a node to itself."""
        return self.source == self.target


@dataclass(frozen=True)
class Picture:
    """Boxes and arrows in the order of the chain, from `start` to `end`."""

    name: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def picture(model: ChainModel) -> Picture:
    """The picture of a chain; it has exactly the hops that the runner can make."""
    boxes = [Box(name, node.kind, _detail(node)) for name, node in model.nodes.items()]
    arrows = tuple(_arrows(model))
    bounded = {(edge.source, edge.target) for edge in model.flow if edge.at_most is not None}
    back = _closing([(one.source, one.target) for one in arrows], bounded)
    return Picture(
        model.name,
        (Box(START, START), *boxes, Box(END, END)),
        tuple(replace(one, back=(one.source, one.target) in back) for one in arrows),
    )


def _detail(node: Node) -> str:
    """The kind, and what it is about: intrinsics, a function, what runs inside it, its guards."""
    about = (getattr(node, name, None) for name in _ABOUT)
    told = " ".join([node.kind, *(_words(one) for one in about if one is not None)])
    guards = dict.fromkeys(guard.check for guard in guards_of(node))
    return f"{told}, guarded by {', '.join(guards)}" if guards else told


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, ChainModel):
        return value.name
    return ", ".join(value) if isinstance(value, Mapping) else _detail(value)


def _arrows(model: ChainModel) -> Iterator[Arrow]:
    for edge in model.flow:
        yield Arrow(edge.source, edge.target, edge.label)
        for label, target in edge.onward.items():
            yield Arrow(edge.source, target, label)


def _closing(hops: Sequence[Hop], bounded: set[Hop]) -> set[Hop]:
    """The hops that close loops: bounded ones that lead back, and any others that do."""
    known = [(name, name) for hop in hops for name in hop]
    ahead = Graph([*known, *(hop for hop in hops if hop not in bounded)])
    found = {hop for hop in bounded if hop[0] == hop[1] or ahead.between(hop[1], hop[0])}
    after: dict[str, list[str]] = {}
    for source, target in hops:
        if (source, target) not in found:
            after.setdefault(source, []).append(target)
    return found | _returning(after)


def _returning(after: Mapping[str, Sequence[str]]) -> set[Hop]:
    """The hops to a node that the way from the start, depth first, has come by."""
    found: set[Hop] = set()
    done: set[str] = set()
    way, ahead = [START], [iter(after.get(START, ()))]
    while way:  # without recursion: a chain may be longer than Python's stack
        target = next(ahead[-1], None)
        if target is None:
            done.add(way.pop())
            ahead.pop()
        elif target in way:
            found.add((way[-1], target))
        elif target not in done:
            way.append(target)
            ahead.append(iter(after.get(target, ())))
    return found
