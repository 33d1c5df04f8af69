"""What happens in a run, as one stream of typed events."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from .kinds import Reaction, Stage
from .model import ErrorKind

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
    """An intrinsic has judged; `asked` is False where its definition says what holds."""

    event: Literal["verdict"] = "verdict"
    node: str
    intrinsic: str
    value: str | bool | int | float
    distribution: dict[str, float]
    ledger: LedgerData
    asked: bool = True


class GuardTripped(_Event):
    """A guard has found what it guards against, with probability `p`; `then` is what follows.

    `p` is None where it could not judge, for the reason `error`.
    """

    event: Literal["guard_tripped"] = "guard_tripped"
    node: str
    guard: str
    stage: Stage
    label: str
    p: float | None
    then: Reaction
    error: str | None = None


class Asked(_Event):
    """A human is asked; the run waits."""

    event: Literal["asked"] = "asked"
    node: str
    question: str


class NodeFinished(_Event):
    """A node has its output; `recalled`: from the record, it was not run again."""

    event: Literal["node_finished"] = "node_finished"
    node: str
    kind: str
    output: Any
    ledger: LedgerData
    recalled: bool = False


class NodeFailed(_Event):
    """One attempt of a node failed; it left no message. `reason` is what an error edge names."""

    event: Literal["node_failed"] = "node_failed"
    node: str
    attempt: int
    reason: ErrorKind
    error: str


class Retried(_Event):
    """A node that failed will be tried again after a pause."""

    event: Literal["retried"] = "retried"
    node: str
    attempt: int
    pause_seconds: float


class RolledBack(_Event):
    """The last `messages` messages were never said: going back, abstaining, or a failure."""

    event: Literal["rolled_back"] = "rolled_back"
    node: str
    messages: int


class Cancelled(_Event):
    """A branch was given up since another one decided the join."""

    event: Literal["cancelled"] = "cancelled"
    node: str


class AttemptChosen(_Event):
    """Of several attempts of a node one remains: number `chosen`, from 1; `scores` in order."""

    event: Literal["attempt_chosen"] = "attempt_chosen"
    node: str
    chosen: int
    scores: tuple[float | None, ...]


class BudgetSpent(_Event):
    """A budget has ended what it bounds: a run, or the loop from `source`; on to `target`."""

    event: Literal["budget_spent"] = "budget_spent"
    budget: Literal["steps", "tokens", "seconds"]
    limit: float
    source: str
    target: str
    loop: bool


class EdgeTaken(_Event):
    """The run goes on; `operands` is the condition with values in place of names."""

    event: Literal["edge_taken"] = "edge_taken"
    source: str
    target: str
    condition: str | None = None
    operands: str | None = None


class RunFinished(_Event):
    """The run is at its end; `stopped`: a spent budget led there."""

    event: Literal["run_finished"] = "run_finished"
    output: str
    ledger: LedgerData
    stopped: bool = False


class RunWaiting(_Event):
    """The run is recorded and ends here until a human has answered."""

    event: Literal["run_waiting"] = "run_waiting"
    node: str
    question: str


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
    | GuardTripped
    | Asked
    | NodeFinished
    | NodeFailed
    | Retried
    | RolledBack
    | Cancelled
    | AttemptChosen
    | BudgetSpent
    | EdgeTaken
    | RunFinished
    | RunWaiting
    | RunFailed,
    Field(discriminator="event"),
]
