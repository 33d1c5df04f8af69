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

A node inside another one is written where it belongs:

        both = parallel(tone=check("tone"), facts=function(look_up, text=read("user")))
        draft = best_of(4, turn(temperature=1.0), judge=check("certainty"))

A name is written once, so editors can complete, find and rename it. A condition is data, not a
lambda: it is checked when the chain is built, drawn on the edge and written to YAML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ValidationError

from intrinsics.catalogue import Catalogue
from intrinsics.located import Loc, unknown

from .chain import Chain
from .conditions import Value
from .errors import ChainDefinitionError
from .functions import allowed, name_of
from .handles import Arrow as Arrow
from .handles import Budget as Budget
from .handles import Node as Node
from .handles import Operand, Path
from .handles import Verdict as Verdict
from .kinds import Failed, Guard, Join, Stage
from .model import END as END_NAME
from .model import (
    PYTHON_TYPES,
    Ask,
    BestOf,
    ChainModel,
    Check,
    Field_,
    Map,
    Parallel,
    Retrieve,
    Say,
    SubChain,
    Turn,
)
from .model import START as START_NAME
from .model import Node as NodeModel
from .places import CodePlace, CodePlaces, Places, caller

T = TypeVar("T")

START = Node(None, CodePlace("", 1, 1), name=START_NAME)
END = Node(None, CodePlace("", 1, 1), name=END_NAME)


def turn(prompt: str | None = None, **sampling: Any) -> Node:
    """The base model replies; see `chains.model.Turn` for the sampling values."""
    return _node(Turn, prompt=prompt, **sampling)


def guard(at: Stage, check: str, **values: Any) -> Guard:
    """A guard for the `guards` of a turn or of retrieve; see `chains.kinds.Guard`.

    Raises: ChainDefinitionError: values that it can't have.
    """
    try:
        return Guard(at=at, check=check, **values)
    except ValidationError as error:
        place = caller()
        raise ChainDefinitionError(
            [place.fault(_words(one, Guard)) for one in error.errors()]
        ) from None


def check(*intrinsics: str, arguments: dict[str, dict[str, str]] | None = None) -> Node:
    """Intrinsics judge the conversation, in one fan-out; `arguments` are those of each."""
    given = arguments or {}
    if not all(isinstance(name, str) for name in intrinsics):
        raise ChainDefinitionError([caller().fault("name intrinsics one by one: check('a', 'b')")])
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


def function(call: Callable[..., Any], /, **arguments: Operand) -> Node:
    """A typed module-level Python function is called, sync or async.

    Raises: ChainDefinitionError: it has no name to call it by, as a lambda.
    """
    try:
        name_of(call)
    except ValueError as error:
        raise ChainDefinitionError([caller().fault(str(error))]) from None
    return Node(None, caller(), call, arguments)


def retrieve(
    folder: str, query: str = "{{ user }}", *, top: int = 3, guards: Iterable[Guard] = ()
) -> Node:
    """The best passages of a folder become documents of the conversation."""
    return _node(Retrieve, folder=folder, query=query, top=top, guards=tuple(guards))


def parallel(*, join: Join = "all", **branches: Node) -> Node:
    """Nodes that run at once; see `chains.model.Parallel` for the joins."""

    def build() -> NodeModel:
        built = {name: node.built() for name, node in branches.items()}
        return Parallel(branches=built, join=join)

    inside: dict[Loc, Node] = {("branches", name): node for name, node in branches.items()}
    return Node(None, caller(), build=build, inside=inside)


def map_over(items: Value, do: Node, *, failed: Failed = "raise") -> Node:
    """A node for each item of a list; it reads `read("item")`."""

    def build() -> NodeModel:
        return Map(over=items.ref(), do=do.built(), failed=failed)

    return Node(None, caller(), build=build, inside={("do",): do})


def best_of(n: int, candidate: Node, *, judge: Node, by: Value | None = None) -> Node:
    """The best of `n` turns, by what `judge` says: its value, or `read("judge")...`."""

    def build() -> NodeModel:
        chosen = {} if by is None else {"by": by.ref()}
        parts = {"turn": candidate.built(), "judge": judge.built()}
        return BestOf.model_validate({"n": n, **parts, **chosen})

    return Node(None, caller(), build=build, inside={("turn",): candidate, ("judge",): judge})


def subchain(of: type[Definition] | Chain, /, **arguments: Operand) -> Node:
    """A whole chain as a node; `arguments` are its inputs."""
    if isinstance(of, Chain):
        return Node(SubChain(of=of.model), caller(), arguments=arguments)
    model, places = of.model()
    inside: dict[Loc, Node] = {("of", name): node for name, node in of.nodes().items()}
    return Node(SubChain(of=model), caller(), None, arguments, inside=inside, sub=places)


