"""The store of runs in SQLite: record, resume, fork, ask, compare, prune. Needs no model."""

from __future__ import annotations

from .diff import VOLATILE, Difference
from .held import HeldRun
from .messages import ROOT, StoredMessage
from .prune import Pruned
from .records import STATUSES, Ask, Entry, Record, RunInfo, Status
from .runs import Definition, chain_hash
from .store import ENDED, Store

__all__ = [
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
