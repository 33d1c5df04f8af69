"""The last rows of a terminal, rewritten in place without flicker; all else is printed above them.

Only rows that changed are written, each in one go, and a terminal that knows synchronised output
(DEC mode 2026) shows every frame as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, RenderableType
from rich.text import Text

_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_CLEAR_ROW, _CLEAR_BELOW = "\x1b[K", "\x1b[J"


class Live:
    """Rows below everything that was printed. The cursor stands at the end of the last of them."""

    def __init__(self, console: Console, out: TextIO) -> None:
        self._console, self._out = console, out
        self._rows: list[str] = []
        self._width = 0

    @property
    def most(self) -> int:
        """How many rows there is room for; the first ones of more are left out."""
        return max(self._console.height - 1, 1)

    def draw(self, lines: Sequence[Text]) -> None:
        """Show these lines, cut to the width, in place of those that stand there."""
        if not self._rows:
            self._out.write(_HIDE)
        self._write(self._frame(lines))

    def above(self, what: RenderableType, lines: Sequence[Text] = ()) -> None:
        """Print something for good, and draw the lines below it."""
        with self._console.capture() as captured:
            self._console.print(what)
        printed = self._erased() + captured.get().replace("\n", "\r\n")
        self._write(printed + (self._frame(lines) if lines else ""))

    def close(self) -> None:
        """Take the rows away."""
        if self._rows:
            self._write(self._erased() + _SHOW)

    def _erased(self) -> str:
        up = self._top()
        self._rows = []
        return up + _CLEAR_BELOW

    def _frame(self, lines: Sequence[Text]) -> str:
        width = self._console.width
        rows = [self._row(line, width) for line in lines[-self.most :]]
        # What another width made of the old rows is not known: each is written again.
        old = self._rows if width == self._width else []
        parts = [self._top()]
        for number, row in enumerate(rows):
            parts.append("\r\n" if number else "")
            if number >= len(old) or old[number] != row:
                parts.append(f"\r{row}{_CLEAR_ROW}")
        if len(self._rows) > len(rows):
            parts.append(f"\r\n{_CLEAR_BELOW}\x1b[A")
        self._rows, self._width = rows, width
        return "".join(parts)

    def _row(self, line: Text, width: int) -> str:
        """A line as it is written, one cell short of the width: no terminal wraps it."""
        line = line.copy()
        line.truncate(width - 1, overflow="crop")
        with self._console.capture() as captured:
            self._console.print(line, end="", no_wrap=True, overflow="ignore", crop=False)
        return captured.get()

    def _top(self) -> str:
        up = len(self._rows) - 1
        return "\r" + (f"\x1b[{up}A" if up > 0 else "")

    def _write(self, text: str) -> None:
        self._out.write(_BEGIN + text + _END)
        self._out.flush()
