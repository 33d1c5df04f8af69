"""A whole chain, checked before it runs: every fault at once, each at its place."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping
from unicodedata import normalize

from intrinsics import template as jinja
from intrinsics.catalogue import Catalogue
from intrinsics.errors import DefinitionError, Fault, RequestError
from intrinsics.located import Loc, unknown
from intrinsics.spec import Definition

from .expression import Ref, refs
from .flowcheck import FlowCheck
from .functions import Callables, return_type, signature_faults
from .model import END, RESERVED, Ask, ChainModel, Check, Function, Say, Turn, templates
from .parsing import ExpressionFault
from .places import Places
from .rolecheck import RoleCheck
from .types import (
    Bool,
    Number,
    Opaque,
    Record,
    Text,
    Type,
    check_condition,
    of_output,
    of_python,
    shape_of,
    type_of,
)

_REPLY = Record(
    {"text": Text(), "finish": Text(("end", "length", "stop"), "finish"), "attempts": Number(1)}
)
_SAID = Record({"text": Text()})
_FIELDS: dict[str, Type] = {
    "str": Text(),
    "int": Number(),
    "float": Number(),
    "bool": Bool(),
    "list[str]": Opaque(),
}


def faults_of(
    model: ChainModel, places: Places, catalogue: Catalogue, functions: Callables | None
) -> list[Fault]:
    """Everything wrong with a chain; without `functions` its calls are not looked at."""
    return list(_Checker(model, places, catalogue, functions).faults())


class _Checker:
    def __init__(
        self, model: ChainModel, places: Places, catalogue: Catalogue, functions: Callables | None
    ) -> None:
        self.model, self.places, self.catalogue = model, places, catalogue
        self.functions: Callables = functions or {}
        self.looks_at_calls = functions is not None
        self.flow = FlowCheck(model, places)
        self.certain = self.flow.graph.certain
        self.definitions: dict[str, Definition] = {}

    def faults(self) -> Iterator[Fault]:
        yield from self._names()
        yield from self._intrinsics()
        self.scope = self._scope()
        yield from self.flow.faults()
        yield from self._conditions()
        yield from self._calls()
        yield from self._templates()
        yield from self._output()
        if self.flow.names_known:
            roles = RoleCheck(self.model, self.places, self.definitions, self.flow.undone)
            yield from roles.faults()

    def _names(self) -> Iterator[Fault]:
        for kind, names in (("nodes", self.model.nodes), ("input", self.model.input)):
            for name in names:
                taken = name in RESERVED or keyword.iskeyword(name) or name in ("true", "false")
                if kind == "nodes" and taken:
                    message = f"{name!r} has a meaning of its own; choose another name"
                    yield self.places.fault((kind, name), message)
                elif not name.isidentifier() or normalize("NFKC", name) != name:
                    message = f"{name!r} is not a name; use letters, digits and _"
                    yield self.places.fault((kind, name), message)

    def _intrinsics(self) -> Iterator[Fault]:
        for name, node in self.model.nodes.items():
            if not isinstance(node, Check):
                continue
            for intrinsic, arguments in node.intrinsics.items():
                loc: Loc = ("nodes", name, "check", intrinsic)
                try:
                    definition = self.catalogue.get(intrinsic)
                except RequestError as error:
                    yield self.places.fault(loc, str(error))
                    continue
                except DefinitionError as error:
                    yield from error.faults
                    continue
                self.definitions[intrinsic] = definition
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

    def _scope(self) -> Record:
        fields: dict[str, Type] = {
            "input": Record({name: _FIELDS[f.type] for name, f in self.model.input.items()}),
            "user": Text(),
            "messages": Opaque(),
            "documents": Opaque(),
        }
        for name, node in self.model.nodes.items():
            fields[name] = self._type_of(node)
        return Record(fields)

    def _type_of(self, node: object) -> Type:
        if isinstance(node, Turn):
            return _REPLY
        if isinstance(node, Say | Ask):
            return _SAID
        if isinstance(node, Check):
            known = [name for name in node.intrinsics if name in self.definitions]
            verdicts = {name: of_output(self.definitions[name].output, name) for name in known}
            if len(node.intrinsics) == 1 and verdicts:
                [one] = verdicts.values()
                return Record({**one.fields, **verdicts}, one.labels, one.source)
            return Record(dict(verdicts)) if len(known) == len(node.intrinsics) else _UNKNOWN
        call = self.functions.get(node.call) if isinstance(node, Function) else None
        return Record({"value": of_python(return_type(call))}) if call else _UNKNOWN

    def _readable(self, ref: Ref, where: str, certain: frozenset[str]) -> Iterator[ExpressionFault]:
        name = ref.path[0]
        if name in self.model.nodes and name not in certain:
            message = f"{where} reads {name!r}, which may not have run by then"
            yield ExpressionFault(message, ref.at)

    def _known(self, ref: Ref) -> bool:
        """False where the type of what it reads could not be found, which is reported already."""
        return self.scope.fields.get(ref.path[0]) is not _UNKNOWN

    def _conditions(self) -> Iterator[Fault]:
        for index, edge in enumerate(self.model.flow):
            if edge.when is None:
                continue
            certain = self.certain.get(edge.source, frozenset(self.model.nodes))
            found: list[ExpressionFault] = []
            if all(map(self._known, refs(edge.when))):
                found += check_condition(edge.when, self.scope)
            for ref in refs(edge.when):
                found += self._readable(ref, f"the edge from {edge.source!r}", certain)
            for fault in found:
                yield self.places.fault(("flow", index, "when"), fault.message, fault.at)

    def _calls(self) -> Iterator[Fault]:
        for name, node in self.model.nodes.items():
            if not isinstance(node, Function):
                continue
            loc: Loc = ("nodes", name, "function")
            call = self.functions.get(node.call)
            if call is None:
                if self.looks_at_calls:
                    message = unknown("function", node.call, self.functions)
                    remedy = "register it in code, or give its module by --functions"
                    yield self.places.fault((*loc, "call"), f"{message}; {remedy}")
                continue
            for message in signature_faults(call, self._given(node)):
                yield self.places.fault(loc, message)
            yield from self._operands(name, node)

    def _operands(self, name: str, node: Function) -> Iterator[Fault]:
        """Names that a call's arguments read: unknown, or maybe not there yet."""
        certain = self.certain.get(name, frozenset(self.model.nodes)) - {name}
        for key, operand in node.arguments.items():
            for ref in refs(operand):
                try:
                    if self._known(ref):
                        type_of(ref, self.scope)
                    found = list(self._readable(ref, f"{name!r}", certain))
                except ExpressionFault as error:
                    found = [error]
                for fault in found:
                    place = ("nodes", name, "function", "arguments", key)
                    yield self.places.fault(place, fault.message, fault.at)

    def _given(self, node: Function) -> dict[str, Type | None]:
        """The types of a call's arguments; None where one is not known."""
        found: dict[str, Type | None] = {}
        for key, operand in node.arguments.items():
            try:
                kind = type_of(operand, self.scope)
            except ExpressionFault:  # told at its own place
                kind = _UNKNOWN
            found[key] = None if isinstance(kind, Opaque) else kind
        return found

    def _templates(self) -> Iterator[Fault]:
        for one in templates(self.model):
            extra = {"attempt"} if one.node and isinstance(self.model.nodes[one.node], Turn) else ()
            certain = self.certain.get(str(one.node), frozenset(self.model.nodes)) - {one.node}
            yield from self._template(one.loc, one.text, f"{one.node!r}", frozenset(certain), extra)

    def _output(self) -> Iterator[Fault]:
        text = self.model.output
        if text is None:
            return
        certain = self.certain.get(END, frozenset(self.model.nodes))
        yield from self._template(("output",), text, "the output", certain, {"said"})

    def _template(
        self,
        loc: Loc,
        text: str,
        where: str,
        certain: frozenset[str | None] | frozenset[str],
        extra: set[str] | tuple[()],
    ) -> Iterator[Fault]:
        shape = {name: shape_of(kind) for name, kind in self.scope.fields.items()}
        parsed = jinja.Template(text)
        faults = parsed.check({**shape, **dict.fromkeys(extra)})
        for fault in faults:
            yield self.places.fault(loc, fault.message, fault.offset)
        if faults:
            return
        for name in sorted({path[0] for path in parsed.paths} - parsed.tested):
            if name in self.model.nodes and name not in certain:
                message = (
                    f"{where} reads {name!r}, which may not have run by then; "
                    f"guard it with {{% if {name} is defined %}}"
                )
                yield self.places.fault(loc, message, text.find(name))


_UNKNOWN: Type = Opaque()
