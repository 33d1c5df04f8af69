"""The Python spelling of a chain: class attributes are nodes, operators are edges and conditions.

    class Guarded(Definition):
        screen = check("safety")
        refuse = say("I can't help with that.")
        reply = turn(max_tokens=160)
        flow = [
            START >> screen,
            screen.when(screen.value == "unsafe") >> refuse >> END,
            screen.otherwise >> reply >> END,
        ]

A name is written once, so editors can complete, find and rename it. A condition is data, not a
lambda: it is checked when the chain is built, drawn on the edge and written to YAML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ValidationError

from intrinsics.catalogue import Catalogue
from intrinsics.located import Loc, unknown

from . import expression as tree
from .chain import Chain
from .conditions import Condition, Value
from .errors import ChainDefinitionError
from .functions import allowed, name_of
from .model import END as END_NAME
from .model import PYTHON_TYPES, Ask, ChainModel, Check, Edge, Field_, Function, Say, Turn
from .model import START as START_NAME
from .model import Node as NodeModel
from .places import CodePlace, CodePlaces, caller


@dataclass(frozen=True)
class Verdict:
    """One intrinsic's part of a check node."""

    node: Node
    intrinsic: str

    @property
    def value(self) -> Value:
        """Its value: a label, a truth value or a number."""
        return Value(self.node, (self.intrinsic, "value"))

    def p(self, label: str) -> Value:
        """The probability of a label."""
        return Value(self.node, (self.intrinsic, "p"), label)


@dataclass(frozen=True)
class _Arrow:
    """An edge without its names yet."""

    source: Node
    target: Node
    when: Condition | None
    otherwise: bool
    place: CodePlace
    at_most: int | None = None
    then: Node | None = None
    abstain_below: float | None = None

    def edge(self) -> Edge:
        return Edge(
            source=self.source.name,
            target=self.target.name,
            when=None if self.when is None else self.when.build(),
            otherwise=self.otherwise,
            at_most=self.at_most,
            then=None if self.then is None else self.then.name,
            abstain_below=self.abstain_below,
        )


@dataclass(frozen=True)
class Path:
    """Edges in a row; `>>` goes on from the last one's target."""

    arrows: tuple[_Arrow, ...]

    def __rshift__(self, target: Node) -> Path:
        return Path((*self.arrows, _Arrow(self.arrows[-1].target, target, None, False, caller())))


@dataclass(frozen=True)
class Exit:
    """One of several ways out of a node."""

    source: Node
    when: Condition | None
    abstain_below: float | None = None

    def __rshift__(self, target: Node) -> Path:
        return Path((self._arrow(target, caller()),))

    def again(self, target: Node, *, at_most: int, then: Node) -> Path:
        """Go back to `target`, at most that many times in a run; after that go to `then`."""
        return Path((self._arrow(target, caller(), at_most, then),))

    def _arrow(
        self, target: Node, place: CodePlace, at_most: int | None = None, then: Node | None = None
    ) -> _Arrow:
        otherwise = self.when is None and self.abstain_below is None
        bounds = (at_most, then, self.abstain_below)
        return _Arrow(self.source, target, self.when, otherwise, place, *bounds)


@dataclass(eq=False)
class Node:
    """A node of a chain. Its name is that of the attribute it is assigned to."""

    model: NodeModel | None
    place: CodePlace
    call: Callable[..., Any] | None = None
    arguments: dict[str, Value | tree.Scalar] = field(default_factory=dict)
    name: str = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __rshift__(self, target: Node) -> Path:
        return Path((_Arrow(self, target, None, False, caller()),))

    def again(self, target: Node, *, at_most: int, then: Node) -> Path:
        """Always go back to `target`, at most that many times in a run; after that to `then`."""
        return Path((_Arrow(self, target, None, False, caller(), at_most, then),))

    def when(self, condition: Condition) -> Exit:
        """The way out if a condition holds; ways are tried in the order of the flow."""
        return Exit(self, condition)

    def abstain_below(self, probability: float) -> Exit:
        """The way out if the probability that a check found is below this one.

        The reply that was judged is taken back: what follows stands in its place.
        Raises: ChainDefinitionError: no number between 0 and 1.
        """
        if not 0 < probability < 1:
            message = f"abstain_below is {probability}; it is a number between 0 and 1"
            raise ChainDefinitionError([caller().fault(message)])
        return Exit(self, None, probability)

    @property
    def otherwise(self) -> Exit:
        """The way out if no condition held."""
        return Exit(self, None)

    def __getitem__(self, intrinsic: str) -> Verdict:
        """One of a check node's verdicts."""
        return Verdict(self, intrinsic)

    @property
    def value(self) -> Value:
        """The value of a check node with one intrinsic, or of a function node."""
        return Value(self, ("value",))

    def p(self, label: str) -> Value:
        """A label's probability, of a check node with one intrinsic."""
        return Value(self, ("p",), label)

    @property
    def text(self) -> Value:
        """The text of a turn, say or ask node."""
        return Value(self, ("text",))

    @property
    def finish(self) -> Value:
        """Why a turn's reply ended: end, stop or length."""
        return Value(self, ("finish",))

    @property
    def attempts(self) -> Value:
        """How many times a turn has replied in this run."""
        return Value(self, ("attempts",))

    def built(self) -> NodeModel:
        """The node as data."""
        if self.call is not None:
            given = {
                key: value.ref() if isinstance(value, Value) else tree.Constant(value)
                for key, value in self.arguments.items()
            }
            return Function(call=name_of(self.call), arguments=given)
        assert self.model is not None
        return self.model


