"""A whole chain, checked before it runs: every fault at once, each at its place."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping, Set
from unicodedata import normalize

from intrinsics.catalogue import Catalogue
from intrinsics.errors import DefinitionError, Fault, RequestError
from intrinsics.located import Loc, unknown
from intrinsics.spec import Definition

from .expression import Ref, Tree, refs
from .flowcheck import FlowCheck
from .functions import Callables
from .guardcheck import guard_faults, uncaught
from .lost import NOTHING, Lost
from .model import END, LOCAL, RESERVED, ChainModel, Check, Parallel, SubChain, guards_of
from .nodecheck import NodeCheck, Reads
from .parsing import ExpressionFault
from .places import Places
from .rolecheck import GIVEN, RoleCheck
from .slots import scope_of
from .types import Bool, Number, check_condition


def faults_of(
    model: ChainModel,
    places: Places,
    catalogue: Catalogue,
    functions: Callables | None,
    lost: Lost,
) -> list[Fault]:
    """Everything wrong with a chain; without `functions` its calls are not looked at.

    What is `lost` was found before, and stands in the model as something else.
    """
    return list(_Checker(model, places, catalogue, functions, lost).faults({GIVEN}))


class _Checker:
    def __init__(
        self,
        model: ChainModel,
        places: Places,
        catalogue: Catalogue,
        functions: Callables | None,
        lost: Lost,
    ) -> None:
        self.model, self.places, self.catalogue = model, places, catalogue
        self.functions, self.lost = functions, lost
        self.flow = FlowCheck(model, places, lost)
        self.definitions: dict[str, Definition] = {}

    def faults(self, roles: Set[str]) -> Iterator[Fault]:
        """Every fault; `roles` is whose the last message may be when it starts."""
        yield from self._names()
        yield from self._intrinsics()
        self.scope = scope_of(self.model, self.definitions, self.functions or {}, self.lost)
        yield from self.flow.faults()
        yield from self._conditions()
        yield from self._nodes()
        yield from self._output()
        check = RoleCheck(self.model, self.places, self.definitions, self.flow.undone, roles)
        if self.flow.is_sure:  # else who speaks when may change
            yield from check.faults()
        for loc, node in self.model.parts():
            if isinstance(node, SubChain):
                inner = self.places.inner(loc)
                sub = _Checker(node.of, inner, self.catalogue, self.functions, NOTHING)
                yield from sub.faults(check.at(str(loc[1])))

    def _names(self) -> Iterator[Fault]:
        places: list[tuple[Loc, str]] = [(("nodes", name), name) for name in self.model.nodes]
        places += [(("input", name), name) for name in self.model.input]
        for loc, node in self.model.parts():
            if isinstance(node, Parallel):
                places += [((*loc, "branches", name), name) for name in node.branches]
        for loc, name in places:
            taken = name in RESERVED | LOCAL or keyword.iskeyword(name) or name in ("true", "false")
            if loc[0] == "nodes" and (taken or (len(loc) > 2 and name == "winner")):
                message = f"{name!r} has a meaning of its own; choose another name"
                yield self.places.fault(loc, message)
            elif not name.isidentifier() or normalize("NFKC", name) != name:
                message = f"{name!r} is not a name; use letters, digits and _"
                yield self.places.fault(loc, message)

    def _intrinsics(self) -> Iterator[Fault]:
        for at, node in self.model.parts():
            for index, guard in enumerate(guards_of(node)):
                place: Loc = (*at, "guards", index, "check")
                yield from self._intrinsic(place, guard.check, guard.arguments)
            if isinstance(node, Check):
                for name, arguments in node.intrinsics.items():
                    yield from self._intrinsic((*at, name), name, arguments)

    def _intrinsic(self, loc: Loc, name: str, arguments: Mapping[str, str]) -> Iterator[Fault]:
        try:
            definition = self.catalogue.get(name)
        except RequestError as error:
            yield self.places.fault(loc, str(error))
        except DefinitionError as error:
            yield from error.faults
        else:
            self.definitions[name] = definition
            yield from self._arguments(loc, definition, arguments)

    def _arguments(
        self, loc: Loc, definition: Definition, given: Mapping[str, str]
    ) -> Iterator[Fault]:
        for key in given:
            if key not in definition.arguments:
                message = unknown(f"argument of {definition.name}", key, definition.arguments)
                yield self.places.fault((*loc, key), message)
        for key, what in definition.arguments.items():
            if key not in given:
                message = f"{definition.name} needs the argument {key!r}: {what}"
                yield self.places.fault(loc, message)

    def _reads(self, name: str, where: str, *, itself: bool = True) -> Reads:
        """What can be read at a node, or by its edges: those also read the node itself."""
        everything = frozenset(self.model.nodes)
        certain = self.flow.certain.get(name, everything)
        return Reads(self.scope, everything, certain if itself else certain - {name}, where)

    def _nodes(self) -> Iterator[Fault]:
        check = NodeCheck(
            self.places, self.definitions, self.functions or {}, self.functions is not None
        )
        for name, node in self.model.nodes.items():
            reads = self._reads(name, f"{name!r}", itself=False)
            yield from check.faults(("nodes", name, node.kind), node, reads)
        for loc, node in self.model.parts():
            reads = self._reads(str(loc[1]), f"{loc[1]!r}", itself=False)
            yield from guard_faults(self.places, self.definitions, loc, node, reads)
        if not self.lost.flow:
            yield from uncaught(self.model, self.places)

    def _conditions(self) -> Iterator[Fault]:
        for index, edge in enumerate(self.model.flow):
            reads = self._reads(edge.source, f"the edge from {edge.source!r}")
            for key, tree in (("when", edge.when), ("until", edge.until)):
                for fault in _condition(tree, reads) if tree is not None else ():
                    yield self.places.fault(("flow", index, key), fault.message, fault.at)
            if edge.best is not None:
                for fault in _number(edge.best, reads):
                    yield self.places.fault(("flow", index, "best"), fault.message, fault.at)

    def _output(self) -> Iterator[Fault]:
        if self.model.output is not None:
            reads = self._reads(END, "the output")
            for fault in reads.template(self.model.output, "said"):
                yield self.places.fault(("output",), fault.message, fault.at)


def _condition(tree: Tree, reads: Reads) -> Iterator[ExpressionFault]:
    if all(map(reads.knows, refs(tree))):
        yield from check_condition(tree, reads.scope)
    for ref in refs(tree):
        late = reads.late(ref.path[0])
        if late:
            yield ExpressionFault(late, ref.at)


def _number(ref: Ref, reads: Reads) -> Iterator[ExpressionFault]:
    kind, wrong = reads.operand(ref)
    yield from wrong
    if kind is not None and not isinstance(kind, Number | Bool):
        yield ExpressionFault(f"'{ref}' is {kind}, not a number to choose by", ref.at)
