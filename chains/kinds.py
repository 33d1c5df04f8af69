"""The kinds of nodes, as plain frozen data; `chains/steps` is how they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from .expression import Operand, Ref

if TYPE_CHECKING:
    from .model import ChainModel

Join: TypeAlias = Literal["all", "any", "first"]
Failed: TypeAlias = Literal["raise", "keep", "drop"]


class Data(BaseModel):
    """Frozen, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Retry(Data):
    """A node that fails is tried again, `times` more at most.

    The first pause is `wait` seconds, each later one `factor` times the one before.
    """

    times: int = Field(ge=1, le=100)
    wait: float = Field(default=0.0, ge=0, le=3600)
    factor: float = Field(default=2.0, ge=1, le=10)

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures, an hour at most."""
        return min(3600.0, self.wait * self.factor ** (failures - 1))


class NodeData(Data):
    """What any kind of node may have beside its own values.

    `timeout` bounds one attempt, `idle_timeout` the time between two of its events (tokens of a
    turn); both in seconds. A node that is out of time fails, and leaves no message.
    """

    timeout: float | None = Field(default=None, gt=0)
    idle_timeout: float | None = Field(default=None, gt=0)
    retry: Retry | None = None


LIMITS = tuple(NodeData.model_fields)


class Turn(NodeData):
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


class Check(NodeData):
    """Intrinsics judge the conversation, all in one fan-out; the values are their arguments."""

    kind: ClassVar[Literal["check"]] = "check"
    intrinsics: dict[str, dict[str, str]] = Field(min_length=1)


class Say(NodeData):
    """A fixed text becomes an assistant message."""

    kind: ClassVar[Literal["say"]] = "say"
    text: str = Field(min_length=1)


class Ask(NodeData):
    """A human is asked; question and answer become an assistant and a user message."""

    kind: ClassVar[Literal["ask"]] = "ask"
    question: str = Field(min_length=1)


class Function(NodeData):
    """A registered Python function is called; `arguments` read the state, by parameter name."""

    kind: ClassVar[Literal["function"]] = "function"
    call: str = Field(pattern=r"^[\w.]+:\w+$")
    arguments: dict[str, Operand] = {}


class Retrieve(NodeData):
    """The `top` passages of a folder that share the rarest words with `query` (BM25).

    They become documents of the conversation; those it has already are not added again.
    """

    kind: ClassVar[Literal["retrieve"]] = "retrieve"
    folder: str = Field(min_length=1)
    query: str = Field(default="{{ user }}", min_length=1)
    top: int = Field(default=3, ge=1, le=100)


class Parallel(NodeData):
    """Nodes that run at once, each on a fork of the conversation.

    Join `all` needs every branch; `any` takes the first that succeeds, `first` the first that
    ends, and both cancel the rest.
    """

    kind: ClassVar[Literal["parallel"]] = "parallel"
    branches: dict[str, Node] = Field(min_length=1)
    join: Join = "all"


class Map(NodeData):
    """One node for each item of a list, on forks of the conversation that are dropped afterwards.

    The node reads `item` and `index`, which counts from 1. An item that fails makes the node fail
    (`raise`), is left out (`drop`), or leaves an empty value in its place (`keep`).
    """

    kind: ClassVar[Literal["map"]] = "map"
    over: Ref
    do: Node
    failed: Failed = "raise"


class BestOf(NodeData):
    """A turn is taken `n` times on forks of one context; the best becomes the reply.

    `judge` reads each candidate: a check its conversation, a function `candidate.text`. `by` is
    the number that decides; the earliest of equals wins.
    """

    kind: ClassVar[Literal["best_of"]] = "best_of"
    n: int = Field(ge=2, le=64)
    turn: Turn
    judge: Check | Function
    by: Ref = Ref(("judge", "value"))


class SubChain(NodeData):
    """A whole chain in one node, with a state of its own.

    It goes on with the conversation and sees nothing else: `arguments` are its inputs.
    """

    kind: ClassVar[Literal["subchain"]] = "subchain"
    of: ChainModel
    arguments: dict[str, Operand] = {}


Node: TypeAlias = (
    Turn | Check | Say | Ask | Function | Retrieve | Parallel | Map | BestOf | SubChain
)
KINDS: dict[str, type[Node]] = {
    one.kind: one
    for one in (Turn, Check, Say, Ask, Function, Retrieve, Parallel, Map, BestOf, SubChain)
}


def speaks(node: Node) -> bool:
    """Whether a node may add messages to the conversation."""
    if isinstance(node, Parallel):
        return any(speaks(one) for one in node.branches.values())
    return isinstance(node, Turn | Say | Ask | BestOf | SubChain)


def inner(node: Node) -> dict[tuple[str, ...], Node]:
    """The nodes inside a node, by their place in it; a sub-chain's belong to that chain."""
    match node:
        case Parallel():
            return {("branches", name): one for name, one in node.branches.items()}
        case Map():
            return {("do",): node.do}
        case BestOf():
            return {("turn",): node.turn, ("judge",): node.judge}
        case _:
            return {}
