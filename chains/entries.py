"""What the records of a run hold: their kinds, and outcomes and events as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from intrinsics.ledger import Ledger

from . import events as ev
from .errors import ChainRunError
from .store import Record

if TYPE_CHECKING:
    from .steps import Outcome

STARTED, FINISHED, FAILED, CUT, CHANGED = "started", "node", "failed", "cut", "changed"
RUN_FINISHED, RUN_FAILED, REPLAYED = "finished", "run_failed", "replayed"

Key = tuple[str, str, int]
"""The branch, the node and the attempt that a record is of."""


class Recalled(NamedTuple):
    """What a node left before: its outcome, or what it failed by (None: cut by the budget)."""

    outcome: Outcome | None
    failure: ChainRunError | None
    elapsed: float


def plain(outcome: Outcome) -> dict[str, Any]:
    """What a node left, as it is stored."""
    return {
        "output": outcome.output,
        "state": outcome.state,
        "text": outcome.said,
        "ledger": outcome.ledger.to_dict(),
    }


def outcome_of(told: dict[str, Any]) -> Outcome:
    """What a node left, as it was stored."""
    from .steps import Outcome  # which know what a recorder is

    return Outcome(told["state"], told["output"], Ledger(**told["ledger"]), told["text"])


def short(event: ev.Event) -> dict[str, Any]:
    """An event as it is stored; the record knows the run."""
    told = event.model_dump(mode="json", exclude={"run"}, exclude_defaults=True)
    return {"event": event.event, **told}


def key_of(record: Record) -> Key:
    """What a record is of."""
    return record.branch, record.node, record.attempt


def without_last_failure(records: list[Record]) -> list[Record]:
    """The node that a run failed at is tried again: its last attempts, and those inside it."""
    fatal = [one.node for one in records if one.kind == RUN_FAILED][-1:]
    last = max((i for i, r in enumerate(records) if r.kind == FINISHED and not r.branch), default=0)
    return [
        record
        for i, record in enumerate(records)
        if i <= last or record.kind != FAILED or not (record.branch or record.node in fatal)
    ]