def read(name: str) -> Value:
    """A name of the state that is no node's: user, documents, error, or item, judge inside one."""
    return Value(None, tuple(name.split(".")))


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
    if not name:
        return str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return unknown("argument", name, kind.model_fields)
    return f"{name}: {error['msg']}; it is {error['input']!r}"


SETTINGS = (
    *("name", "system", "description", "version", "inputs", "output", "budget", "flow"),
    *("chain", "nodes", "model"),
)
"""What a definition has beside its nodes: no node can be named so."""


class Definition:
    """Subclass it to define a chain; `chain()` checks and builds it.

    Attributes: nodes, `flow`, and optionally `name` (else the class's, in snake case), `system`,
    `description`, `version`, `inputs` (name to type, or to a pair of type and default), `output`,
    `budget`.
    """

    flow: ClassVar[Iterable[Path]]

    def __init_subclass__(cls) -> None:
        """Raises: ChainDefinitionError: a node has a name that a definition uses itself."""
        for name, node in vars(cls).items():
            if isinstance(node, Node) and name in SETTINGS:
                message = f"{name!r} is a setting of the chain; name the node otherwise"
                raise ChainDefinitionError([node.place.fault(message)])

    @classmethod
    def chain(cls, catalogue: Catalogue | None = None) -> Chain:
        """The checked chain. Raises: ChainDefinitionError: every fault, at its place."""
        model, places = cls.model()
        functions = [call for node in cls.nodes().values() for call in node.calls()]
        return Chain(model, places, catalogue, allowed(functions))

    @classmethod
    def nodes(cls) -> dict[str, Node]:
        """Its nodes by their names."""
        return {name: node for name, node in vars(cls).items() if isinstance(node, Node)}

    @classmethod
    def model(cls) -> tuple[ChainModel, Places]:
        """The chain as data, and where its parts stand. Raises: ChainDefinitionError."""
        nodes = cls.nodes()
        flow = getattr(cls, "flow", ())
        if isinstance(flow, Path):
            message = "flow is a list of paths; put this one in [...]"
            raise ChainDefinitionError([flow.arrows[0].place.fault(message)])
        arrows = [arrow for path in flow for arrow in path.arrows]
        if not arrows:
            message = f"the flow of {cls.__name__} is empty; begin it with START >> ..."
            raise ChainDefinitionError([CodePlace(cls.__module__, 1, 1).fault(message)])
        places: dict[Loc, CodePlace] = {(): arrows[0].place}
        places |= {("flow", i): arrow.place for i, arrow in enumerate(arrows)}
        subs: dict[Loc, Places] = {}
        built: dict[str, NodeModel] = {}
        for name, node in nodes.items():
            built[name] = _built(node.place, node.built)
            places[("nodes", name)] = node.place
            for loc, one in _parts(("nodes", name, built[name].kind), node):
                places.setdefault(loc, one.place)
                if one.sub is not None:
                    subs[loc] = one.sub
        inputs = getattr(cls, "inputs", {})
        budget: Budget | None = getattr(cls, "budget", None)
        model = ChainModel(
            name=getattr(cls, "name", snake(cls.__name__)),
            version=getattr(cls, "version", 1),
            description=getattr(cls, "description", None),
            system=getattr(cls, "system", None),
            input={name: _input(spec) for name, spec in inputs.items()},
            nodes=built,
            flow=tuple(_built(arrow.place, arrow.edge) for arrow in arrows),
            output=getattr(cls, "output", None),
            budget=None if budget is None else _built(arrows[0].place, budget.of_run),
        )
        return model, CodePlaces(places, subs)


def _built(place: CodePlace, build: Callable[[], T]) -> T:
    """What is built, or what is wrong with its values, at a place."""
    try:
        return build()
    except ValidationError as error:
        told = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise ChainDefinitionError([place.fault(one) for one in told]) from None


def _parts(loc: Loc, node: Node) -> Iterator[tuple[Loc, Node]]:
    """A node and those inside it, with the places they have in the model."""
    yield loc, node
    for place, one in node.inside.items():
        if place[0] != "of":  # a sub-chain has places of its own
            kind = () if place == ("turn",) else (one.built().kind,)
            yield from _parts((*loc, *place, *kind), one)


def _input(spec: Any) -> Field_:
    kind, default = spec if isinstance(spec, tuple) else (spec, None)
    names = {value: name for name, value in PYTHON_TYPES.items()}
    return Field_.model_validate({"type": names.get(kind, kind), "default": default})


def snake(name: str) -> str:
    """A class's name as that of its chain: `GuardedChat` is `guarded_chat`."""
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))
