"""An engine that keeps the verdicts it gave: events tell what was found, these say why."""

from __future__ import annotations

from intrinsics.engine import Engine
from intrinsics.fanout import FanOut


class Witness(Engine):
    """The same engine under a second name, for one run. `found` grows with each fan-out."""

    def __init__(self, engine: Engine) -> None:
        vars(self).update(vars(engine))  # model, adapters and queue are shared, not copied
        self.found: list[FanOut] = []

    def judged(self, found: FanOut) -> None:
        """Keep it."""
        self.found.append(found)
