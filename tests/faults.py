"""Forwards that break: operations inside them that fail, at random or as counted."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from intrinsics.kv import Segment
from intrinsics.lora import AdapterBank


class Fault(RuntimeError):
    """What a broken forward raises."""


class Faults:
    """Lets writes of keys and values and updates of adapters fail.

    A `share` of them at random, and those in `fatal`, counted from the last `reset`. `bank`: only
    the updates of that one; None: of any.
    """

    def __init__(self, patch: pytest.MonkeyPatch, bank: AdapterBank | None = None) -> None:
        self.share, self.random = 0.0, Random(0)
        self.count, self.fatal = 0, frozenset[int]()
        self._bank = bank
        patch.setattr(Segment, "write", self._faulty(Segment.write))
        patch.setattr(AdapterBank, "update", self._faulty(AdapterBank.update))

    def reset(self, *fatal: int) -> None:
        """Count from here. Changes: which operations fail."""
        self.count, self.fatal = 0, frozenset(fatal)

    def _faulty(self, real: Callable[..., None]) -> Callable[..., None]:
        def operation(owner: Segment | AdapterBank, *arguments: Any) -> None:
            if self._bank in (None, owner) or isinstance(owner, Segment):
                self.count += 1
                if self.count in self.fatal or self.random.random() < self.share:
                    raise Fault
            real(owner, *arguments)

        return operation
