"""The flow of a chain, checked: names, exits, loops, and that every run ends."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from intrinsics.errors import Fault
from intrinsics.located import unknown

from .graph import Graph, undone_by
from .model import END, START, ChainModel, Edge, Turn
from .places import Places


class FlowCheck:
    """Finds the faults of a flow; `graph` is what the flow seems to mean."""

    def __init__(self, model: ChainModel, places: Places) -> None:
        self.model, self.places = model, places
        self.names_known = True
        self.graph = Graph(
            (self._meant(source), self._meant(target)) for source, target in model.hops()
        )
        self.undone = undone_by(model, self.graph)

    def faults(self) -> Iterator[Fault]:
        """Every fault of the flow."""
        if not self.model.nodes:
            yield self.places.fault(("nodes",), "a chain needs at least one node")
            return
        for index, edge in enumerate(self.model.flow):
            yield from self._names(index, edge)
            yield from self._bounds(index, edge)
        for name in (START, *self.model.nodes):
            yield from self._exits(name)
        if self.names_known:
            yield from self._ways()
        yield from self._loops()

    def _meant(self, name: str) -> str:
        """A misspelt name is taken for the nearest node, so that it is reported once."""
        known = (START, END, *self.model.nodes)
        if name in known:
            return name
        near = difflib.get_close_matches(name, known, n=1)
        self.names_known = self.names_known and bool(near)
        return near[0] if near else name

    def _names(self, index: int, edge: Edge) -> Iterator[Fault]:
        for part, name in (("source", edge.source), ("target", edge.target), ("then", edge.then)):
            if name is None:
                continue
            outside = END if part == "source" else START
            if name == outside:
                what = "nothing comes after" if outside == END else "nothing leads back to"
                yield self.places.fault(("flow", index, part), f"{what} {outside!r}")
            elif name not in (START, END) and name not in self.model.nodes:
                known = (*self.model.nodes, START if part == "source" else END)
                yield self.places.fault(("flow", index, part), unknown("node", name, known))

    def _bounds(self, index: int, edge: Edge) -> Iterator[Fault]:
        ways = (edge.when is not None, edge.otherwise, edge.abstain_below is not None)
        if sum(ways) > 1:
            message = "an edge has one of 'when', 'otherwise' and 'abstain_below'"
            yield self.places.fault(("flow", index, _tested(edge)), message)
        if edge.at_most is not None and edge.then is None:
            message = f"at_most {edge.at_most} needs 'then': where to go after that"
            yield self.places.fault(("flow", index, "at_most"), message)
        if edge.then is not None and edge.at_most is None:
            message = "'then' says where to go after at_most; add at_most"
            yield self.places.fault(("flow", index, "then"), message)

    def _exits(self, name: str) -> Iterator[Fault]:
        edges = [(i, edge) for i, edge in enumerate(self.model.flow) if edge.source == name]
        place = ("nodes", name) if name != START else ("flow",)
        if not edges:
            hint = f"add '{name} -> {END if name != START else next(iter(self.model.nodes))}'"
            yield self.places.fault(place, f"dead end: no edge leaves {name!r}; {hint}")
            return
        last, final = edges[-1]
        for index, edge in edges[:-1]:
            if edge.condition is None:
                word = "'otherwise' comes last" if edge.otherwise else "it is always taken"
                message = f"{word}; the edge from {name!r} after it is never reached"
                yield self.places.fault(("flow", index, "source"), message)
        if final.condition is not None:
            message = f"no edge is taken when this is false; add '{name} -> ...: otherwise'"
            yield self.places.fault(("flow", last, _tested(final)), message)
        elif len(edges) == 1 and final.otherwise:
            message = f"'otherwise' needs an edge with a condition from {name!r} before it"
            yield self.places.fault(("flow", last, "source"), message)
        elif len(edges) > 1 and not final.otherwise:
            message = f"several edges leave {name!r}; give each a 'when' and the last 'otherwise'"
            yield self.places.fault(("flow", last, "source"), message)

    def _ways(self) -> Iterator[Fault]:
        reachable, ending = self.graph.reachable(), self.graph.can_end()
        for name in self.model.nodes:
            if name not in reachable:
                message = f"unreachable: no way leads from start to {name!r}"
                yield self.places.fault(("nodes", name), message)
            elif name not in ending and any(e.source == name for e in self.model.flow):
                message = f"no way leads from {name!r} to the end"
                yield self.places.fault(("nodes", name), message)

    def _loops(self) -> Iterator[Fault]:
        """Without its bounded edges a flow has no way back."""
        free = [(e.source, e.target) for e in self.model.flow if e.at_most is None]
        free += [(e.source, e.then) for e in self.model.flow if e.then is not None]
        for group in Graph(free).on_cycles():
            index = max(
                i
                for i, edge in enumerate(self.model.flow)
                if edge.source in group and (edge.target in group or edge.then in group)
            )
            ways = " -> ".join(name for name in self.model.nodes if name in group)
            message = f"unbounded loop through {ways}; add at_most and then to an edge of it"
            yield self.places.fault(("flow", index, "target"), message)
        for index, edge in enumerate(self.model.flow):
            if edge.at_most is not None:
                yield from self._bounded(index, edge)

    def _bounded(self, index: int, edge: Edge) -> Iterator[Fault]:
        if not self.graph.between(self._meant(edge.target), self._meant(edge.source)):
            message = f"at_most bounds a way back, but {edge.target!r} does not lead here again"
            yield self.places.fault(("flow", index, "at_most"), message)
        node = self.model.nodes.get(edge.target)
        repeats = (
            isinstance(node, Turn) and node.temperature == 0 and "{" not in (node.prompt or "")
        )
        if repeats and index in self.undone:
            message = (
                f"going back to {edge.target!r} repeats its text at temperature 0; give it a "
                f"temperature, or a prompt that changes"
            )
            yield self.places.fault(("flow", index, "target"), message)


def _tested(edge: Edge) -> str:
    """The key under which an edge's condition stands."""
    return "when" if edge.abstain_below is None else "abstain_below"
