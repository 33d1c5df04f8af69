"""A chain's model written as Python: a module with a `Definition` that builds an equal chain."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from .dsl import SETTINGS, snake
from .errors import InputError
from .kinds import Data, Guard, NodeData
from .model import (
    END,
    LIMITS,
    START,
    Ask,
    BestOf,
    Budget,
    ChainModel,
    Check,
    Edge,
    Field_,
    Function,
    Map,
    Node,
    Parallel,
    Retrieve,
    RunBudget,
    Say,
    SubChain,
    Turn,
)
from .spelling import Names, Values, call, keywords, literal

_ONCE = ("prompt", "folder")  # values that stand first in a call, without their names


def to_python(model: ChainModel) -> str:
    """Python source whose last class builds an equal chain.

    Raises: InputError: a name in it can't stand in Python source; the message says which.
    """
    module = _Module(model)
    name = module.defined(model)
    head = f'"""The chain {model.name}, whose definition is {name}."""'
    imports = "\n".join(module.names.imports())
    return "\n\n\n".join([f"{head}\n\n{imports}", *module.classes]) + "\n"


class _Module:
    """The classes of a chain and of those inside it, each after those it names."""

    def __init__(self, model: ChainModel) -> None:
        self.names = Names(_nodes(model))
        self.classes: list[str] = []
        self._known: list[tuple[ChainModel, str]] = []

    def defined(self, model: ChainModel) -> str:
        """The name of the class of a chain, which is written if it was not before."""
        for known, name in self._known:
            if known == model:
                return name
        writer = _Class(self, model)
        body = "\n".join(writer.lines())  # classes that it names come before it
        name = self.names.new("".join(part.title() for part in model.name.split("_")))
        if snake(name) != model.name:
            body = f"    name = {literal(model.name)}\n{body}"
        self.classes.append(f"class {name}({self.names.imported('Definition')}):\n{body}")
        self._known.append((model, name))
        return name


def _nodes(model: ChainModel) -> Iterator[str]:
    """The names of all nodes, those of chains inside included."""
    yield from model.nodes
    for _, node in model.parts():
        if isinstance(node, SubChain):
            yield from _nodes(node.of)


class _Class:
    def __init__(self, module: _Module, model: ChainModel) -> None:
        self.module, self.model, self.names = module, model, module.names
        self.known: list[str] = []

    def lines(self) -> Iterator[str]:
        """The statements of the body, indented."""
        for key in ("description", "system"):
            if getattr(self.model, key) is not None:
                yield f"    {key} = {literal(getattr(self.model, key))}"
        if self.model.version != 1:
            yield f"    version = {self.model.version}"
        if self.model.input:
            given = {name: _field(one) for name, one in self.model.input.items()}
            parts = (f"{literal(name)}: {one}" for name, one in given.items())
            yield call("    inputs = ", parts, brackets="{}")
        for name, node in self.model.nodes.items():
            _check_name(self.model, name)
            yield f"    {name} = {self._node(node)}"
            self.known.append(name)
        if self.model.budget is not None:
            yield f"    budget = {self._budget(self.model.budget)}"
        if self.model.output is not None:
            yield f"    output = {literal(self.model.output)}"
        flow = "".join(f"        {self._edge(edge)},\n" for edge in self.model.flow)
        yield f"    flow = (\n{flow}    )"

    def _call(self, name: str, parts: list[str]) -> str:
        return call(self.names.imported(name), parts)

    def _values(self, known: Collection[str] = ()) -> Values:
        return Values(self.names, known)

    def _arguments(self, node: Function | SubChain) -> list[str]:
        values = self._values(self.known)
        return keywords({name: values.operand(one) for name, one in node.arguments.items()})

    def _node(self, node: Node) -> str:
        """The call that makes a node, with its limits."""
        written: str
        match node:
            case Turn() | Retrieve():
                written = self._call(node.kind, self._given(node))
            case Say(text=text) | Ask(question=text):
                written = self._call(node.kind, [literal(text)])
            case Check():
                written = self._check(node)
            case Function():
                module, _, function = node.call.partition(":")
                if module == "__main__":
                    raise InputError(f"{node.call} is in no module that can be imported; move it")
                parts = [self.names.imported(function, module), *self._arguments(node)]
                written = self._call("function", parts)
            case SubChain():
                parts = [self.module.defined(node.of), *self._arguments(node)]
                written = self._call("subchain", parts)
            case Parallel():
                written = self._parallel(node)
            case Map():
                failed = [] if node.failed == "raise" else [f"failed={literal(node.failed)}"]
                over = self._values(self.known).ref(node.over)
                written = self._call("map_over", [over, f"do={self._node(node.do)}", *failed])
            case BestOf():
                by = [f"by={self._values().ref(node.by)}"]
                by = [] if node.by == BestOf.model_fields["by"].default else by
                inner = [self._node(node.turn), f"judge={self._node(node.judge)}"]
                written = self._call("best_of", [str(node.n), *inner, *by])
        return written + _limits(node)

    def _given(self, node: Turn | Retrieve) -> list[str]:
        """The values that are not their defaults; one of them stands first, without its name."""
        given = {name: getattr(node, name) for name in _set(node) if name not in LIMITS}
        parts = [literal(given.pop(name)) for name in _ONCE if name in given]
        for name, value in given.items():
            if name == "guards":
                guards = [self._guard(guard) for guard in value]
                parts.append(call("guards=", guards, brackets="[]"))
            else:
                plain = list(value) if isinstance(value, tuple) else value
                parts.append(f"{name}={literal(plain)}")
        return parts

    def _guard(self, guard: Guard) -> str:
        rest = {name: literal(getattr(guard, name)) for name in _set(guard)}
        first = [rest.pop("at"), rest.pop("check")]
        return self._call("guard", [*first, *keywords(rest)])

    def _check(self, node: Check) -> str:
        given = {name: one for name, one in node.intrinsics.items() if one}
        arguments = [f"arguments={literal(given)}"] if given else []
        return self._call("check", [*map(literal, node.intrinsics), *arguments])

    def _parallel(self, node: Parallel) -> str:
        if "join" in node.branches:
            raise InputError(
                f"{self.model.name}: a branch 'join' can't be written in Python, where that says "
                "how branches are joined; rename it"
            )
        join = [] if node.join == "all" else [f"join={literal(node.join)}"]
        branches = {name: self._node(one) for name, one in node.branches.items()}
        return self._call("parallel", [*join, *keywords(branches)])

    def _budget(self, budget: Budget) -> str:
        given = {name: literal(getattr(budget, name)) for name in _set(budget) if name != "then"}
        if isinstance(budget, RunBudget) and budget.then != END:
            given["then"] = budget.then
        return self._call("Budget", keywords(given))

    def _edge(self, edge: Edge) -> str:
        values, source = self._values(self.known), self._end(edge.source)
        way = source
        if edge.when is not None:
            way = call(f"{source}.when", [values.condition(edge.when)], 8)
        elif edge.until is not None:
            way = call(f"{source}.until", [values.condition(edge.until)], 8)
        elif edge.abstain_below is not None:
            way = f"{source}.abstain_below({edge.abstain_below!r})"
        elif edge.on_error:
            reasons = () if edge.on_error == ("any",) else edge.on_error
            way = f"{source}.on_error({', '.join(map(literal, reasons))})"
        elif edge.otherwise:
            way = f"{source}.otherwise"
        if edge.at_most is None:
            return f"{way} >> {self._end(edge.target)}"
        parts = [self._end(edge.target), f"at_most={edge.at_most}", f"then={self._end(edge.then)}"]
        if edge.or_else is not None:
            parts.append(f"or_else={self._end(edge.or_else)}")
        if edge.best is not None:
            parts.append(f"best={values.ref(edge.best)}")
        if edge.budget is not None:
            parts.append(f"budget={self._budget(edge.budget)}")
        return call(f"{way}.again", parts, 8)

    def _end(self, name: str | None) -> str:
        """A node as the flow names it."""
        assert name is not None, "a checked loop says where it goes then"
        return self.names.imported(name.upper()) if name in (START, END) else name


def _check_name(model: ChainModel, name: str) -> None:
    if name in SETTINGS or name.startswith("__"):
        what = "is a setting of the chain" if name in SETTINGS else "is a name of Python's own"
        raise InputError(f"{model.name}: in Python {name!r} {what}; rename the node")


def _set(data: Data) -> list[str]:
    """The fields of a part that are not their defaults."""
    return list(data.model_dump(exclude_defaults=True))


def _limits(node: NodeData) -> str:
    """What is said of retries and time-outs, behind the call that makes the node."""
    written = ""
    if node.retry is not None:
        rest = {name: literal(getattr(node.retry, name)) for name in _set(node.retry)}
        written = call(".retry", [rest.pop("times"), *keywords(rest)])
    bounds = [] if node.timeout is None else [literal(node.timeout)]
    bounds += [] if node.idle_timeout is None else [f"idle={literal(node.idle_timeout)}"]
    return written + (call(".within", bounds) if bounds else "")


def _field(field: Field_) -> Any:
    return field.type if field.default is None else f"({field.type}, {literal(field.default)})"
