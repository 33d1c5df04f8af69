"""What a store holds, as it is written and read: runs, records, asks. Plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, get_args

from pydantic import JsonValue

from .messages import StoredMessage

Status: TypeAlias = Literal["running", "waiting", "finished", "failed", "stopped"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class Entry:
    """What is appended to a run's journal.

    `messages` are stored with it; the last of them becomes the conversation's head unless `head`
    says another: a hash, ROOT for an empty conversation. None where nothing was said.
    `branch` is the path of a parallel branch, "" for the run itself; `attempt` counts from 1.
    """

    kind: str
    payload: JsonValue = None
    node: str = ""
    branch: str = ""
    attempt: int = 1
    messages: tuple[StoredMessage, ...] = ()
    head: str | None = None


@dataclass(frozen=True)
class Record:
    """An entry in the journal: `seq` counts from 1, `at` is seconds since 1970.

    `head` is the hash of the conversation's last message once it was written, None where it left
    the conversation as it was.
    """

    seq: int
    kind: str
    payload: Any
    node: str
    branch: str
    attempt: int
    head: str | None
    at: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "at": timestamp(self.at)}


@dataclass(frozen=True)
class RunInfo:
    """A run as it is listed: `records` counts those of its past too; times since 1970.

    `parent` and `forked_at` say of which run it is a fork and after which of its records.
    """

    run_id: str
    chain: str
    chain_hash: str
    status: Status
    created: float
    updated: float
    records: int
    seeds: Mapping[str, int] = field(default_factory=dict)
    parent: str | None = None
    forked_at: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        times = {"created": timestamp(self.created), "updated": timestamp(self.updated)}
        return {**vars(self), **times}


@dataclass(frozen=True)
class Ask:
    """A question to a human: `seq` of the record that asks it names it within the run.

    It is open while `answered` is None, and received once record `received` holds its answer.
    """

    run_id: str
    seq: int
    node: str
    branch: str
    question: Any
    asked: float
    answer: Any = None
    answered: float | None = None
    received: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        answered = None if self.answered is None else timestamp(self.answered)
        return {**vars(self), "asked": timestamp(self.asked), "answered": answered}


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
