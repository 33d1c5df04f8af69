"""A run that is recorded: what its nodes left goes into the store, and is taken from there again.

Resuming is running again: the same loop takes the same ways, but a node that has finished is
recalled, with the very tokens it said, and nothing of it is repeated. What was told on the way to a
record stands in it as `events`, those of tokens apart, so that the record tells the whole run.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from intrinsics.messages import Document, Message, Said

from . import events as ev
from .entries import (
    CHANGED,
    CUT,
    FAILED,
    FINISHED,
    REPLAYED,
    RUN_FAILED,
    RUN_FINISHED,
    STARTED,
    Recalled,
    key_of,
    outcome_of,
    plain,
    short,
    without_last_failure,
)
from .errors import ChainChanged, ChainRunError
from .inputs import RunInput
from .model import Turn
from .store import ANSWERED, ASKED, ROOT, Entry, HeldRun, Record, Store, StoredMessage

if TYPE_CHECKING:
    from intrinsics.engine import Engine

    from .chain import Chain
    from .frame import Frame
    from .steps import Step


class Recorder:
    """Writes one run of `chain`, which nobody else does meanwhile; `given` is its input."""

    def __init__(self, store: Store, held: HeldRun, chain: Chain) -> None:
        self.run_id, self._store, self._held, self.chain = held.run_id, store, held, chain
        info = store.run(held.run_id)
        self.given = RunInput.of(store.definition(held.run_id).input, f"run {held.run_id}")
        self.ended = info.status in ("finished", "stopped")
        records = store.records(held.run_id)
        if info.status == "failed" or [one.kind for one in records[-1:]] == [RUN_FAILED]:
            records = without_last_failure(records)
        self._asked = {key_of(one): one.seq for one in records if one.kind == ASKED}
        answers = (one.payload for one in records if one.kind == ANSWERED)
        self._answers: dict[int, Any] = {one["ask"]: one["answer"] for one in answers}
        kinds = (FAILED, CUT, FINISHED)  # a node that finished in the end did not fail
        self._known = {key_of(r): r for kind in kinds for r in records if r.kind == kind}
        self._started = next((one for one in records if one.kind == STARTED), None)
        replays = [one for one in records if one.kind == REPLAYED]
        self._edits = {key_of(one): one.payload for one in replays}
        self._replayed = replays[-1].seq if replays else 0
        self._told: list[ev.Event] = []
        self._resumed = self._started is not None
        self._unstored: tuple[StoredMessage, ...] = ()
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

    def hear(self, event: ev.Event) -> None:
        """Keep an event for the next record of the chain's own nodes; texts are in that itself."""
        own = isinstance(event, ev.NodeFinished) and not event.branch
        if not own and not isinstance(event, ev.Token):
            self._told.append(event)

    def recall(self, step: Step) -> Recalled | None:
        """What a step left before, if it was run; what it said is said. Changes: the frame."""
        key = (step.frame.path, step.name, step.attempt)
        if key in self._edits:
            self._edit(step.frame, self._edits[key])
        record = self._known.get(key)
        if record is None:
            return None
        if not step.frame.path:
            self._told.clear()  # it stands in the record
        told = record.payload
        if record.kind == CUT:
            return Recalled(None, None, told["elapsed"])
        if record.kind == FAILED:
            if step.node.kind == "parallel" and told["reason"] == "branches":
                return None  # run again, it finds which of its branches have finished
            failure = ChainRunError(told["error"], step.name, told["reason"])
            return Recalled(None, failure, told["elapsed"])
        said = self._said(record)
        instead = told.get("instead", 0)
        step.talk.repeat(said, instead)
        step.frame.heads[len(step.frame.heads) - instead :] = self._line(record)
        if record.seq > self._replayed:  # what is replayed is judged again
            for name, one in told["ahead"].items():
                step.frame.ahead[name] = outcome_of(one)
        step.frame.ahead.pop(step.name, None)
        return Recalled(outcome_of(told), None, told["elapsed"])

    def finished(self, step: Step, elapsed: float) -> None:
        """A node has finished. Raises: StoreError."""
        frame, outcome = step.frame, step.outcome
        mark = frame.marks[step.name]
        stood = frame.talk.standing(mark)
        said = frame.talk.since(stood)
        messages = self._stored(frame)
        documents = {
            str(i): [document.model_dump() for document in one.documents]
            for i, one in enumerate(said)
            if one.documents
        }
        payload = {
            **plain(outcome),
            "kind": step.node.kind,
            # judged in this fan-out; alone they would come out the same but for rounding
            "ahead": {name: plain(frame.ahead[name]) for name in step.group},
            "elapsed": elapsed,
            "said": len(said),
            "documents": documents,
            "instead": mark - stood,  # a question that documents were laid before since
            "ahead_of_question": [i for i, one in enumerate(said) if one.ahead],
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
        if seq in self._answers:
            return str(self._answers[seq])
        one = next(ask for ask in self._store.asks(self.run_id) if ask.seq == seq)
        if one.answered is None:
            if given is None:
                return None
            one = self._store.answer(self.run_id, given, seq)
        if one.received is None:
            one = self._held.receive(seq)
        return str(one.answer)

    def end(self, output: str, ledger: dict[str, Any], elapsed: float, *, stopped: bool) -> None:
        """The run is at its end. Raises: StoreError."""
        if not self.ended:
            payload = {"output": output, "ledger": ledger, "elapsed": elapsed, **self._heard()}
            entry = Entry(RUN_FINISHED, payload, messages=self._unstored)
            self._held.append(entry, status="stopped" if stopped else "finished")

    def give_up(self, failure: ChainRunError, elapsed: float) -> None:
        """The run has failed; resumed, it tries the last node again. Raises: StoreError."""
        payload = {"error": str(failure), "elapsed": elapsed, **self._heard()}
        entry = Entry(RUN_FAILED, payload, node=failure.node or "")
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
        if not step.frame.path:
            payload |= self._heard()
        self._held.append(Entry(kind, payload, *place, (*self._unstored, *messages), head))
        self._unstored = ()

    def _heard(self) -> dict[str, Any]:
        """What was told since the last record; and that it is a later process which tells it."""
        told, self._told = self._told, []
        found: dict[str, Any] = {"events": [short(one) for one in told]}
        if self._resumed:
            found["resumed"], self._resumed = True, False
        return found

    def _edit(self, frame: Frame, payload: dict[str, Any]) -> None:
        """What a replay sets as its node begins. Changes: the frame's state and conversation."""
        for name, slot in payload["state"].items():
            frame.state[name] = {**frame.state.get(name, {}), **slot}
        said: dict[str, str] = payload["said"]
        texts = {i: said[one] for i, one in enumerate(frame.heads[1:]) if one in said}
        texts |= self._moved(frame, said)
        places = sorted(texts)
        for place in reversed(places):
            text, rest = texts[place], frame.talk.since(place)
            if len(rest) == 1:
                frame.said = text
            frame.talk.repeat((), instead=len(rest))
            frame.talk.add(rest[0].message.role, text)
            frame.talk.repeat(rest[1:])
        if places:
            del frame.heads[places[0] + 1 :]
            self._unstored += self._stored(frame)

    def _moved(self, frame: Frame, said: dict[str, str]) -> dict[int, str]:
        """The texts for questions that documents were laid before, by place: their hash changed."""
        texts = {self._messages[one].content: new for one, new in said.items()}
        pairs = enumerate(pairwise(frame.talk.since(0)), start=1)
        now = {i: one.message.content for i, (a, one) in pairs if a.ahead and not one.ahead}
        return {i: texts[content] for i, content in now.items() if content in texts}

    def _stored(self, frame: Frame) -> tuple[StoredMessage, ...]:
        """What a frame's conversation has that is not stored yet. Changes: the frame's heads."""
        found: list[StoredMessage] = []
        stood = frame.talk.standing(len(frame.heads) - 1)
        del frame.heads[stood + 1 :]
        for one in frame.talk.since(stood):
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
        ahead = record.payload.get("ahead_of_question", ())
        found = []
        for i, hash_ in enumerate(self._line(record)):
            one = self._messages[hash_]
            block = tuple(Document(**document) for document in documents.get(str(i), ()))
            message = Message.model_validate({"role": one.role, "content": one.content})
            found.append(Said(message, block, one.token_ids, i in ahead))
        return found


@contextmanager
def recorded(store: Store, chain: Chain, given: RunInput) -> Iterator[Recorder]:
    """A new run in the store, held until the block ends. Raises: StoreError."""
    turns = {name: node for name, node in chain.model.nodes.items() if isinstance(node, Turn)}
    seeds = {name: node.seed for name, node in turns.items()}
    run_id = store.create(chain.name, chain.to_yaml(), given.model_dump(mode="json"), seeds)
    with store.lease(run_id) as held:
        yield Recorder(store, held, chain)


@contextmanager
def resumed(store: Store, run_id: str, chain: Chain, *, force: bool = False) -> Iterator[Recorder]:
    """A run that was recorded, held until the block ends, to be gone on with.

    `force`: with a chain that has changed since; what was done keeps its outcome where the chain
    still has that node.
    Raises: UnknownRun; RunIsHeld; ChainChanged: says in what; StoreError.
    """
    with store.lease(run_id) as held:
        difference = difference_of(store, run_id, chain, force=force)
        if difference:
            held.redefine(chain.to_yaml(), Entry(CHANGED, {"difference": difference}))
        yield Recorder(store, held, chain)


def difference_of(store: Store, run_id: str, chain: Chain, *, force: bool = False) -> str:
    """In what a chain differs from the one of a run; empty where it is the same.

    Raises: UnknownRun; ChainChanged: it differs, and that is not to be forced.
    """
    before, now = store.definition(run_id).chain_yaml, chain.to_yaml()
    difference = changed(before, now) if before != now else ""
    if difference and not force:
        raise ChainChanged(
            f"run {run_id}: its chain has changed since; go on with the chain as it was, or force "
            f"it:\n{difference}"
        )
    return difference


def source_of(store: Store, run_id: str) -> str | None:
    """The file that a run's chain was read from; None where a fork has a chain of its own.

    Raises: UnknownRun.
    """
    info = first = store.run(run_id)
    while first.parent is not None:
        first = store.run(first.parent)
    return None if info.chain_hash != first.chain_hash else began_from(store, run_id)


def began_from(store: Store, run_id: str) -> str | None:
    """The file that a run, or the one that it was forked from, began with. Raises: UnknownRun."""
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
