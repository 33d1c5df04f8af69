"""Intrinsics on one shared KV cache: the engine.

Names are imported at first use, so that reading a definition or a chain does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .catalogue import Catalogue
    from .conversation import Conversation
    from .engine import Engine
    from .errors import IntrinsicsError
    from .fanout import FanOut, TextVerdict, Verdict
    from .generation import Generation
    from .job import Job
    from .ledger import Ledger
    from .messages import Document, Message
    from .sampling import Sampling
    from .scheduler import Stats
    from .spec import Definition
    from .watch import Check, Watch, Watcher
    from .writer import Reply

__all__ = [
    "Catalogue",
    "Check",
    "Conversation",
    "Definition",
    "Document",
    "Engine",
    "FanOut",
    "Generation",
    "IntrinsicsError",
    "Job",
    "Ledger",
    "Message",
    "Reply",
    "Sampling",
    "Stats",
    "TextVerdict",
    "Verdict",
    "Watch",
    "Watcher",
]

_HOME = {
    "Catalogue": "catalogue",
    "Check": "watch",
    "Conversation": "conversation",
    "Definition": "spec",
    "Document": "messages",
    "Engine": "engine",
    "FanOut": "fanout",
    "Generation": "generation",
    "IntrinsicsError": "errors",
    "Job": "job",
    "Ledger": "ledger",
    "Message": "messages",
    "Reply": "writer",
    "Sampling": "sampling",
    "Stats": "scheduler",
    "TextVerdict": "fanout",
    "Verdict": "fanout",
    "Watch": "watch",
    "Watcher": "watch",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
