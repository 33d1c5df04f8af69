"""A run that is recorded: what its nodes left goes into the store, and is taken from there again.

Resuming is running again: the same loop takes the same ways, but a node that has finished is
recalled, with the very tokens it said, and nothing of it is repeated.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import JsonValue

from intrinsics.ledger import Ledger
from intrinsics.messages import Document, Message, Said

from .errors import ChainChanged, ChainRunError
from .inputs import RunInput
from .model import Turn
from .store import ROOT, Entry, HeldRun, Record, Store, StoredMessage

if TYPE_CHECKING:
    from intrinsics.engine import Engine

    from .chain import Chain
    from .frame import Frame
    from .steps import Outcome, Step

STARTED, FINISHED, FAILED, CUT, CHANGED = "started", "node", "failed", "cut", "changed"
RUN_FINISHED, RUN_FAILED = "finished", "run_failed"

Key = tuple[str, str, int]
"""The branch, the node and the attempt that a record is of."""


class Recalled(NamedTuple):
    """What a node left before: its outcome, or what it failed by (None: cut by the budget)."""

    outcome: Outcome | None
    failure: ChainRunError | None
    elapsed: float


class Recorder:
    """Writes one run, which nobody else does meanwhile; `given` is its input."""

    def __init__(self, store: Store, held: HeldRun) -> None:
        self.run_id, self._store, self._held = held.run_id, store, held
        info = store.run(held.run_id)
        self.given = RunInput.of(store.definition(held.run_id).input, f"run {held.run_id}")
        self.ended = info.status in ("finished", "stopped")
        records = store.records(held.run_id)
        if info.status == "failed":
            records = _without_last_failure(records)
        self._asked = {_key(one): one.seq for one in records if one.kind == "asked"}
        kinds = (FAILED, CUT, FINISHED)  # a node that finished in the end did not fail
        self._known = {_key(r): r for kind in kinds for r in records if r.kind == kind}
        self._started = next((one for one in records if one.kind == STARTED), None)
        self._messages: dict[str, StoredMessage] = {}
        for record in reversed(records):  # the last knows all before it
            self._read(record.head)

    def begin(self, frame: Frame, engine: Engine | None, source: str | None) -> None:
        """The run begins, or goes on. Raises: ChainChanged: on another model than it began with."""
        model = None if engine is None else engine.model.fingerprint
        if self._started is not None:
            before = self._started.payload["model"]
            if before != model:
                raise ChainChanged(
                    f"run {self.run_id} began on the model {before}, this is {model}; give that one"
                )
            self._stored(frame)
            return
        messages = self._stored(frame)
        payload: dict[str, JsonValue] = {"model": model, "source": source}
        self._held.append(Entry(STARTED, payload, messages=messages, head=frame.heads[-1]))

    def recall(self, step: Step) -> Recalled | None:
        """What a step left before, if it was run; what it said is said. Changes: the frame."""
        record = self._known.get((step.frame.path, step.name, step.attempt))
        if record is None:
            return None
        told = record.payload
        if record.kind == CUT:
            return Recalled(None, None, told["elapsed"])
        if record.kind == FAILED:
            if step.node.kind == "parallel" and told["reason"] == "branches":
                return None  # run again, it finds which of its branches have finished
            failure = ChainRunError(told["error"], step.name, told["reason"])
            return Recalled(None, failure, told["elapsed"])
        said = self._said(record)
        step.talk.repeat(said)
        step.frame.heads += self._line(record)
        for name, one in told["ahead"].items():
            step.frame.ahead[name] = _outcome(one)
        step.frame.ahead.pop(step.name, None)
        return Recalled(_outcome(told), None, told["elapsed"])

    def finished(self, step: Step, elapsed: float) -> None:
        """A node has finished. Raises: StoreError."""
        frame, outcome = step.frame, step.outcome
        mark = frame.marks[step.name]
        said = frame.talk.since(mark)
        messages = self._stored(frame)
        documents = {
            str(i): [document.model_dump() for document in one.documents]
            for i, one in enumerate(said)
            if one.documents
        }
        payload = {
            **_plain(outcome),
            "kind": step.node.kind,
            # judged in this fan-out; alone they would come out the same but for rounding
            "ahead": {name: _plain(frame.ahead[name]) for name in step.group},
            "elapsed": elapsed,
            "said": len(said),
            "documents": documents,
        }
        head = frame.heads[-1] if said else None
        self._append(step, FINISHED, payload, messages, head)

    def failed(self, step: Step, failure: ChainRunError, elapsed: float) -> None:
        """An attempt has failed. Raises: StoreError."""
        payload = {"reason": failure.reason, "error": failure.plain, "elapsed": elapsed}
        self._append(step, FAILED, payload)

    def cut(self, step: Step, elapsed: float) -> None:
        """A node was cut short by the run's budget. Raises: StoreError."""
        self._append(step, CUT, {"elapsed": elapsed})

    def ask(self, step: Step, question: str) -> None:
        """A human is asked, unless that was done before. Raises: StoreError."""
        key = (step.frame.path, step.name, step.attempt)
        if key not in self._asked:
            branch, node, attempt = key
            self._asked[key] = self._held.ask(question, node=node, branch=branch, attempt=attempt)

    def answer(self, step: Step, given: str | None = None) -> str | None:
        """The answer to what a step asks: the first that was `given`, here or elsewhere.

        Raises: StoreError.
        """
        seq = self._asked.get((step.frame.path, step.name, step.attempt))
        if seq is None:
            return None
        one = next(ask for ask in self._store.asks(self.run_id) if ask.seq == seq)
        if one.answered is None:
            if given is None:
                return None
            one = self._store.answer(self.run_id, given, seq)
        if one.received is None:
            one = self._held.receive(seq)
        return one.answer if isinstance(one.answer, str) else str(one.answer)

    def end(self, output: str, stopped: bool) -> None:
        """The run is at its end. Raises: StoreError."""
        if not self.ended:
            entry = Entry(RUN_FINISHED, {"output": output})
            self._held.append(entry, status="stopped" if stopped else "finished")

    def give_up(self, failure: ChainRunError) -> None:
        """The run has failed; resumed, it tries the last node again. Raises: StoreError."""
        entry = Entry(RUN_FAILED, {"error": str(failure)}, node=failure.node or "")
        self._held.append(entry, status="failed")

    def _append(
        self,
        step: Step,
        kind: str,
        payload: Any,
        messages: tuple[StoredMessage, ...] = (),
        head: str | None = None,
    ) -> None:
        place = (step.name, step.frame.path, step.attempt)
        self._held.append(Entry(kind, payload, *place, messages, head))

    def _stored(self, frame: Frame) -> tuple[StoredMessage, ...]:
        """What a frame's conversation has that is not stored yet. Changes: the frame's heads."""
        found: list[StoredMessage] = []
        for one in frame.talk.since(len(frame.heads) - 1):
            message = one.message
            stored = StoredMessage(message.role, message.content, one.ids, frame.heads[-1])
            found.append(stored)
            frame.heads.append(stored.hash)
        return tuple(found)

    def _read(self, head: str | None) -> None:
        if head and head not in self._messages:
            self._messages |= {one.hash: one for one in self._store.messages(head)}

    def _line(self, record: Record) -> list[str]:
        """The hashes of what a node has said."""
        line: list[str] = []
        head = record.head or ROOT
        for _ in range(record.payload["said"]):
            line.insert(0, head)
            head = self._messages[head].parent
        return line

    def _said(self, record: Record) -> list[Said]:
        documents = record.payload["documents"]
        found = []
        for i, hash_ in enumerate(self._line(record)):
            one = self._messages[hash_]
            block = tuple(Document(**document) for document in documents.get(str(i), ()))
            message = Message.model_validate({"role": one.role, "content": one.content})
            found.append(Said(message, block, one.token_ids))
        return found


