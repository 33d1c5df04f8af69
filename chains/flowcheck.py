"""The flow of a chain, checked: names, exits, loops, and that every run ends."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from intrinsics.errors import Fault
from intrinsics.located import nearest, unknown

from .graph import Graph, certain_hops, undone_by
from .lost import Lost
from .model import END, START, ChainModel, Edge, Turn, speaks
from .places import Places


class FlowCheck:
    """Finds the faults of a flow; `graph` is what the flow seems to mean.

    `certain` are, for each node, those that have finished before it in every run, and itself;
    where the flow is lost that is not known, and there are none.
    """

    def __init__(self, model: ChainModel, places: Places, lost: Lost) -> None:
        self.model, self.places, self.lost = model, places, lost
        self.names_known = True
        hops = [(self._meant(source), self._meant(target)) for source, target in model.hops()]
        hops += [(self._meant(e.source), END) for e in model.flow if _is_loop(e) and not e.then]
        self.graph = Graph(hops)
        self.undone = undone_by(model, self.graph)
        known = Graph((self._meant(a), self._meant(b)) for a, b in certain_hops(model))
        self.certain = {} if lost.flow else known.certain

    def faults(self) -> Iterator[Fault]:
        """Every fault of the flow."""
        if not self.model.nodes:
            yield self.places.fault(("nodes",), "a chain needs at least one node")
            return
        for index, edge in enumerate(self.model.flow):
            yield from self._names(index, edge)
            if not self.lost.flow:
                yield from self._bounds(index, edge)
        yield from self._budget()
        if self.lost.flow:
            return
        for name in (START, *self.model.nodes):
            yield from self._exits(name)
        if self.names_known:
            yield from self._ways()
        yield from self._loops()

    def _meant(self, name: str) -> str:
        """A misspelt name is taken for the nearest node, so that it is reported once."""
        known = (START, END, *self.model.nodes)
        if name in known or name.endswith("!"):
            return name
        near = nearest(name, known)
        self.names_known = self.names_known and near is not None
        return near or name

    def _names(self, index: int, edge: Edge) -> Iterator[Fault]:
        for part in ("source", "target", "then", "or_else"):
            name = getattr(edge, part)
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
        """Keys of an edge that need each other, or exclude each other."""
        present = [key for key in _WAYS if getattr(edge, key)]
        if len(present) > 1:
            message = f"an edge has one of {', '.join(map(repr, _WAYS))}"
            yield self.places.fault(("flow", index, present[-1]), message)
        needs = (
            ("at_most", "then", f"at_most {edge.at_most} needs 'then': where to go after that"),
            ("then", "at_most", "'then' says where to go after at_most; add at_most"),
            ("until", "at_most", "'until' needs at_most and then: how often, and where to"),
            ("best", "until", "'best' chooses among the attempts of a loop with 'until'"),
            ("or_else", "until", "'or_else' says where a loop goes whose 'until' never held"),
            ("budget", "at_most", "an edge's budget bounds a loop; add at_most and then"),
        )
        for key, other, message in needs:
            told = key == "then" and edge.until is not None
            if getattr(edge, key) is not None and getattr(edge, other) is None and not told:
                yield self.places.fault(("flow", index, key), message)
        if edge.best is not None and edge.or_else is not None:
            message = "'best' keeps an attempt and 'or_else' takes all back; drop one of them"
            yield self.places.fault(("flow", index, "or_else"), message)
        if edge.on_error and edge.source == START:
            yield self.places.fault(("flow", index, "on_error"), f"{START!r} can't fail")

    def _budget(self) -> Iterator[Fault]:
        budget = self.model.budget
        if budget is not None and budget.then not in (END, *self.model.nodes):
            message = unknown("node", budget.then, (*self.model.nodes, END))
            yield self.places.fault(("budget", "then"), message)

    def _exits(self, name: str) -> Iterator[Fault]:
        every = [(i, edge) for i, edge in enumerate(self.model.flow) if edge.source == name]
        edges = [(i, edge) for i, edge in every if not edge.on_error]
        place = ("nodes", name) if name != START else ("flow",)
        if not edges:
            hint = f"add '{name} -> {self._next(name)}'"
            word = "but error edges " if every else ""
            message = f"dead end: no edge {word}leaves {name!r}; {hint}"
            yield self.places.fault(place, message)
            return
        yield from self._order(name, edges)
        yield from self._errors([(i, edge) for i, edge in every if edge.on_error])

    def _next(self, name: str) -> str:
        """Where an edge from a node may have been meant to lead: what nothing leads to, or END."""
        led_to = {self._meant(end) for _, end in self.model.hops()}
        alone = [one for one in self.model.nodes if one not in led_to and one != name]
        return (alone or [END if name != START else next(iter(self.model.nodes))])[0]

    def _order(self, name: str, edges: list[tuple[int, Edge]]) -> Iterator[Fault]:
        last, final = edges[-1]
        for index, edge in edges[:-1]:
            if _always(edge):
                word = "'otherwise' comes last" if edge.otherwise else "it is always taken"
                message = f"{word}; the edge from {name!r} after it is never reached"
                yield self.places.fault(("flow", index, "source"), message)
        if not _always(final):
            message = f"no edge is taken when this is false; add '{name} -> ...: otherwise'"
            yield self.places.fault(("flow", last, _tested(final)), message)
        elif len(edges) == 1 and final.otherwise:
            message = f"'otherwise' needs an edge with a condition from {name!r} before it"
            yield self.places.fault(("flow", last, "source"), message)
        elif len(edges) > 1 and not final.otherwise and final.until is None:
            message = f"several edges leave {name!r}; give each a 'when' and the last 'otherwise'"
            yield self.places.fault(("flow", last, "source"), message)

    def _errors(self, edges: list[tuple[int, Edge]]) -> Iterator[Fault]:
        caught: set[str] = set()
        for index, edge in edges:
            again = [one for one in edge.on_error if one in caught or "any" in caught]
            if again:
                message = f"an error edge before it takes {again[0]!r} already"
                yield self.places.fault(("flow", index, "on_error"), message)
            caught |= set(edge.on_error)

    def _ways(self) -> Iterator[Fault]:
        reachable, ending = self.graph.reachable(), self.graph.can_end()
        if self.model.budget is not None:
            reachable |= self.graph.between(self._meant(self.model.budget.then), END)
        for name in self.model.nodes:
            if name not in reachable:
                message = f"unreachable: no way leads from start to {name!r}"
                yield self.places.fault(("nodes", name), message)
            elif name not in ending and any(e.source == name for e in self.model.flow):
                message = f"no way leads from {name!r} to the end"
                yield self.places.fault(("nodes", name), message)

    @property
    def is_sure(self) -> bool:
        """Whether the flow leads where it seems to: what can be said at a node hangs on it."""
        halves = [e for e in self.model.flow if _is_loop(e) and not (e.at_most and e.then)]
        return self.names_known and not (self.lost or halves or self.unbounded)

    @cached_property
    def unbounded(self) -> list[set[str]]:
        """Groups of nodes that lead back to each other: without bounded edges there are none."""
        free = [(e.source, e.target) for e in self.model.flow if not _is_loop(e)]
        free += [(e.source, end) for e in self.model.flow for end in e.onward.values()]
        return Graph(free).on_cycles()

    def _loops(self) -> Iterator[Fault]:
        for group in self.unbounded:
            index = max(
                i
                for i, edge in enumerate(self.model.flow)
                if edge.source in group and group & {edge.target, *edge.onward.values()}
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
        if self.lost.nodes:  # which may speak, or be the turn that is tried again
            return
        loop = self.graph.between(self._meant(edge.target), self._meant(edge.source))
        speakers = [n for n, node in self.model.nodes.items() if n in loop and speaks(node)]
        key = "best" if edge.best is not None else "or_else"
        if getattr(edge, key) is not None and speakers and index not in self.undone:
            message = (
                f"{key!r} takes an earlier attempt back, but what {speakers[-1]!r} said stays; "
                f"let the loop lead back to the one turn in it"
            )
            yield self.places.fault(("flow", index, key), message)
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


_WAYS = ("when", "otherwise", "abstain_below", "until", "on_error")


def _is_loop(edge: Edge) -> bool:
    """Whether an edge is meant to bound a way back, though a key may be missing."""
    return edge.at_most is not None or edge.until is not None or edge.then is not None


def _always(edge: Edge) -> bool:
    """Whether nothing comes after an edge: it is taken in any case."""
    return edge.condition is None or edge.until is not None


def _tested(edge: Edge) -> str:
    """The key under which an edge's condition stands."""
    return "when" if edge.abstain_below is None else "abstain_below"
