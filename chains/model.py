"""A chain as data: what the Python and the YAML spelling both come down to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias, get_args

from pydantic import Field, field_validator, model_validator

from intrinsics.located import Loc
from intrinsics.spec import NAME

from .expression import Compare, Constant, Ref, Tree
from .kinds import KINDS as KINDS
from .kinds import LIMITS as LIMITS
from .kinds import Ask as Ask
from .kinds import BestOf as BestOf
from .kinds import Check as Check
from .kinds import Data as Data
from .kinds import Function as Function
from .kinds import Guard as Guard
from .kinds import Map as Map
from .kinds import Node as Node
from .kinds import Parallel as Parallel
from .kinds import Retrieve as Retrieve
from .kinds import Say as Say
from .kinds import SubChain as SubChain
from .kinds import Turn as Turn
from .kinds import inner as inner
from .kinds import speaks as speaks

START, END = "start", "end"
RESERVED = frozenset(
    {START, END, "input", "messages", "documents", "user", "said", "attempt", "error"}
)
LOCAL = frozenset({"item", "index", "candidate", "judge"})
"""Names that only a node inside another one reads."""

FieldType: TypeAlias = Literal["str", "int", "float", "bool", "list[str]"]
PYTHON_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list[str]": list[str],
}


ErrorKind: TypeAlias = Literal[
    "timeout", "function", "output", "engine", "template", "branches", "guard"
]
ERRORS: tuple[ErrorKind, ...] = get_args(ErrorKind)
"""What a node can fail by: out of time, its function raised, its function returned what it does
not say, the engine or the index refused, a template, what runs inside it, or its guard tripped."""


class Budget(Data):
    """What a run, or a loop since it began, may use: nodes run, tokens computed, seconds.

    It is looked at between nodes; a run's seconds also cut a node short.
    """

    steps: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _some(self) -> Budget:
        if self.steps is None and self.tokens is None and self.seconds is None:
            raise ValueError("a budget bounds steps, tokens or seconds; give at least one")
        return self


class RunBudget(Budget):
    """A run's budget; spent, the run goes on at `then`, and no further budget stops it there."""

    then: str = END


class Edge(Data):
    """From one node to the next: always, `when` a condition holds, or `otherwise`.

    With `at_most` the edge may be taken that many times in a run; after that, `then`. A `budget`
    bounds the loop that it closes further, from the first time its target began.
    With `until` the edge leads back as long as that does not hold, then to `then`; if it never
    does, the attempt with the greatest `best` is what remains. With `or_else` it then leads
    there instead, and what was tried is taken back.
    With `on_error` it is taken when its node fails by one of these ("any": by all); the node has
    left nothing then.
    With `abstain_below` it is taken when the probability that its check found is below that, and
    the reply that was judged is taken back: what follows stands in its place.
    """

    source: str
    target: str
    when: Tree | None = None
    otherwise: bool = False
    at_most: int | None = Field(default=None, ge=1)
    then: str | None = None
    or_else: str | None = None
    abstain_below: float | None = Field(default=None, gt=0, lt=1)
    until: Tree | None = None
    best: Ref | None = None
    budget: Budget | None = None
    on_error: tuple[ErrorKind | Literal["any"], ...] = ()

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"

    @property
    def condition(self) -> Tree | None:
        """What must hold for it to be taken; None where nothing must."""
        if self.abstain_below is None:
            return self.when if self.until is None else self.until
        return Compare(Ref((self.source, "value")), "<", Constant(self.abstain_below))

    @property
    def onward(self) -> dict[str, str]:
        """Where a loop leads when it ends, by what a drawing writes on that way."""
        if self.then is None:
            return {}
        spent = f"after {self.at_most}{' or its budget' if self.budget else ''}"
        if self.until is None:
            return {spent: self.then}
        if self.or_else is None:
            return {f"{self.until}, or {spent}": self.then}
        return {str(self.until): self.then, spent: self.or_else}

    @property
    def spent(self) -> tuple[str, str]:
        """The way, by its label, and the node that a loop leads to when it may not go on."""
        return [*self.onward.items()][-1]

    @property
    def label(self) -> str:
        """What a drawing writes on it."""
        words = ["otherwise"] if self.otherwise else []
        if self.abstain_below is not None:
            words.append(f"abstain below {self.abstain_below}")
        if self.when is not None:
            words.append(str(self.when))
        if self.until is not None:
            words.append(f"until {self.until}")
        if self.at_most is not None:
            words.append(f"at most {self.at_most}")
        if self.best is not None:
            words.append(f"best {self.best}")
        if self.budget is not None:
            told = self.budget.model_dump(exclude_none=True)
            words.append(", ".join(f"{value:g} {name}" for name, value in told.items()))
        if self.on_error:
            words.append(f"on error: {', '.join(self.on_error)}")
        return ", ".join(words)


