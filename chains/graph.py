"""What can follow what in a chain. The only module that knows networkx."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from .model import END, START, BestOf, ChainModel, Edge, Turn, speaks

if TYPE_CHECKING:
    import networkx as nx

Hop = tuple[str, str]


def digraph(hops: Iterable[Hop]) -> nx.DiGraph:
    """A directed graph with start and end in it."""
    import networkx as nx  # 0.3 s: only when a chain is checked or drawn

    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from((START, END))
    graph.add_edges_from(hops)
    return graph


class Graph:
    """The hops of a chain, asked for what must and what can happen."""

    def __init__(self, hops: Iterable[Hop]) -> None:
        self._graph = digraph(hops)

    def reachable(self) -> set[str]:
        """The nodes that some run gets to, start and end included."""
        import networkx as nx  # as above

        return {START, *nx.descendants(self._graph, START)}

    def can_end(self) -> set[str]:
        """The nodes from which some run gets to the end."""
        import networkx as nx  # as above

        return {END, *nx.ancestors(self._graph, END)}

    def between(self, first: str, last: str) -> set[str]:
        """The nodes on some way from `first` to `last`, both included."""
        import networkx as nx  # as above

        after = {first, *nx.descendants(self._graph, first)}
        return after & {last, *nx.ancestors(self._graph, last)}

    def since(self, first: str, last: str) -> set[str]:
        """The nodes after `first` on some way to `last` that does not come by `first` again."""
        import networkx as nx  # as above

        rest = nx.restricted_view(self._graph, [first], [])
        if last not in rest:
            return set()
        before = {last, *nx.ancestors(rest, last)}
        begins = before & set(self._graph.successors(first))
        after = begins.union(*(nx.descendants(rest, node) for node in begins))
        return before & after

    @cached_property
    def certain(self) -> dict[str, frozenset[str]]:
        """For each reachable node, those that every run has been at before it, itself included."""
        import networkx as nx  # as above

        parents = nx.immediate_dominators(self._graph, START)
        found: dict[str, frozenset[str]] = {}
        for node in self.reachable():
            before, here = {node}, node
            while parents.get(here) not in (None, here):
                here = parents[here]
                before.add(here)
            found[node] = frozenset(before)
        return found

    def on_cycles(self) -> list[set[str]]:
        """Groups of nodes that lead back to each other."""
        import networkx as nx  # as above

        loops = set(nx.nodes_with_selfloops(self._graph))
        groups = [set(group) for group in nx.strongly_connected_components(self._graph)]
        return [group for group in groups if len(group) > 1 or group & loops]


def undone_by(model: ChainModel, graph: Graph) -> set[int]:
    """The edges, by index, that undo what was said since their target began.

    These are the bounded ways back to a turn, which then replies anew, if every run comes from
    that turn and nobody else has spoken since: a human's answer or another turn is never dropped.
    """
    return {
        index
        for index, edge in enumerate(model.flow)
        if edge.at_most is not None and _undoes(model, graph, edge)
    }


def _undoes(model: ChainModel, graph: Graph, edge: Edge) -> bool:
    if not isinstance(model.nodes.get(edge.target), Turn | BestOf):
        return False
    since = graph.since(edge.target, edge.source)
    others = (model.nodes.get(name) for name in since)
    alone = not any(one is not None and speaks(one) and one.kind != "say" for one in others)
    return alone and edge.target in graph.certain.get(edge.source, frozenset())


def certain_hops(model: ChainModel) -> list[Hop]:
    """The hops of a flow as to what has *finished*: who fails or is cut short has left nothing.

    A failing node is another one, `name!`, which is come to as the node is; a spent budget leads
    on from everywhere.
    """
    hops = [(e.source, e.target) for e in model.flow if not e.on_error]
    hops += [(e.source, end) for e in model.flow if not e.on_error for end in e.onward.values()]
    failing = [edge for edge in model.flow if edge.on_error]
    hops += [(f"{e.source}!", end) for e in failing for end in (e.target, *e.onward.values())]
    for name in {edge.source for edge in failing}:
        hops += [(source, f"{name}!") for source, target in list(hops) if target == name]
    if model.budget is not None:
        hops += [(name, model.budget.then) for name in (START, *model.nodes)]
    return hops
