"""Whose message is the last one at each node, and which nodes and edges can't work with that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from intrinsics.errors import Fault
from intrinsics.spec import Definition

from .model import START, Ask, ChainModel, Check, Edge, Say, Turn
from .places import Places

_GIVEN = "given"  # whatever the input's last message is: only the run can tell
_REPLIED = "replied"  # an assistant message that a turn wrote: abstaining takes it back
_WRITERS = {_GIVEN: "the input's", "assistant": "a fixed text", "user": "the user's"}


class RoleCheck:
    """Finds the faults of who speaks when; `undone` are the edges that undo their target's."""

    def __init__(
        self,
        model: ChainModel,
        places: Places,
        definitions: Mapping[str, Definition],
        undone: Set[int],
    ) -> None:
        self.model, self.places = model, places
        self.definitions, self.undone = definitions, undone
        self.before = self._spread()

    def faults(self) -> Iterator[Fault]:
        """Every fault."""
        for name, node in self.model.nodes.items():
            roles = _named(self.before.get(name, set()))
            if isinstance(node, Turn) and node.prompt is None and "assistant" in roles:
                message = (
                    f"{name!r} may come right after an assistant message and would reply to "
                    f"itself; give it a prompt, or an ask node before"
                )
                yield self.places.fault(("nodes", name), message)
            if isinstance(node, Check):
                yield from self._reads(name, node, roles)
        for index, edge in enumerate(self.model.flow):
            wrong = None if edge.abstain_below is None else self._abstaining(edge)
            if wrong is not None:
                yield self.places.fault(("flow", index, "abstain_below"), wrong)

    def _reads(self, name: str, node: Check, roles: Set[str]) -> Iterator[Fault]:
        for intrinsic in node.intrinsics:
            definition = self.definitions.get(intrinsic)
            wrong = roles - {definition.reads.last, _GIVEN} if definition else set()
            if definition and wrong:
                message = (
                    f"{intrinsic} judges the last {definition.reads.last} message, but at {name!r} "
                    f"the last one may be the {min(wrong)}'s; move it"
                )
                yield self.places.fault(("nodes", name, "check", intrinsic), message)

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

    def _spread(self) -> dict[str, set[str]]:
        """A fixed point over the flow. Going back to a turn may also undo its messages."""
        before: dict[str, set[str]] = {START: {_GIVEN}}
        flow = self.model.flow
        hops = [(edge, edge.target, i in self.undone) for i, edge in enumerate(flow)]
        hops += [(edge, edge.then, False) for edge in flow if edge.then]
        changed = True
        while changed:
            changed = False
            for edge, target, undone in hops:
                new = set() if undone else self._after(edge, before.get(edge.source, set()))
                known = before.setdefault(target, set())
                changed = changed or not new <= known
                known |= new
        return before

    def _after(self, edge: Edge, roles: set[str]) -> set[str]:
        node = self.model.nodes.get(edge.source)
        if not roles:
            return set()
        if isinstance(node, Turn):
            return {_REPLIED}
        if isinstance(node, Say):
            return {"assistant"}
        if isinstance(node, Ask) or edge.abstain_below is not None:
            return {"user"}  # a turn replies to a user message, which is the last one again
        return roles


def _named(roles: Set[str]) -> Set[str]:
    """The roles as an intrinsic sees them: a turn's reply is an assistant message."""
    return {"assistant" if role == _REPLIED else role for role in roles}
