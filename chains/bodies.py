"""The nodes of a YAML chain: short and long spellings, and nodes inside nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from pydantic import ValidationError

from intrinsics.errors import Fault
from intrinsics.located import CUT, Loc, Located, unknown

from .expression import Constant, Ref, Tree
from .kinds import NodeData
from .model import KINDS, LIMITS, Ask, ChainModel, Data, Edge, Node, Retrieve, Say, Turn
from .parsing import ExpressionFault
from .parsing import parse as parse_condition

SHORT = {
    "turn": "prompt",
    "say": "text",
    "ask": "question",
    "function": "call",
    "retrieve": "folder",
    "subchain": "of",
}
"""The value that a node of some kind may be spelled as alone."""

_FORGIVING = frozenset({Turn, Say, Ask, Retrieve})
"""Kinds of which a wrong value can be left out without anything following from it."""

EDGE_KEYS = (
    *("when", "otherwise", "abstain_below", "until"),
    *("at_most", "then", "or_else", "best", "budget", "on_error"),
)
"""What may stand at an edge."""

CHAIN_KEYS = ("system", "input", "output", "description", "version", "nodes", "flow")
"""What a chain has beside its name."""

ReadChain: TypeAlias = Callable[[Loc, Any], "ChainModel | None"]


class Values:
    """Reads parts of a file into the model, and collects what is wrong with them.

    `whole` tells whether the model has every part, so that what else is wrong with it can be told.
    """

    def __init__(self, source: Located) -> None:
        self.source = source
        self.faults: list[Fault] = []
        self.whole = True

    def fault(
        self, loc: Loc, message: str, *, key: bool = False, offset: int = 0, whole: bool = False
    ) -> None:
        """Something is wrong at a place; `whole`: no part of the model is lost by it."""
        self.whole &= whole
        self.faults.append(self.source.fault(loc, message, key=key, offset=offset))

    def built(self, kind: type[Data], loc: Loc, value: Mapping[str, Any]) -> Any:
        """A part of the model. What it is built from stands at `loc`, short or long.

        A value that is wrong, or has no place in it, is told and left out where it can be.
        """
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            if self._is_long(loc):
                self.faults += self.source.faults(error, kind, loc)
            else:
                self.faults += [self.source.fault(loc, _words(one)) for one in error.errors()]
            wrong = {one["loc"][0] for one in error.errors() if one["loc"]}
        self.whole &= kind is not Edge  # the rest of one is looked at all the same
        if kind in (NodeData, Edge) or kind in _FORGIVING:
            kept = {key: one for key, one in value.items() if key not in wrong}
            if kind is Turn:  # what was meant is unknown, and a loop or its place may need these
                kept = {"temperature": 1.0, "prompt": "?", **kept}
            try:
                return kind.model_validate(kept)
            except ValidationError:
                pass
        self.whole = False
        return None

    def _is_long(self, loc: Loc) -> bool:
        """Whether a mapping stands at `loc`, and not the short spelling of one."""
        try:
            return isinstance(self.source.at(loc), dict)
        except (TypeError, LookupError):  # `a: say`: the kind is there, nothing below it
            return False

    def condition(self, loc: Loc, text: Any) -> Tree | None:
        """A condition's tree."""
        if not isinstance(text, str):
            self.fault(loc, f"a condition is text; it is {text!r}")
            return None
        try:
            return parse_condition(text)
        except ExpressionFault as fault:
            self.fault(loc, fault.message, offset=fault.at)
            return None

    def ref(self, loc: Loc, text: Any) -> Ref | None:
        """A name in the state."""
        tree = self.condition(loc, text)
        if tree is not None and not isinstance(tree, Ref):
            self.fault(loc, f"{text!r} is not a name in the state, such as 'found.value'")
        return tree if isinstance(tree, Ref) else None

    def operands(self, loc: Loc, given: Any) -> dict[str, Ref | Constant]:
        """Arguments by name; text is a name in the state, or a literal in quotes of its own."""
        if given is not None and not isinstance(given, dict):
            self.fault(loc, "arguments map parameter names to names in the state")
        found: dict[str, Ref | Constant] = {}
        for name, value in given.items() if isinstance(given, dict) else ():
            place = (*loc, name)
            tree = self.condition(place, value) if isinstance(value, str) else Constant(value)
            if isinstance(tree, Ref | Constant):
                found[name] = tree
            elif tree is not None:
                self.fault(place, "an argument is one name or one literal")
        return found


