"""Intrinsics on one shared KV cache: the engine.

Names are imported at first use, so that reading a definition or a chain does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .catalogue import Catalogue
    from .conversation import Conversation
    from .decode import Sampling
    from .engine import Engine
    from .errors import IntrinsicsError
    from .fanout import FanOut, Verdict
    from .generation import Generation, Reply
    from .ledger import Ledger
    from .messages import Document, Message
    from .spec import Definition

__all__ = [
    "Catalogue",
    "Conversation",
    "Definition",
    "Document",
    "Engine",
    "FanOut",
    "Generation",
    "IntrinsicsError",
    "Ledger",
    "Message",
    "Reply",
    "Sampling",
    "Verdict",
]

_HOME = {
    "Catalogue": "catalogue",
    "Conversation": "conversation",
    "Definition": "spec",
    "Document": "messages",
    "Engine": "engine",
    "FanOut": "fanout",
    "Generation": "generation",
    "IntrinsicsError": "errors",
    "Ledger": "ledger",
    "Message": "messages",
    "Reply": "generation",
    "Sampling": "decode",
    "Verdict": "fanout",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