@contextmanager
def recorded(store: Store, chain: Chain, given: RunInput) -> Iterator[Recorder]:
    """A new run in the store, held until the block ends. Raises: StoreError."""
    turns = {name: node for name, node in chain.model.nodes.items() if isinstance(node, Turn)}
    seeds = {name: node.seed for name, node in turns.items()}
    run_id = store.create(chain.name, chain.to_yaml(), given.model_dump(mode="json"), seeds)
    with store.lease(run_id) as held:
        yield Recorder(store, held)


@contextmanager
def resumed(store: Store, run_id: str, chain: Chain, *, force: bool = False) -> Iterator[Recorder]:
    """A run that was recorded, held until the block ends, to be gone on with.

    `force`: with a chain that has changed since; what was done keeps its outcome where the chain
    still has that node.
    Raises: UnknownRun; RunIsHeld; ChainChanged: says in what; StoreError.
    """
    before, now = store.definition(run_id).chain_yaml, chain.to_yaml()
    with store.lease(run_id) as held:
        if before != now:
            difference = changed(before, now)
            if not force:
                raise ChainChanged(
                    f"run {run_id}: its chain has changed since; resume it with the chain as it "
                    f"was, or force it:\n{difference}"
                )
            held.redefine(now, Entry(CHANGED, {"difference": difference}))
        yield Recorder(store, held)


def source_of(store: Store, run_id: str) -> str | None:
    """The file that a run's chain was read from. Raises: UnknownRun."""
    records = store.records(run_id)
    if not records or records[0].kind != STARTED:
        return None
    source: str | None = records[0].payload["source"]
    return source


def changed(before: str, now: str) -> str:
    """The difference of two chains, as unified diff."""
    lines = difflib.unified_diff(
        before.splitlines(), now.splitlines(), "recorded", "now", n=1, lineterm=""
    )
    return "\n".join(lines)


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "output": outcome.output,
        "state": outcome.state,
        "text": outcome.said,
        "ledger": outcome.ledger.to_dict(),
    }


def _outcome(told: dict[str, Any]) -> Outcome:
    from .steps import Outcome  # which know what a recorder is

    return Outcome(told["state"], told["output"], Ledger(**told["ledger"]), told["text"])


def _key(record: Record) -> Key:
    return record.branch, record.node, record.attempt


def _without_last_failure(records: list[Record]) -> list[Record]:
    """The node that a run failed at is tried again: its last attempts, and those inside it."""
    fatal = [one.node for one in records if one.kind == RUN_FAILED][-1:]
    last = max((i for i, r in enumerate(records) if r.kind == FINISHED and not r.branch), default=0)
    return [
        record
        for i, record in enumerate(records)
        if i <= last or record.kind != FAILED or not (record.branch or record.node in fatal)
    ]
