"""What happens in a run, as one stream of typed events."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

LedgerData: TypeAlias = dict[str, int | float | None]


class _Event(BaseModel):
    """`run` names the run; `at` is seconds since its start.

    `branch` is where in the chain it happens: the names of the nodes around it, joined by "/";
    "" for the chain's own nodes.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    at: float
    branch: str = ""


class RunStarted(_Event):
    """A run of a chain begins, at `began` (UTC, ISO 8601), with what it was `given`."""

    event: Literal["run_started"] = "run_started"
    chain: str
    began: str = ""
    given: dict[str, Any] = {}


class NodeStarted(_Event):
    """A node begins; `fused` are the check nodes whose intrinsics ride in the same fan-out."""

    event: Literal["node_started"] = "node_started"
    node: str
    kind: str
    attempt: int = 1
    fused: tuple[str, ...] = ()


class PromptRead(_Event):
    """What the model reads for a turn, or for an intrinsic: exactly that text.

    It is the first `kept_characters` of the prompt that the stream told before, then `text`.
    From `activated_character` on the intrinsic's adapter acts; None for a turn.
    """

    event: Literal["prompt"] = "prompt"
    node: str
    intrinsic: str | None = None
    kept_characters: int
    text: str
    activated_character: int | None = None


class Token(_Event):
    """A piece of the model's reply."""

    event: Literal["token"] = "token"
    node: str
    text: str


class VerdictReached(_Event):
    """An intrinsic has judged."""

    event: Literal["verdict"] = "verdict"
    node: str
    intrinsic: str
    value: str | bool | int | float
    distribution: dict[str, float]
    ledger: LedgerData


class Asked(_Event):
    """A human is asked; the run waits."""

    event: Literal["asked"] = "asked"
    node: str
    question: str


class NodeFinished(_Event):
    """A node has its output."""

    event: Literal["node_finished"] = "node_finished"
    node: str
    kind: str
    output: Any
    ledger: LedgerData


class EdgeTaken(_Event):
    """The run goes on; `operands` is the condition with values in place of names."""

    event: Literal["edge_taken"] = "edge_taken"
    source: str
    target: str
    condition: str | None = None
    operands: str | None = None


class RunFinished(_Event):
    """The run is at its end."""

    event: Literal["run_finished"] = "run_finished"
    output: str
    ledger: LedgerData


class RunFailed(_Event):
    """The run can't go on; the conversation is as it was before."""

    event: Literal["run_failed"] = "run_failed"
    error: str
    node: str | None = None


Event: TypeAlias = Annotated[
    RunStarted
    | NodeStarted
    | PromptRead
    | Token
    | VerdictReached
    | Asked
    | NodeFinished
    | EdgeTaken
    | RunFinished
    | RunFailed,
    Field(discriminator="event"),
]
