"""A chain as data: what the Python and the YAML spelling both come down to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from intrinsics.spec import NAME

from .expression import Compare, Constant, Operand, Ref, Tree

START, END = "start", "end"
RESERVED = frozenset({START, END, "input", "messages", "documents", "user", "said", "attempt"})

FieldType: TypeAlias = Literal["str", "int", "float", "bool", "list[str]"]
PYTHON_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list[str]": list[str],
}


class Data(BaseModel):
    """Frozen, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Turn(Data):
    """The base model replies; its reply becomes an assistant message.

    `prompt` is a text added as a user message before.
    """

    kind: ClassVar[Literal["turn"]] = "turn"
    prompt: str | None = Field(default=None, min_length=1)
    max_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0, le=10)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**62)
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()


class Check(Data):
    """Intrinsics judge the conversation, all in one fan-out; the values are their arguments."""

    kind: ClassVar[Literal["check"]] = "check"
    intrinsics: dict[str, dict[str, str]] = Field(min_length=1)


class Say(Data):
    """A fixed text becomes an assistant message."""

    kind: ClassVar[Literal["say"]] = "say"
    text: str = Field(min_length=1)


class Ask(Data):
    """A human is asked; question and answer become an assistant and a user message."""

    kind: ClassVar[Literal["ask"]] = "ask"
    question: str = Field(min_length=1)


class Function(Data):
    """A registered Python function is called; `arguments` read the state, by parameter name."""

    kind: ClassVar[Literal["function"]] = "function"
    call: str = Field(pattern=r"^[\w.]+:\w+$")
    arguments: dict[str, Operand] = {}


Node: TypeAlias = Turn | Check | Say | Ask | Function
KINDS: dict[str, type[Node]] = {one.kind: one for one in (Turn, Check, Say, Ask, Function)}


class Edge(Data):
    """From one node to the next: always, `when` a condition holds, or `otherwise`.

    With `at_most` the edge may be taken that many times in a run; after that, `then`.
    With `abstain_below` it is taken when the probability that its check found is below that, and
    the reply that was judged is taken back: what follows stands in its place.
    """

    source: str
    target: str
    when: Tree | None = None
    otherwise: bool = False
    at_most: int | None = Field(default=None, ge=1)
    then: str | None = None
    abstain_below: float | None = Field(default=None, gt=0, lt=1)

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"

    @property
    def condition(self) -> Tree | None:
        """What must hold for it to be taken; None where nothing must."""
        if self.abstain_below is None:
            return self.when
        return Compare(Ref((self.source, "value")), "<", Constant(self.abstain_below))

    @property
    def label(self) -> str:
        """What a drawing writes on it."""
        words = ["otherwise"] if self.otherwise else []
        if self.abstain_below is not None:
            words.append(f"abstain below {self.abstain_below}")
        if self.when is not None:
            words.append(str(self.when))
        if self.at_most is not None:
            words.append(f"at most {self.at_most}")
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
    input: dict[str, Field_] = {}
    nodes: dict[str, Node] = {}
    flow: tuple[Edge, ...] = ()
    output: str | None = None

    def leaving(self, node: str) -> tuple[Edge, ...]:
        """The edges out of a node, in the order they are tried."""
        return tuple(edge for edge in self.flow if edge.source == node)

    def hops(self) -> list[tuple[str, str]]:
        """Every step a run could make, `then` included."""
        pairs = [(edge.source, edge.target) for edge in self.flow]
        return pairs + [(edge.source, edge.then) for edge in self.flow if edge.then is not None]


@dataclass(frozen=True)
class Template:
    """Where a template stands in a model, and which node renders it (None: the chain)."""

    loc: tuple[str | int, ...]
    text: str
    node: str | None


def templates(model: ChainModel) -> list[Template]:
    """All templates of the nodes, with their places."""
    found: list[Template] = []
    for name, node in model.nodes.items():
        loc: tuple[str, ...] = ("nodes", name, node.kind)
        if isinstance(node, Turn) and node.prompt is not None:
            found.append(Template((*loc, "prompt"), node.prompt, name))
        elif isinstance(node, Say):
            found.append(Template((*loc, "text"), node.text, name))
        elif isinstance(node, Ask):
            found.append(Template((*loc, "question"), node.question, name))
        elif isinstance(node, Check):
            for intrinsic, arguments in node.intrinsics.items():
                for key, text in arguments.items():
                    found.append(Template((*loc, intrinsic, key), text, name))
    return found
