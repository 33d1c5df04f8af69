"""What could not be read of a chain, so that the rest of it can be checked all the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lost:
    """Parts that are told to be wrong already: nothing that follows from them is a fault.

    `inputs` and `nodes` are names of which nothing but the name is known; something stands in for
    them in the model. `flow` tells that the edges are not all there, or not as they were meant.
    """

    inputs: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    flow: bool = False

    def __bool__(self) -> bool:
        return bool(self.inputs or self.nodes or self.flow)


NOTHING = Lost()
