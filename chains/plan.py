"""A checked chain made ready to run: what the loop would otherwise look up at every node."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from intrinsics.template import Template

from .errors import ChainRunError
from .expression import Tree
from .files import Files
from .functions import Callables, models_taken, return_type
from .fuse import fused_with
from .graph import Graph, undone_by
from .limits import is_limited
from .model import START, ChainModel, Edge, ErrorKind, Function, Node, Say


@dataclass(frozen=True)
class Exit:
    """An edge out of a node.

    `undoes`: taking it takes back what was said since its target began. `loop` are the nodes of
    the loop it closes, in the order of the chain.
    """

    index: int
    edge: Edge
    undoes: bool = False
    loop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "condition", self.edge.condition)
        object.__setattr__(self, "label", self.edge.label or None)

    condition: Tree | None = field(init=False)
    label: str | None = field(init=False)


class Call:
    """A function with the types of what it takes and returns."""

    def __init__(self, name: str, call: Callable[..., Any]) -> None:
        self.name, self.call = name, call
        self.is_async = inspect.iscoroutinefunction(call)
        self._takes = {name: TypeAdapter(hint) for name, hint in models_taken(call).items()}
        self._returns = return_type(call)
        self._adapter: TypeAdapter[Any] = TypeAdapter(self._returns)

    def read(self, text: str) -> Any:
        """What it might have returned, written as JSON. Raises: ValueError: it would not."""
        try:
            value = self._adapter.validate_json(text, strict=True)
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            raise ValueError(f"{self.name} never returns {text}: {why}") from None
        return self.checked(value)

    def taking(self, values: dict[str, Any]) -> dict[str, Any]:
        """Arguments as it takes them: models where the state holds plain values.

        Changes: `values`. Raises: ChainRunError: one is not what it takes.
        """
        for name, adapter in self._takes.items():
            if name in values:
                try:
                    values[name] = adapter.validate_python(values[name])
                except ValidationError as error:
                    why = error.errors()[0]["msg"]
                    raise ChainRunError(
                        f"{self.name} can't take {values[name]!r} for {name!r}: {why}",
                        reason="function",
                    ) from error
        return values

    def checked(self, value: Any) -> Any:
        """What it returned, as plain JSON values. Raises: ChainRunError: not what it says."""
        adapter = self._adapter
        try:
            return adapter.dump_python(adapter.validate_python(value, strict=True), mode="json")
        except (ValidationError, PydanticSerializationError) as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise ChainRunError(
                f"{self.name} returned {value!r}, which is not {self._returns}: {why}",
                reason="output",
            ) from error


class Plan:
    """The nodes' exits, functions and templates; built once for all runs of a chain."""

    def __init__(self, model: ChainModel, functions: Callables, files: Files) -> None:
        self.model, self._functions, self.files = model, functions, files
        self.exits: dict[str, list[Exit]] = {name: [] for name in (START, *model.nodes)}
        self.failing: dict[str, list[Exit]] = {name: [] for name in model.nodes}
        graph, bounded = Graph(model.hops()), any(edge.at_most for edge in model.flow)
        undone = undone_by(model, graph) if bounded else set()
        for index, edge in enumerate(model.flow):
            loop: tuple[str, ...] = ()
            if edge.at_most is not None:
                between = graph.between(edge.target, edge.source)
                loop = tuple(name for name in model.nodes if name in between)
            exits = self.failing if edge.on_error else self.exits
            exits[edge.source].append(Exit(index, edge, index in undone, loop))
        self.budgeted = {edge.target for edge in model.flow if edge.budget is not None}
        self._templates: dict[str, tuple[Template, frozenset[str]]] = {}
        self._calls: dict[str, Call] = {}
        self._inner: dict[int, Plan] = {}

    def catches(self, name: str, reason: ErrorKind) -> bool:
        """Whether an error edge leads on where a node fails so."""
        caught = (exit_.edge.on_error for exit_ in self.failing.get(name, ()))
        return any(reason in reasons or "any" in reasons for reasons in caught)

    @cached_property
    def needs_model(self) -> bool:
        """Whether a run calls the model."""
        return self.model.needs_model()

    @cached_property
    def waits(self) -> bool:
        """Whether a run may have to wait for something, and so needs an event loop."""
        budget = self.model.budget
        if budget is not None and budget.seconds is not None:
            return True
        return any(self._may_wait(node) for node in self.model.nodes.values())

    def _may_wait(self, node: Node) -> bool:
        if isinstance(node, Function):
            waits = node.call in self._functions and self.call(node.call).is_async
        else:
            waits = not isinstance(node, Say)
        return waits or node.retry is not None or is_limited(node)

    @cached_property
    def fused(self) -> dict[str, tuple[str, ...]]:
        """For each node the checks after it that ride in its fan-out."""
        return {name: fused_with(self, name) for name in self.model.nodes}

    def template(self, text: str) -> tuple[Template, frozenset[str]]:
        """A compiled template, and the names it reads."""
        if text not in self._templates:
            template = Template(text)
            self._templates[text] = template, frozenset(path[0] for path in template.paths)
        return self._templates[text]

    def call(self, name: str) -> Call:
        """A function by its name. Raises: ChainRunError: it was not registered."""
        if name not in self._calls:
            if name not in self._functions:
                raise ChainRunError(f"{name} is not registered; load the chain with it")
            self._calls[name] = Call(name, self._functions[name])
        return self._calls[name]

    def inner(self, model: ChainModel) -> Plan:
        """The plan of a sub-chain; `model` is a part of this plan's."""
        if id(model) not in self._inner:
            self._inner[id(model)] = Plan(model, self._functions, self.files)
        return self._inner[id(model)]
