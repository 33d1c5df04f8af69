"""Chains: conversations as typed graphs, run on one shared KV cache.

Names are imported at first use; a chain is read, checked and drawn without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .chain import Chain
    from .dsl import (
        END,
        START,
        Budget,
        Definition,
        ask,
        best_of,
        check,
        function,
        given,
        map_over,
        parallel,
        read,
        retrieve,
        say,
        subchain,
        turn,
    )
    from .errors import ChainDefinitionError, ChainError, ChainRunError, InputError
    from .inputs import RunInput
    from .runner import RunResult

__all__ = [
    "END",
    "START",
    "Budget",
    "Chain",
    "ChainDefinitionError",
    "ChainError",
    "ChainRunError",
    "Definition",
    "InputError",
    "RunInput",
    "RunResult",
    "ask",
    "best_of",
    "check",
    "function",
    "given",
    "map_over",
    "parallel",
    "read",
    "retrieve",
    "say",
    "subchain",
    "turn",
]

_HOME = {
    "Chain": "chain",
    "ChainDefinitionError": "errors",
    "ChainError": "errors",
    "ChainRunError": "errors",
    "InputError": "errors",
    "RunInput": "inputs",
    "RunResult": "runner",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME.get(name, 'dsl')}", __name__), name)
