"""Every error the engine raises on purpose, one tree.

IntrinsicsError
├── BaseModelError         no usable base model: missing, corrupt, unsupported architecture
├── DefinitionError        intrinsic.yaml or its template is wrong; holds every fault with its place
├── AdapterError           adapter weights: missing, corrupt, for another base model
│   └── InvocationMismatch the definition's invocation is not the one the adapter was trained with
├── TemplateError          the chat template is missing or rewrites what it rendered before
├── ContextTooLong         tokens beyond the model's context would be lost
├── ConversationError      a message or document the conversation can't take or lacks
├── RequestError           an engine verb called with values it can't serve
├── MemoryBudgetError      keys and values beyond the engine's budget
├── TimedOut               a request that was not done by its deadline
├── Cancelled              a request that was given up
├── Guarded                a reply that a watcher forbade
├── ProofError             a result that a computation from scratch does not confirm
├── DataError              a row of training or evaluation data
└── TrainingError          a training that can't go on; its checkpoint is intact
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class IntrinsicsError(Exception):
    """Base of all errors that a caller or user of the engine can cause."""


class BaseModelError(IntrinsicsError):
    """No usable base model under that name or path."""


@dataclass(frozen=True)
class Fault:
    """One mistake in a file: where it stands and what to do about it.

    `line` and `column` count from 1; `source` is the text of that line.
    """

    file: str
    line: int
    column: int
    message: str
    source: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: {self.message}"
        if not self.source:
            return place
        return f"{place}\n    {self.source}\n    {' ' * (self.column - 1)}^"


class DefinitionError(IntrinsicsError):
    """A definition file is wrong; `faults` lists every mistake found in it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class AdapterError(IntrinsicsError):
    """Adapter weights that can't be used as they are."""


class InvocationMismatch(AdapterError):
    """The definition's invocation is not the one the adapter was trained with."""


class TemplateError(IntrinsicsError):
    """The chat template is missing or not append-only."""


class ContextTooLong(IntrinsicsError):
    """The tokens do not fit into the model's context, and none is dropped in silence."""


class ConversationError(IntrinsicsError):
    """A message or document that the conversation can't take, or lacks."""


class RequestError(IntrinsicsError):
    """An engine verb was called with values it can't serve."""


class MemoryBudgetError(IntrinsicsError):
    """A request's keys and values do not fit beside those in use; other requests go on."""


class TimedOut(IntrinsicsError):
    """A request was not done by its deadline; nothing of it remains."""


class Cancelled(IntrinsicsError):
    """A request was given up by its caller; nothing of it remains."""


NO_MODELS = "INTRINSICS_NO_MODELS"
"""An environment variable that forbids to load a model: for tests that should need none."""


class Guarded(IntrinsicsError):
    """A watcher forbade the reply; the conversation is as it was before.

    `intrinsic` is the one that gave the reply up, and `p` the probability of its label; None where
    the reply ended since nothing of it passed.
    """

    def __init__(self, message: str, intrinsic: str | None = None, p: float | None = None) -> None:
        super().__init__(message)
        self.intrinsic, self.p = intrinsic, p


class ProofError(IntrinsicsError):
    """A result differs from its computation from scratch: the engine is wrong somewhere."""


class DataError(IntrinsicsError):
    """A row of a data file is unusable; the message names file and line."""


class TrainingError(IntrinsicsError):
    """The training can't go on; what was checkpointed is intact."""
