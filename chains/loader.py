"""The YAML spelling of a chain: read into the model, with a place for every part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from intrinsics.errors import DefinitionError, Fault
from intrinsics.located import Loc, Located, parse, unknown

from .errors import ChainDefinitionError
from .expression import Constant, Ref
from .model import KINDS, ChainModel, Data, Edge, Field_, Node
from .parsing import ExpressionFault
from .parsing import parse as parse_condition
from .places import EdgePlace, YamlPlaces

_KEYS = ("chain", "version", "description", "system", "input", "nodes", "flow", "output")
_EDGE = re.compile(r"\s*(\S+)\s*->\s*(\S+)\s*")
_EDGE_KEYS = ("when", "at_most", "then", "abstain_below")
SHORT = {"turn": "prompt", "say": "text", "ask": "question", "function": "call"}


def read(text: str, file: str) -> tuple[ChainModel, YamlPlaces]:
    """The model that a YAML text spells. Raises: ChainDefinitionError: with every fault found."""
    try:
        source = parse(text, file)
    except DefinitionError as error:
        raise ChainDefinitionError(error.faults) from None
    reader = _Reader(source)
    model = reader.model()
    if reader.faults or model is None:
        raise ChainDefinitionError(reader.faults)
    return model, YamlPlaces(source, tuple(reader.edges))


class _Reader:
    def __init__(self, source: Located) -> None:
        self.source = source
        self.faults: list[Fault] = []
        self.edges: list[EdgePlace] = []

    def model(self) -> ChainModel | None:
        data = self.source.data
        if not isinstance(data, dict):
            self._fault((), "must be a mapping that begins with 'chain:'")
            return None
        for key in data:
            if key not in _KEYS:
                self.faults.append(
                    self.source.fault((key,), unknown("key", str(key), _KEYS), key=True)
                )
        if "chain" not in data:
            self._fault((), "missing key 'chain': the name of the chain")
        head = {k: data[k] for k in ("version", "description", "system", "output") if k in data}
        head |= {"name": data.get("chain", "unnamed")}
        parts: dict[str, Any] = {
            "input": self._mapping("input", self._input),
            "nodes": self._mapping("nodes", self._node),
            "flow": self._flow(data.get("flow")),
        }
        try:
            return ChainModel(**head, **parts)
        except ValidationError as error:
            self.faults += [self._renamed(dict(one)) for one in error.errors()]
        return None

    def _renamed(self, error: dict[str, Any]) -> Fault:
        loc = tuple("chain" if step == "name" else step for step in error["loc"])
        return self.source.fault(loc, f"{error['msg']}; it is {error['input']!r}")

    def _fault(self, loc: Loc, message: str) -> None:
        self.faults.append(self.source.fault(loc, message))

    def _mapping(self, key: str, one: Any) -> dict[str, Any]:
        value = self.source.data.get(key) or {}
        if not isinstance(value, dict):
            self._fault((key,), f"{key} must map names to what they are")
            return {}
        built = {str(name): one((key, name), part) for name, part in value.items()}
        return {name: part for name, part in built.items() if part is not None}

    def _built(self, kind: type[Data], loc: Loc, value: Mapping[str, Any]) -> Any:
        """A part of the model. What it is built from stands at `loc`, short or long."""
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            if self._is_long(loc):
                self.faults += self.source.faults(error, kind, loc)
            else:
                self.faults += [self.source.fault(loc, _words(one)) for one in error.errors()]
            return None

    def _is_long(self, loc: Loc) -> bool:
        """Whether a mapping stands at `loc`, and not the short spelling of one."""
        try:
            return isinstance(self.source.at(loc), dict)
        except (TypeError, LookupError):  # `a: say`: the kind is there, nothing below it
            return False

    def _input(self, loc: Loc, value: Any) -> Field_ | None:
        field: Field_ | None = self._built(
            Field_, loc, value if isinstance(value, dict) else {"type": value}
        )
        return field

    def _node(self, loc: Loc, value: Any) -> Node | None:
        if isinstance(value, str) and value in KINDS:
            value = {value: None}
        if not isinstance(value, dict) or len(value) != 1:
            kinds = ", ".join(KINDS)
            self._fault(
                loc, f"a node has exactly one kind: {kinds}; write '{loc[-1]}: {{kind: ...}}'"
            )
            return None
        [(kind, spec)] = value.items()
        if kind not in KINDS:
            message = unknown("kind of node", str(kind), KINDS)
            self.faults.append(self.source.fault((*loc, kind), message, key=True))
            return None
        loc = (*loc, kind)
        if kind == "check":
            return self._check(loc, spec)
        if not isinstance(spec, dict):
            spec = {} if spec is None else {SHORT[kind]: spec}
        if kind == "function":
            spec = self._function(loc, spec)
        node: Node | None = self._built(KINDS[kind], loc, spec)
        return node

    def _check(self, loc: Loc, spec: Any) -> Node | None:
        """`check: a`, `check: [a, b]` or `check: {a: {argument: text}}`."""
        if isinstance(spec, str):
            spec = [spec]
        if isinstance(spec, list):
            if not all(isinstance(name, str) for name in spec) or len(set(spec)) < len(spec):
                self._fault(loc, "check lists the names of intrinsics, each once")
                return None
            spec = dict.fromkeys(spec)
        if not isinstance(spec, dict):
            self._fault(loc, "check names one or several intrinsics")
            return None
        given = {name: arguments or {} for name, arguments in spec.items()}
        try:
            return KINDS["check"].model_validate({"intrinsics": given})
        except ValidationError as error:
            for one in error.errors():
                self._fault((*loc, *one["loc"][1:]), str(one["msg"]))
            return None

    def _function(self, loc: Loc, spec: dict[str, Any]) -> dict[str, Any]:
        given = spec.get("arguments") or {}
        if not isinstance(given, dict):
            self._fault((*loc, "arguments"), "arguments map parameter names to names in the state")
            return {**spec, "arguments": {}}
        operands: dict[str, Ref | Constant] = {}
        for name, value in given.items():
            place = (*loc, "arguments", name)
            tree = self._condition(place, value) if isinstance(value, str) else Constant(value)
            if isinstance(tree, Ref | Constant):
                operands[name] = tree
            elif tree is not None:
                self._fault(place, "an argument is one name or one literal")
        return {**spec, "arguments": operands}

    def _condition(self, loc: Loc, text: Any) -> Any:
        if not isinstance(text, str):
            self._fault(loc, f"a condition is text; it is {text!r}")
            return None
        try:
            return parse_condition(text)
        except ExpressionFault as fault:
            self.faults.append(self.source.fault(loc, fault.message, offset=fault.at))
            return None

    def _flow(self, items: Any) -> tuple[Edge, ...]:
        if not isinstance(items, list) or not items:
            self._fault(("flow",), "flow lists edges such as 'start -> reply'")
            return ()
        edges = (self._edge(("flow", i), item) for i, item in enumerate(items))
        return tuple(edge for edge in edges if edge is not None)

    def _edge(self, loc: Loc, item: Any) -> Edge | None:
        text, spec = item, None
        if isinstance(item, dict) and len(item) == 1:
            [(text, spec)] = item.items()
            loc = (*loc, text)
        match = _EDGE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            self._fault(loc, "an edge is 'source -> target', maybe with ': {when: ...}'")
            return None
        parts: dict[str, Any] = {"source": match[1], "target": match[2]}
        if spec == "otherwise":
            parts["otherwise"] = True
        elif isinstance(spec, dict):
            parts |= self._edge_parts(loc, spec)
        elif spec is not None:
            self._fault(
                loc, "after an edge comes 'otherwise' or {when, at_most, then, abstain_below}"
            )
            return None
        self.edges.append(EdgePlace(loc, match.start(1), match.start(2)))
        edge: Edge | None = self._built(Edge, loc, parts)
        return edge

    def _edge_parts(self, loc: Loc, spec: Mapping[str, Any]) -> dict[str, Any]:
        """`otherwise: true` is the long spelling beside at_most and then."""
        parts: dict[str, Any] = {}
        for key, value in spec.items():
            if key == "when":
                parts["when"] = self._condition((*loc, "when"), value)
            elif key == "otherwise" and value is True:
                parts["otherwise"] = True
            elif key in _EDGE_KEYS:
                parts[key] = value
            else:
                message = unknown("key", str(key), (*_EDGE_KEYS, "otherwise"))
                self.faults.append(self.source.fault((*loc, key), message, key=True))
        return parts


def _words(error: Mapping[str, Any]) -> str:
    """What pydantic found wrong with a short spelling."""
    return f"missing {error['loc'][-1]}" if error["type"] == "missing" else str(error["msg"])
