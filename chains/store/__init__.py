"""The store of runs in SQLite: record, resume, fork, ask, compare, prune. Needs no model.

A run is recorded, killed, and gone on with, here or in another process:

    with Store.open("runs.db") as store:
        run_id = store.create("guarded", "name: guarded", {"messages": []}, {"reply": 7})
        with store.lease(run_id) as run:  # RunIsHeld while anybody else has it
            question = StoredMessage("user", "Is it open?", (12, 7, 301))
            run.append(Entry("started", messages=(question,)))
            ask = run.ask({"question": "Which library?"}, node="which")  # status: waiting

    with Store.open("runs.db", create=False) as store:  # days later, anywhere
        store.answer(run_id, "the one at the harbour")  # AlreadyAnswered the second time

    with Store.open("runs.db", create=False) as store:
        with store.lease(run_id) as run:
            done = store.records(run_id)  # what was done is read, and not done again
            conversation = store.messages(next(r.head for r in reversed(done) if r.head))
            answer = run.receive(ask).answer  # status: running, a record "answered"
            reply = StoredMessage("assistant", "Until six.", (9, 4), conversation[-1].hash)
            last = Entry("finished", {"output": "Until six."}, node="reply", messages=(reply,))
            run.append(last, status="finished")
        other = store.fork(run_id, at_seq=1)  # shares the past; nothing is copied
"""

from __future__ import annotations

from .asks import ANSWERED, ASKED
from .diff import VOLATILE, Difference
from .held import HeldRun
from .messages import ROOT, StoredMessage
from .prune import Pruned
from .records import STATUSES, Ask, Entry, Record, RunInfo, Status
from .runs import Definition, chain_hash
from .store import ENDED, Store

__all__ = [
    "ANSWERED",
    "ASKED",
    "ENDED",
    "ROOT",
    "STATUSES",
    "VOLATILE",
    "Ask",
    "Definition",
    "Difference",
    "Entry",
    "HeldRun",
    "Pruned",
    "Record",
    "RunInfo",
    "Status",
    "Store",
    "StoredMessage",
    "chain_hash",
]
