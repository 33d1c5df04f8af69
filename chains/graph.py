"""What can follow what in a chain. The only module that knows networkx."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .model import END, START

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
