"""What a run is written on: paper that only grows, or a terminal's last rows, still changeable.

On a terminal the reply stays changeable until its fate is decided, so that what is taken back is
struck through where it stands. What no longer fits on the screen is printed for good.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import RenderableType
from rich.segment import Segment
from rich.text import Text

from .markdown import Blocks, rendered
from .render import DIM, WordWrap, harmless
from .screen import Screen

Panel = Callable[[], list[Text]]
_STRUCK = "dim strike"
_QUOTED = 160  # characters of what was taken back, where it can't be struck through
_TALL = 24  # rows; on a screen with fewer the panel is left out


class Sheet(Protocol):
    """Takes what a run shows, in order."""

    def add(self, what: RenderableType) -> None:
        """A renderable, on lines of its own."""
        ...

    def begin(self) -> None:
        """A reply begins."""
        ...

    def say(self, piece: str) -> None:
        """A piece of it."""
        ...

    def said(self) -> None:
        """The reply is complete."""
        ...

    def strike(self, reason: Text) -> None:
        """The last reply is taken back."""
        ...

    def busy(self, what: str) -> None:
        """Something takes its time."""
        ...

    def settle(self) -> None:
        """What stands there is final."""
        ...


class Paper:
    """Output that is only ever appended: a pipe, a file, a terminal that can't go back."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._reply = ""
        self._wrap = self._fresh()

    def add(self, what: RenderableType) -> None:
        """Print it."""
        self._screen.print(what)

    def begin(self) -> None:
        """Forget the reply before."""
        self._reply = ""

    def say(self, piece: str) -> None:
        """Write it, broken between words."""
        self._reply += piece
        self._screen.write(self._wrap.push(harmless(piece)))

    def said(self) -> None:
        """End the line, and leave a gap where there is colour to set it apart."""
        self._screen.write(self._wrap.flush() + ("\n" if self._screen.plain else "\n\n"))
        self._wrap = self._fresh()

    def strike(self, reason: Text) -> None:
        """Tell what no longer holds: it can't be struck through any more."""
        self._screen.print(reason)
        self._screen.note(f"  {_quoted(self._reply)}")

    def busy(self, what: str) -> None:
        """Nothing: a line about it would stay."""

    def settle(self) -> None:
        """End a line that was begun."""
        if self._wrap.open:
            self.said()

    def _fresh(self) -> WordWrap:
        return WordWrap(self._screen.width, indent=2)


@dataclass
class _Held:
    """Something on the changeable rows; `rows` is it at `width` columns."""

    what: RenderableType
    reply: bool = False
    struck: bool = False
    width: int = 0
    rows: list[Text] = field(default_factory=list)


class Slate:
    """The last rows of a terminal: finished blocks, the tail of a reply, and a panel below."""

    def __init__(self, screen: Screen, panel: Panel) -> None:
        self._screen, self._panel = screen, panel
        self._held: list[_Held] = []
        self._blocks = Blocks()
        self._tail: _Held | None = None
        self._reply = ""
        self._flushed = False
        self._busy = ("", time.monotonic())
        screen.show(self._lines)

    def add(self, what: RenderableType) -> None:
        """Put it below what is held. Like the rest it is drawn with the next frame."""
        self._held.append(_Held(what))

    def begin(self) -> None:
        """What was said before is decided: only the new reply can be struck through."""
        self._reply, self._flushed = "", False
        for held in self._held:
            held.reply = False

    def say(self, piece: str) -> None:
        """Take it into the tail, and hold the blocks it finishes."""
        self._reply += piece
        self._take(self._blocks.push(harmless(piece)))
        tail = self._blocks.tail
        self._tail = _Held(rendered(tail)) if tail.strip() else None

    def said(self) -> None:
        """Hold the last block."""
        self._take(self._blocks.flush())
        self._tail = None

    def strike(self, reason: Text) -> None:
        """Strike the reply through, where it still can be, and tell why."""
        for held in self._held:
            if held.reply:
                held.struck, held.width = True, 0
        self.add(reason)
        if self._flushed:
            self.add(Text(f"    {_quoted(self._reply)}", DIM))

    def busy(self, what: str) -> None:
        """Show that it takes its time."""
        self._busy = (what, time.monotonic())

    def settle(self) -> None:
        """Print all that is held, for good."""
        self.said()
        self._screen.idle()
        for held in self._held:
            self._screen.print(_joined(self._rows(held)))
        self._held.clear()

    def _take(self, blocks: list[str]) -> None:
        for block in blocks:
            self._held += [_Held(rendered(block), reply=True), _Held(Text(), reply=True)]

    def _lines(self) -> list[Text]:
        """A frame. What there is no room for is printed above it first."""
        panel = self._foot()
        room = max(self._screen.live_rows - len(panel), 1)
        tail = self._rows(self._tail) if self._tail else []
        while self._held and sum(len(self._rows(one)) for one in self._held) + len(tail) > room:
            first = self._held.pop(0)
            self._flushed = self._flushed or first.reply
            self._screen.above(_joined(self._rows(first)))
        held = [row for one in self._held for row in self._rows(one)]
        return [*held, *tail[-room:], *panel]

    def _foot(self) -> list[Text]:
        what, since = self._busy
        passed, frames = time.monotonic() - since, self._screen.glyphs.spinner
        spinner = Text(f"  {frames[int(passed * 10) % len(frames)]} {what} {passed:.1f} s", DIM)
        if self._screen.console.height < _TALL:
            return [spinner]
        return [Text(), spinner, *self._panel()]

    def _rows(self, held: _Held) -> list[Text]:
        width = self._screen.width
        if held.width != width:
            console = self._screen.console
            options = console.options.update(width=width - 1)
            rows = console.render_lines(held.what, options, pad=False)
            held.rows, held.width = [_text(row) for row in rows], width
            for row in held.rows if held.struck else ():
                row.stylize(_STRUCK, len(row.plain) - len(row.plain.lstrip()))
        return held.rows


def _text(row: list[Segment]) -> Text:
    text = Text(no_wrap=True)
    for segment in row:
        if not segment.control:
            text.append(segment.text, segment.style)
    text.rstrip()
    return text


def _joined(rows: list[Text]) -> Text:
    return Text("\n").join(rows)


def _quoted(text: str) -> str:
    text = " ".join(harmless(text).split())
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]} ..."