START = Node(None, CodePlace("", 1, 1), name=START_NAME)
END = Node(None, CodePlace("", 1, 1), name=END_NAME)


def turn(prompt: str | None = None, **sampling: Any) -> Node:
    """The base model replies; see `chains.model.Turn` for the sampling values."""
    return _node(Turn, prompt=prompt, **sampling)


def check(*intrinsics: str, arguments: dict[str, dict[str, str]] | None = None) -> Node:
    """Intrinsics judge the conversation, in one fan-out; `arguments` are those of each."""
    given = arguments or {}
    extra = [name for name in given if name not in intrinsics]
    if extra:
        message = unknown("intrinsic in arguments:", extra[0], intrinsics)
        raise ChainDefinitionError([caller().fault(message)])
    return _node(Check, intrinsics={name: given.get(name, {}) for name in intrinsics})


def say(text: str) -> Node:
    """A fixed text becomes an assistant message."""
    return _node(Say, text=text)


def ask(question: str) -> Node:
    """A human is asked."""
    return _node(Ask, question=question)


def function(call: Callable[..., Any], **arguments: Value | tree.Scalar) -> Node:
    """A typed module-level Python function is called, sync or async."""
    return Node(None, caller(), call, arguments)


def given(name: str) -> Value:
    """An input of the chain."""
    return Value(None, ("input", name))


def _node(kind: type[NodeModel], **values: Any) -> Node:
    """A node, or what is wrong with its values at the caller's line."""
    place = caller(2)
    try:
        return Node(kind(**values), place)
    except ValidationError as error:
        raise ChainDefinitionError(
            [place.fault(_words(one, kind)) for one in error.errors()]
        ) from None


def _words(error: Mapping[str, Any], kind: type[BaseModel]) -> str:
    name = ".".join(str(step) for step in error["loc"])
    if error["type"] == "extra_forbidden":
        return unknown("argument", name, kind.model_fields)
    return f"{name}: {error['msg']}; it is {error['input']!r}"


_SETTINGS = ("name", "system", "description", "version", "inputs", "output")


class Definition:
    """Subclass it to define a chain; `chain()` checks and builds it.

    Attributes: nodes, `flow`, and optionally `name` (else the class's, in snake case), `system`,
    `description`, `version`, `inputs` (name to type, or to a pair of type and default), `output`.
    """

    flow: ClassVar[Iterable[Path]]

    @classmethod
    def chain(cls, catalogue: Catalogue | None = None) -> Chain:
        """The checked chain. Raises: ChainDefinitionError: every fault, at its place."""
        nodes = {name: node for name, node in vars(cls).items() if isinstance(node, Node)}
        taken = [node for name, node in nodes.items() if name in _SETTINGS]
        if taken:
            message = f"{taken[0].name!r} is a setting of the chain; name the node otherwise"
            raise ChainDefinitionError([taken[0].place.fault(message)])
        arrows = [arrow for path in cls.flow for arrow in path.arrows]
        if not arrows:
            message = f"the flow of {cls.__name__} is empty; begin it with START >> ..."
            raise ChainDefinitionError([CodePlace(cls.__module__, 1, 1).fault(message)])
        places: dict[Loc, CodePlace] = {(): arrows[0].place}
        places |= {("nodes", name): node.place for name, node in nodes.items()}
        places |= {("flow", i): arrow.place for i, arrow in enumerate(arrows)}
        inputs = getattr(cls, "inputs", {})
        model = ChainModel(
            name=getattr(cls, "name", _snake(cls.__name__)),
            version=getattr(cls, "version", 1),
            description=getattr(cls, "description", None),
            system=getattr(cls, "system", None),
            input={name: _input(spec) for name, spec in inputs.items()},
            nodes={name: node.built() for name, node in nodes.items()},
            flow=tuple(arrow.edge() for arrow in arrows),
            output=getattr(cls, "output", None),
        )
        functions = [node.call for node in nodes.values() if node.call is not None]
        return Chain(model, CodePlaces(places), catalogue, allowed(functions))


def _input(spec: Any) -> Field_:
    kind, default = spec if isinstance(spec, tuple) else (spec, None)
    names = {value: name for name, value in PYTHON_TYPES.items()}
    return Field_.model_validate({"type": names.get(kind, kind), "default": default})


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))
