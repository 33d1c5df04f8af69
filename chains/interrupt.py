"""Ctrl-C as a wish: it ends what said that it may be ended, and never the program."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType


class Interrupt:
    """What Ctrl-C does now. Each `does` is used up by one press; without one a press does nothing.

    A handler that raises wherever the program happens to be would, sooner or later, raise where
    nobody catches it.
    """

    def __init__(self) -> None:
        self._press: Callable[[], object] | None = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let this object have all presses meanwhile. For the main thread."""
        before = signal.signal(signal.SIGINT, self._pressed)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def does(self, press: Callable[[], object]) -> Iterator[None]:
        """Let the next press do this, if it comes meanwhile."""
        before, self._press = self._press, press
        try:
            yield
        finally:
            self._press = before

    def raises(self) -> AbstractContextManager[None]:
        """Let the next press raise KeyboardInterrupt, if it comes meanwhile."""
        return self.does(_raise)

    def ignored(self) -> AbstractContextManager[None]:
        """Let presses do nothing meanwhile, but for what is said within."""
        return self.does(lambda: None)

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        press, self._press = self._press, None
        if press is not None:
            press()


def _raise() -> None:
    raise KeyboardInterrupt