class NodeReader:
    """Reads nodes; `chain` reads a sub-chain, from its place and what stands there.

    `folder` reads the name of a folder, in the same way.
    """

    def __init__(self, values: Values, chain: ReadChain, folder: Callable[[Loc, Any], Any]) -> None:
        self.values, self._chain, self._folder = values, chain, folder

    def node(self, loc: Loc, value: Any) -> Node | None:
        """`{kind: values}`, maybe with limits beside the kind; or the kind alone."""
        if isinstance(value, str) and value in KINDS:
            value = {value: None}
        if isinstance(value, dict) and self._misplaced(loc, value):
            return None
        limits = {k: v for k, v in value.items() if k in LIMITS} if isinstance(value, dict) else {}
        kinds = [key for key in value if key not in LIMITS] if isinstance(value, dict) else []
        rests = [key for key in kinds[1:] if key not in KINDS and value[key] is None]
        for key in rests:
            self.values.fault((*loc, key), CUT, key=True)
        if rests:
            return None
        if len(kinds) != 1:
            known = ", ".join(KINDS)
            message = f"a node has exactly one kind: {known}; write '{loc[-1]}: {{kind: ...}}'"
            self.values.fault(loc, message)
            return None
        [kind] = kinds
        if kind not in KINDS:
            message = unknown("kind of node", str(kind), (*KINDS, *LIMITS))
            self.values.fault((*loc, kind), message, key=True)
            return None
        if isinstance(limits.get("retry"), int):
            limits["retry"] = {"times": limits["retry"]}
        if limits:
            fit = self.values.built(NodeData, loc, limits)
            limits = {key: limits[key] for key in limits if fit and key in fit.model_fields_set}
        return self._of_kind((*loc, kind), kind, value[kind], limits)

    def _of_kind(self, loc: Loc, kind: str, spec: Any, limits: dict[str, Any]) -> Node | None:
        whole = kind == "subchain"  # whose values may be a chain's own
        if isinstance(spec, dict) and not whole and self._misplaced(loc, spec, _fields(kind)):
            return None
        if kind == "check":
            return self._check(loc, spec, limits)
        if kind in SHORT and not self._is_long(kind, spec):
            spec = {} if spec is None else {SHORT[kind]: spec}
        if not isinstance(spec, dict):
            self.values.fault(loc, f"{kind} needs {{{', '.join(_fields(kind))}}}")
            return None
        before, self.values.whole = self.values.whole, True
        parts = {key: self._part(kind, (*loc, key), key, value) for key, value in spec.items()}
        complete, self.values.whole = self.values.whole, self.values.whole and before
        if not complete:
            return None
        for key in [key for key in parts if key in LIMITS]:
            message = f"{key!r} stands beside {kind!r}, not in it"
            self.values.fault((*loc, key), message, key=True, whole=True)
            del parts[key]
        node: Node | None = self.values.built(KINDS[kind], loc, {**parts, **limits})
        return node

    def _misplaced(self, loc: Loc, given: Mapping[str, Any], own: Iterable[str] = ()) -> bool:
        """Tell where keys belong that stand in a node and not at an edge, or in the chain."""
        foreign = {*EDGE_KEYS, *CHAIN_KEYS}.difference(own)
        found = [key for key in given if key in foreign and not _is_named(loc, given[key])]
        for key in found:
            message = f"{key!r} belongs to the chain: write it at the top, beside 'nodes'"
            if key in EDGE_KEYS:
                name = loc[1] if len(loc) <= 3 and loc[0] == "nodes" else "NODE"
                edge = f"- {name} -> ...: {{{key}: ...}}"
                message = f"{key!r} belongs to an edge: write '{edge}' in the flow"
            self.values.fault((*loc, key), message, key=True)
        return bool(found)

    @staticmethod
    def _is_long(kind: str, spec: Any) -> bool:
        """A sub-chain may be spelled by a mapping itself."""
        return isinstance(spec, dict) and (kind != "subchain" or "of" in spec)

    def _part(self, kind: str, loc: Loc, key: str, value: Any) -> Any:
        """One value of a node; those that are nodes or names again are read as such."""
        match kind, key:
            case (("function" | "subchain"), "arguments"):
                return self.values.operands(loc, value)
            case "parallel", "branches":
                return self._branches(loc, value)
            case ("map", "do") | ("best_of", "judge"):
                return self.node(loc, value)
            case "best_of", "turn":
                spec = dict(value) if isinstance(value, dict) else {"prompt": value}
                if isinstance(spec.get("retry"), int):
                    spec["retry"] = {"times": spec["retry"]}
                return self.values.built(KINDS["turn"], loc, spec)
            case ("map", "over") | ("best_of", "by"):
                return self.values.ref(loc, value)
            case "retrieve", "folder":
                return self._folder(loc, value)
            case "subchain", "of":
                short = not self._is_long("subchain", self.values.source.at(loc[:-1]))
                return self._chain(loc[:-1] if short else loc, value)
            case _:
                return value

    def _branches(self, loc: Loc, value: Any) -> dict[str, Node] | None:
        if not isinstance(value, dict):
            self.values.fault(loc, "branches map names to nodes")
            return None
        found = {str(name): self.node((*loc, name), one) for name, one in value.items()}
        return {name: node for name, node in found.items() if node is not None}

    def _check(self, loc: Loc, spec: Any, limits: dict[str, Any]) -> Node | None:
        """`check: a`, `check: [a, b]` or `check: {a: {argument: text}}`."""
        if isinstance(spec, str):
            spec = [spec]
        if isinstance(spec, list):
            if not all(isinstance(name, str) for name in spec) or len(set(spec)) < len(spec):
                self.values.fault(loc, "check lists the names of intrinsics, each once")
                return None
            spec = dict.fromkeys(spec)
        if not isinstance(spec, dict):
            self.values.fault(loc, "check names one or several intrinsics")
            return None
        given = {name: arguments or {} for name, arguments in spec.items()}
        wrong = [name for name, arguments in given.items() if not isinstance(arguments, dict)]
        if wrong:
            message = (
                f"the arguments of {wrong[0]!r} map names to texts; without any write its name"
            )
            self.values.fault((*loc, wrong[0]), message, key=True)
            return None
        try:
            return KINDS["check"].model_validate({"intrinsics": given, **limits})
        except ValidationError as error:
            for one in error.errors():
                self.values.fault((*loc, *one["loc"][1:]), str(one["msg"]))
            return None


def _is_named(loc: Loc, value: Any) -> bool:
    """Whether what stands in a check may be the arguments of an intrinsic, or none."""
    return loc[-1] == "check" and (value is None or isinstance(value, dict))


def _fields(kind: str) -> list[str]:
    return [name for name in KINDS[kind].model_fields if name not in LIMITS]


def _words(error: Mapping[str, Any]) -> str:
    """What pydantic found wrong with a short spelling."""
    return f"missing {error['loc'][-1]}" if error["type"] == "missing" else str(error["msg"])
