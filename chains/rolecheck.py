"""Whose message is the last one at each node, and which nodes and edges can't work with that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from intrinsics.errors import Fault
from intrinsics.located import Loc
from intrinsics.spec import Definition

from .graph import Graph, undone_by
from .model import (
    END,
    START,
    Ask,
    BestOf,
    ChainModel,
    Check,
    Edge,
    Map,
    Node,
    Parallel,
    Say,
    SubChain,
    Turn,
)
from .places import Places

GIVEN = "given"  # whatever the input's last message is: only the run can tell
_REPLIED = "replied"  # an assistant message that a turn wrote: abstaining takes it back
_WRITERS = {GIVEN: "the input's", "assistant": "a fixed text", "user": "the user's"}


class RoleCheck:
    """Finds the faults of who speaks when; `undone` are the edges that undo their target's."""

    def __init__(
        self,
        model: ChainModel,
        places: Places,
        definitions: Mapping[str, Definition],
        undone: Set[int],
        given: Set[str],
    ) -> None:
        self.model, self.places = model, places
        self.definitions, self.undone = definitions, undone
        self.before = _spread(model, undone, given)

    def at(self, name: str) -> Set[str]:
        """Whose the last message may be when a node begins."""
        return self.before.get(name, set())

    def faults(self) -> Iterator[Fault]:
        """Every fault."""
        for name, node in self.model.nodes.items():
            yield from self._node(("nodes", name), node, self.at(name))
        for index, edge in enumerate(self.model.flow):
            wrong = None if edge.abstain_below is None else self._abstaining(edge)
            if wrong is not None:
                yield self.places.fault(("flow", index, "abstain_below"), wrong)

    def _node(self, loc: Loc, node: Node, roles: Set[str]) -> Iterator[Fault]:
        """The faults of a node and of those inside it; each branch begins where the node does."""
        name = str(loc[-1])
        turn = node.turn if isinstance(node, BestOf) else node
        if isinstance(turn, Turn) and turn.prompt is None and "assistant" in _named(roles):
            message = (
                f"{name!r} may come right after an assistant message and would reply to "
                f"itself; give it a prompt, or an ask node before"
            )
            yield self.places.fault(loc, message)
        loc = (*loc, node.kind)
        if isinstance(node, Check):
            yield from self._reads(loc, name, node, _named(roles))
        elif isinstance(node, BestOf) and isinstance(node.judge, Check):
            yield from self._reads((*loc, "judge", "check"), name, node.judge, {"assistant"})
        elif isinstance(node, Map):
            yield from self._node((*loc, "do"), node.do, roles)
        elif isinstance(node, Parallel):
            for branch, one in node.branches.items():
                yield from self._node((*loc, "branches", branch), one, roles)

    def _reads(self, loc: Loc, name: str, node: Check, roles: Set[str]) -> Iterator[Fault]:
        for intrinsic in node.intrinsics:
            definition = self.definitions.get(intrinsic)
            wrong = roles - {definition.reads.last, GIVEN} if definition else set()
            if definition and wrong:
                message = (
                    f"{intrinsic} judges the last {definition.reads.last} message, but at {name!r} "
                    f"the last one may be the {min(wrong)}'s; move it"
                )
                yield self.places.fault((*loc, intrinsic), message)

    def _abstaining(self, edge: Edge) -> str | None:
        """What is wrong with an edge that abstains."""
        node = self.model.nodes.get(edge.source)
        asked = list(node.intrinsics) if isinstance(node, Check) else []
        if len(asked) != 1:
            return (
                f"abstain_below reads the probability of one intrinsic, but {edge.source!r} judges "
                f"{'with ' + ', '.join(asked) if asked else 'nothing'}; check that one alone"
            )
        definition = self.definitions.get(asked[0])
        if definition is not None and definition.output.type != "probability":
            return (
                f"abstain_below reads a probability, but {asked[0]} answers with "
                f"{definition.output.type}; use 'when'"
            )
        others = self.before.get(edge.source, set()) - {_REPLIED}
        if others:
            return (
                f"abstaining takes a turn's reply back, but at {edge.source!r} the last message "
                f"may be {_WRITERS[min(others)]}; abstain right after a turn"
            )
        return None


def _spread(model: ChainModel, undone: Set[int], given: Set[str]) -> dict[str, set[str]]:
    """A fixed point over the flow. Going back to a turn may also undo its messages."""
    before: dict[str, set[str]] = {START: set(given)}
    hops: list[tuple[Edge, str, bool]] = []
    for i, edge in enumerate(model.flow):
        hops.append((edge, edge.target, i in undone))
        for way, end in enumerate(edge.onward.values()):
            hops.append((edge, end, way == 1 and i in undone))  # or_else
    if model.budget is not None:  # it may be spent anywhere
        budget = [Edge(source=name, target=model.budget.then) for name in (START, *model.nodes)]
        hops += [(edge, edge.target, False) for edge in budget]
    changed = True
    while changed:
        changed = False
        for edge, target, goes_back in hops:
            new: Set[str]
            if goes_back:  # to what was said before the turn that the edge leads back to
                new = before.get(edge.target, set())
            else:
                new = _after_edge(model, edge, before.get(edge.source, set()))
            known = before.setdefault(target, set())
            changed = changed or not new <= known
            known |= new
    return before


def _after_edge(model: ChainModel, edge: Edge, roles: Set[str]) -> Set[str]:
    node = model.nodes.get(edge.source)
    if not roles or node is None or edge.on_error:  # who fails has said nothing
        return roles
    if edge.abstain_below is not None:
        return {"user"}  # a turn replies to a user message, which is the last one again
    return _after(node, roles)


def _after(node: Node, roles: Set[str]) -> Set[str]:
    """Whose the last message may be when a node has finished."""
    match node:
        case Turn() | BestOf():
            return {_REPLIED}
        case Say():
            return {"assistant"}
        case Ask():
            return {"user"}
        case SubChain():
            graph = Graph(node.of.hops())
            return _spread(node.of, undone_by(node.of, graph), roles).get(END, set())
        case Parallel():
            found = [_after(one, roles) for one in node.branches.values()]
            spoken = [one for one in found if one != roles]
            ends = found if node.join != "all" else spoken or [roles]
            return set().union(*ends)
        case _:
            return roles


def _named(roles: Set[str]) -> Set[str]:
    """The roles as an intrinsic sees them: a turn's reply is an assistant message."""
    return {"assistant" if role == _REPLIED else role for role in roles}
