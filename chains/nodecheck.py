"""What is wrong with a node and those inside it: names, intrinsics, calls, templates, joins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from intrinsics import template as jinja
from intrinsics.errors import Fault
from intrinsics.located import Loc, unknown
from intrinsics.spec import Definition

from .expression import Operand, Ref
from .functions import Callables, signature_faults
from .model import (
    BestOf,
    Function,
    Map,
    Node,
    Parallel,
    SubChain,
    Turn,
    inner,
    speaks,
    templates,
)
from .parsing import ExpressionFault
from .places import Places
from .slots import REPLY, UNKNOWN, slot
from .types import Bool, Number, Opaque, Record, Text, Type, shape_of, type_of

_INPUT = {"str": Text, "int": Number, "float": Number, "bool": Bool, "list[str]": Opaque}


@dataclass(frozen=True)
class Reads:
    """What something may read: the types of names, and which nodes have certainly run by then.

    `where` is how faults call it.
    """

    scope: Record
    nodes: frozenset[str]
    certain: frozenset[str]
    where: str

    def with_local(self, **local: Type) -> Reads:
        """The same, and names that only a node inside another one has."""
        return replace(self, scope=Record({**self.scope.fields, **local}))

    def late(self, name: str) -> str | None:
        """What is wrong with reading a name, if it is a node's that may not have run."""
        if name in self.nodes and name not in self.certain:
            return f"{self.where} reads {name!r}, which may not have run by then"
        return None

    def knows(self, ref: Ref) -> bool:
        """False where the type of what it reads could not be found, which is told already."""
        here: Type = self.scope
        for step in ref.path:
            here = here.fields.get(step, here) if isinstance(here, Record) else here
            if here is UNKNOWN:
                return False
        return True

    def operand(self, operand: Operand) -> tuple[Type | None, list[ExpressionFault]]:
        """The type of an operand, None where it is not known, and what is wrong with it."""
        if not isinstance(operand, Ref):
            return type_of(operand, self.scope), []
        late = self.late(operand.path[0])
        faults = [ExpressionFault(late, operand.at)] if late else []
        if not self.knows(operand):
            return None, faults
        try:
            return type_of(operand, self.scope), faults
        except ExpressionFault as fault:
            return None, [fault]

    def template(self, text: str, *extra: str) -> Iterator[ExpressionFault]:
        """What is wrong with a template."""
        shape = {name: shape_of(kind) for name, kind in self.scope.fields.items()}
        parsed = jinja.Template(text)
        faults = parsed.check({**shape, **dict.fromkeys(extra)})
        for fault in faults:
            yield ExpressionFault(fault.message, fault.offset)
        if faults:
            return
        for name in sorted({path[0] for path in parsed.paths} - parsed.tested):
            late = self.late(name)
            if late:
                message = f"{late}; guard it with {{% if {name} is defined %}}"
                yield ExpressionFault(message, text.find(name))


