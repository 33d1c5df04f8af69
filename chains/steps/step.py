"""One node in one attempt: what it reads, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from intrinsics.ledger import Ledger
from intrinsics.template import TemplateFault

from .. import events as ev
from ..errors import ChainRunError
from ..expression import evaluate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from intrinsics.engine import Engine

    from ..expression import Operand
    from ..frame import Frame
    from ..model import Node
    from ..talk import Talk


FREE = Ledger()
"""The cost of a node that does not call the model."""


@dataclass(slots=True)
class Outcome:
    """What a node leaves: its slot of the state, its output as told, its cost, its message."""

    state: dict[str, Any]
    output: Any
    ledger: Ledger = FREE
    said: str | None = None


class Step:
    """One node in one attempt; `outcome` or `failure` is there when it has ended.

    `recalled` is when that was, in seconds of the run, where it was taken from the record.

    `group` are the checks that ride in this one's fan-out; `tells`: it may have events of its
    own, or time-outs.
    """

    def __init__(
        self,
        frame: Frame,
        name: str,
        node: Node,
        attempt: int,
        group: tuple[str, ...] = (),
        *,
        tells: bool = True,
    ) -> None:
        self.frame, self.name, self.node = frame, name, node
        self.attempt, self.group, self.tells = attempt, group, tells
        self.outcome: Outcome
        self.failure: ChainRunError | None = None
        self.recalled: float | None = None

    @property
    def started(self) -> ev.NodeStarted:
        """That it begins, as an event."""
        run = self.frame.run
        return ev.NodeStarted(
            run=run.id,
            at=run.now(),
            branch=self.frame.path,
            node=self.name,
            kind=self.node.kind,
            attempt=self.attempt,
            fused=self.group,
        )

    @property
    def talk(self) -> Talk:
        """The conversation it reads and writes."""
        return self.frame.talk

    @property
    def path(self) -> str:
        """The branch of what runs inside it; each visit in a loop has its own."""
        name = self.name if self.attempt == 1 else f"{self.name}#{self.attempt}"
        return f"{self.frame.path}/{name}" if self.frame.path else name

    def stamp(self) -> dict[str, Any]:
        """Run, time, branch and node for an event."""
        return {**self.frame.stamp(), "node": self.name}

    def engine(self) -> Engine:
        """The model. Raises: ChainRunError: the run was given none."""
        if self.frame.run.engine is None:
            raise ChainRunError("needs a model, and the run was given no engine", self.name)
        return self.frame.run.engine

    def render(self, text: str) -> str:
        """A template's text. Raises: ChainRunError: reason "template"."""
        template, reads = self.frame.plan.template(text)
        names = {name: self.frame.names[name] for name in reads if name in self.frame.names}
        try:
            return template.render({**names, "attempt": self.attempt})
        except TemplateFault as fault:
            raise ChainRunError(fault.message, self.name, "template") from fault

    def values(self, operands: Mapping[str, Operand]) -> dict[str, Any]:
        """What operands read in the state now."""
        return {name: evaluate(operand, self.frame.names) for name, operand in operands.items()}