class Field_(Data):
    """A typed value that a run is given beside messages; required without a default."""

    type: FieldType
    default: str | int | float | bool | list[str] | None = None

    @field_validator("default")
    @classmethod
    def _default(cls, default: Any, info: Any) -> Any:
        kind = PYTHON_TYPES.get(info.data.get("type", ""), object)
        plain = list if kind == list[str] else kind
        exact = plain is float and isinstance(default, int) and not isinstance(default, bool)
        if default is None or exact or type(default) is plain or plain is object:
            return default
        raise ValueError(f"the default {default!r} is not of type {info.data['type']}")


class ChainModel(Data):
    """Everything there is to know about a chain, its functions' code apart."""

    name: str = Field(pattern=NAME)
    version: int = Field(default=1, ge=1)
    description: str | None = None
    system: str | None = None
    input: dict[str, Field_] = Field(default={})
    nodes: dict[str, Node] = Field(default={})
    flow: tuple[Edge, ...] = ()
    output: str | None = None
    budget: RunBudget | None = None

    def hops(self) -> list[tuple[str, str]]:
        """Every step a run could make, those out of loops included."""
        pairs = [(edge.source, edge.target) for edge in self.flow]
        return pairs + [(edge.source, end) for edge in self.flow for end in edge.onward.values()]

    def parts(self) -> Iterator[tuple[Loc, Node]]:
        """Every node with its place, those inside others after them; not those of sub-chains."""
        for name, node in self.nodes.items():
            yield from _parts(("nodes", name, node.kind), node)

    def intrinsics(self) -> list[str]:
        """The intrinsics of all its checks, each once, those of sub-chains included."""
        found: dict[str, None] = {}
        for _, node in self.parts():
            found |= dict.fromkeys(guard.check for guard in guards_of(node))
            if isinstance(node, Check):
                found |= dict.fromkeys(node.intrinsics)
            elif isinstance(node, SubChain):
                found |= dict.fromkeys(node.of.intrinsics())
        return list(found)

    def needs_model(self) -> bool:
        """Whether a run calls the model: a turn or an intrinsic is somewhere in it."""
        return any(
            node.of.needs_model()
            if isinstance(node, SubChain)
            else isinstance(node, Turn | Check) or bool(guards_of(node))
            for _, node in self.parts()
        )


def _parts(loc: Loc, node: Node) -> Iterator[tuple[Loc, Node]]:
    yield loc, node
    for place, one in inner(node).items():
        # a body is spelled with its kind; what can only be a turn is not
        kind = () if place == ("turn",) else (one.kind,)
        yield from _parts((*loc, *place, *kind), one)


def guards_of(node: Node) -> tuple[Guard, ...]:
    """The guards that a node itself has."""
    return node.guards if isinstance(node, Turn | Retrieve) else ()


def templates(node: Node) -> dict[Loc, str]:
    """The templates that a node renders itself, by their place in it; not those of its guards."""
    match node:
        case Turn(prompt=str(text)):
            return {("prompt",): text}
        case Say(text=text):
            return {("text",): text}
        case Ask(question=text):
            return {("question",): text}
        case Retrieve(query=text):
            return {("query",): text}
        case Check(intrinsics=intrinsics):
            return {
                (intrinsic, key): text
                for intrinsic, arguments in intrinsics.items()
                for key, text in arguments.items()
            }
        case _:
            return {}


for _kind in KINDS.values():
    _kind.model_rebuild(_types_namespace={"ChainModel": ChainModel, "Node": Node})
ChainModel.model_rebuild()
