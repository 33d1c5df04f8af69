"""Every error that chains raise on purpose, one tree.

ChainError
├── ChainDefinitionError   a chain is wrong; holds every fault with its place
├── InputError             a run's input: messages, documents or input fields
├── OutputError            a result that could not be written
└── ChainRunError          a run could not go on; says at which node, and what to do
"""

from __future__ import annotations

from collections.abc import Sequence

from intrinsics.errors import Fault


class ChainError(Exception):
    """Base of all errors that a chain or its caller can cause."""


class ChainDefinitionError(ChainError):
    """A chain that can't run as written; `faults` lists every mistake, in file order."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(set(faults), key=lambda f: (f.file, f.line, f.column)))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class InputError(ChainError):
    """What a run was given can't be used; the message says where and what to do."""


class OutputError(ChainError):
    """A result could not be written; what stood in its place is intact."""


class ChainRunError(ChainError):
    """A run stopped at `node`; the conversation is as it was before the run."""

    def __init__(self, message: str, node: str | None = None) -> None:
        self.node = node
        super().__init__(f"node {node!r}: {message}" if node else message)
