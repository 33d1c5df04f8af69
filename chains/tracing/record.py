"""The events of a recorded run, put together from its records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from .. import events as ev
from ..entries import FAILED, FINISHED, RUN_FAILED, RUN_FINISHED, STARTED
from ..loader import read
from ..model import START, ChainModel
from ..store import Ask, Record, RunInfo, Store
from ..store.records import timestamp

_EVENT: TypeAdapter[ev.Event] = TypeAdapter(ev.Event)


def told(store: Store, run_id: str) -> tuple[list[ev.Event], ChainModel]:
    """What happened in a run as far as it is recorded, tokens apart, and its chain.

    What was done in the run that it was forked from, or before it was last resumed, is `recalled`.
    Raises: UnknownRun; StoreError.
    """
    definition, info = store.definition(run_id), store.run(run_id)
    model, _ = read(definition.chain_yaml, f"run {run_id}")
    asks = [one for one in store.asks(run_id) if one.received is None]
    teller = _Teller(info, model, definition.input, asks if info.status == "waiting" else [])
    return list(teller.events(store.records(run_id))), model


@dataclass
class _Teller:
    info: RunInfo
    model: ChainModel
    given: Any
    asks: list[Ask]
    at: float = 0.0
    last: str = START

    def events(self, records: list[Record]) -> Iterator[ev.Event]:
        """All of them, in order."""
        recalled = self.info.forked_at or 0
        for record in records:
            if isinstance(record.payload, dict) and record.payload.get("resumed"):
                recalled = max(recalled, record.seq - 1)
        for record in records:
            if record.kind == STARTED:
                yield self._started(record)
            elif not record.branch:
                yield from self._kept(record)
                yield from self._end(record, record.seq <= recalled, record is records[-1])
        yield from self._waiting()

    def _stamp(self, branch: str = "") -> dict[str, Any]:
        return {"run": self.info.run_id, "at": self.at, "branch": branch}

    def _started(self, record: Record) -> ev.RunStarted:
        began = timestamp(record.at)
        return ev.RunStarted(
            **self._stamp(), chain=self.info.chain, began=began, given=self.given or {}
        )

    def _kept(self, record: Record) -> Iterator[ev.Event]:
        """What was told on the way to a record."""
        payload = record.payload if isinstance(record.payload, dict) else {}
        for one in payload.get("events", ()):
            yield _EVENT.validate_python({**one, "run": self.info.run_id})
        self.at = payload.get("elapsed", self.at)

    def _end(self, record: Record, recalled: bool, last: bool) -> Iterator[ev.Event]:
        """The event that the record itself is."""
        payload = record.payload
        if record.kind == FINISHED:
            yield ev.NodeFinished(
                **self._stamp(),
                node=record.node,
                kind=payload["kind"],
                output=payload["output"],
                ledger=payload["ledger"],
                recalled=recalled,
            )
        elif record.kind == RUN_FINISHED:
            stopped = self.info.status == "stopped"
            kept = {"output": payload["output"], "ledger": payload["ledger"]}
            yield ev.RunFinished(**self._stamp(), **kept, stopped=stopped)
        elif record.kind == RUN_FAILED and last:  # else it was gone on with
            yield ev.RunFailed(**self._stamp(), error=payload["error"], node=record.node or None)
        if record.kind in (FINISHED, FAILED):
            self.last = record.node

    def _waiting(self) -> Iterator[ev.Event]:
        """The way to what is asked is told by the process that goes on; it ends in the question."""
        for ask in self.asks:
            node = ask.branch.split("/")[0].split("#")[0] or ask.node
            if ask is self.asks[0]:
                if self.last != START:
                    yield ev.EdgeTaken(**self._stamp(), source=self.last, target=node)
                kind = self.model.nodes[node].kind
                yield ev.NodeStarted(**self._stamp(), node=node, kind=kind)
            yield ev.Asked(**self._stamp(), node=node, question=str(ask.question))
        if self.asks:
            first = self.asks[0]
            yield ev.RunWaiting(**self._stamp(), node=first.node, question=str(first.question))