class NodeCheck:
    """Finds the faults of nodes, given the intrinsics and functions there are."""

    def __init__(
        self,
        places: Places,
        definitions: Mapping[str, Definition],
        functions: Callables,
        looks_at_calls: bool,
    ) -> None:
        self.places, self.definitions = places, definitions
        self.functions, self.looks_at_calls = functions, looks_at_calls

    def faults(self, loc: Loc, node: Node, reads: Reads) -> Iterator[Fault]:
        """Every fault of a node at `loc`, its kind included, and of those inside it."""
        extra = ("attempt",) if isinstance(node, Turn) else ()
        for place, text in templates(node).items():
            for fault in reads.template(text, *extra):
                yield self.places.fault((*loc, *place), fault.message, fault.at)
        if isinstance(node, Function):
            yield from self._call(loc, node, reads)
        elif isinstance(node, SubChain):
            yield from self._sub(loc, node, reads)
        elif isinstance(node, Parallel):
            yield from self._parallel(loc, node)
        elif isinstance(node, Map):
            item, faults = self._item(loc, node, reads)
            yield from faults
            reads = reads.with_local(item=item, index=Number(1))
        elif isinstance(node, BestOf):
            yield from self._by(loc, node)
            reads = reads.with_local(candidate=REPLY)
        for place, one in inner(node).items():
            below = (*loc, *place) if place == ("turn",) else (*loc, *place, one.kind)
            yield from self.faults(below, one, reads)

    def _call(self, loc: Loc, node: Function, reads: Reads) -> Iterator[Fault]:
        call = self.functions.get(node.call)
        if call is None:
            if self.looks_at_calls:
                message = unknown("function", node.call, self.functions)
                remedy = "register it in code, or give its module by --functions"
                yield self.places.fault((*loc, "call"), f"{message}; {remedy}")
            return
        types, faults = self._arguments(loc, node.arguments, reads)
        known = {name: None if isinstance(t, Opaque) else t for name, t in types.items()}
        for message in signature_faults(call, known):
            yield self.places.fault(loc, message)
        yield from faults

    def _arguments(
        self, loc: Loc, given: Mapping[str, Operand], reads: Reads
    ) -> tuple[dict[str, Type | None], list[Fault]]:
        types: dict[str, Type | None] = {}
        faults: list[Fault] = []
        for name, operand in given.items():
            types[name], wrong = reads.operand(operand)
            place = (*loc, "arguments", name)
            faults += [self.places.fault(place, one.message, one.at) for one in wrong]
        return types, faults

    def _sub(self, loc: Loc, node: SubChain, reads: Reads) -> Iterator[Fault]:
        types, faults = self._arguments(loc, node.arguments, reads)
        yield from faults
        if node.of.system is not None:
            message = "a sub-chain goes on with the conversation; its own system text would be lost"
            yield self.places.fault((*loc, "of"), message)
        for name, kind in types.items():
            field = node.of.input.get(name)
            if field is None:
                message = unknown(f"input of {node.of.name}", name, node.of.input)
                yield self.places.fault((*loc, "arguments", name), message)
            elif kind is not None and not isinstance(kind, _INPUT[field.type]):
                message = f"{node.of.name} takes {field.type} for {name!r}, but is given {kind}"
                yield self.places.fault((*loc, "arguments", name), message)
        for name, field in node.of.input.items():
            if name not in types and field.default is None:
                yield self.places.fault(loc, f"{node.of.name} needs the input {name!r}")

    def _parallel(self, loc: Loc, node: Parallel) -> Iterator[Fault]:
        if node.join != "all":
            return
        writers = [name for name, one in node.branches.items() if speaks(one)]
        for name in writers[1:]:
            message = (
                f"two parallel writers of the conversation, {writers[0]!r} and {name!r}; let one "
                f"speak, or join: first, which keeps the winner's words"
            )
            yield self.places.fault((*loc, "branches", name), message)

    def _item(self, loc: Loc, node: Map, reads: Reads) -> tuple[Type, list[Fault]]:
        kind, wrong = reads.operand(node.over)
        faults = [self.places.fault((*loc, "over"), one.message, one.at) for one in wrong]
        if kind is not None and not isinstance(kind, Opaque):
            message = f"'{node.over}' is {kind}, not a list"
            faults.append(self.places.fault((*loc, "over"), message, node.over.at))
        item = kind.item if isinstance(kind, Opaque) else None
        return UNKNOWN if item is None else item, faults

    def _by(self, loc: Loc, node: BestOf) -> Iterator[Fault]:
        judge = slot(node.judge, self.definitions, self.functions)
        reads = Reads(Record({"judge": judge}), frozenset(), frozenset(), "by")
        kind, wrong = reads.operand(node.by)
        for fault in wrong:
            yield self.places.fault((*loc, "by"), fault.message, fault.at)
        if kind is not None and not isinstance(kind, Number | Bool):
            labels = getattr(kind, "values", ())
            hint = f"; take a label's probability, judge.p({labels[0]!r})" if labels else ""
            message = f"'{node.by}' is {kind}, not a number to choose by{hint}"
            yield self.places.fault((*loc, "by"), message, node.by.at)
        if node.turn.temperature == 0:
            message = "candidates at temperature 0 are all the same; give the turn a temperature"
            yield self.places.fault((*loc, "turn"), message)
