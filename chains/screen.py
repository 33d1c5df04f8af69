"""Where everything is printed: a terminal with rows that can change, or text that only grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TextIO

from rich.console import Console, RenderableType
from rich.text import Text

from .live import Live
from .render import ASCII, DIM, UNICODE

TICK_SECONDS = 0.1  # between two frames of what moves


class Screen:
    """Where everything is printed: coloured and drawn on a terminal, plain text elsewhere."""

    def __init__(self, out: TextIO, plain: bool | None = None) -> None:
        """`plain` leaves out colour, bars and the spinner; None: where `out` is no terminal."""
        self.console = Console(file=out, highlight=False, emoji=False)
        dumb = not self.console.is_terminal or self.console.is_dumb_terminal
        self.plain = dumb if plain is None else plain
        if self.plain:
            self.console = Console(
                file=out,
                highlight=False,
                emoji=False,
                no_color=True,
                force_terminal=False,
                soft_wrap=True,
            )
        utf = (out.encoding or "").lower().replace("-", "").startswith("utf")
        self.glyphs = UNICODE if utf else ASCII
        self._out = out
        self._live = Live(self.console, out)
        self._lines: Callable[[], list[Text]] | None = None

    @property
    def changeable(self) -> bool:
        """Whether its last rows can be rewritten."""
        return self.console.is_terminal and not self.plain

    @property
    def live_rows(self) -> int:
        """How many of them there is room for."""
        return self._live.most

    @property
    def width(self) -> int:
        """Columns of the terminal; plain text is never broken."""
        return 10_000 if self.plain else self.console.width

    def print(self, what: RenderableType = "") -> None:
        """A renderable on lines of its own."""
        if self._lines is None:
            self.console.print(what)
        else:
            self._live.above(what, self._lines())

    def write(self, text: str) -> None:
        """A piece of streaming text, where nothing is rewritten."""
        self._out.write(text)
        self._out.flush()

    def line(self, text: str, style: str = "") -> None:
        """One indented line that gives way to the width."""
        self.print(Text(f"  {text}", style))

    def note(self, text: str) -> None:
        """Something by the way."""
        self.line(text, DIM)

    def complain(self, message: str) -> None:
        """An error that the session survives."""
        for number, line in enumerate(message.splitlines()):
            self.line(f"{'!' if number == 0 else ' '} {line}", "bright_red")

    def show(self, lines: Callable[[], list[Text]]) -> None:
        """Let these be the last rows, drawn now and at every tick, until `idle`."""
        self._lines = lines
        self.tick()

    def tick(self) -> None:
        """Draw the last rows as they are now, if there are any."""
        if self._lines is not None:
            self._live.draw(self._lines())

    def above(self, what: RenderableType) -> None:
        """Print something for good while the last rows are being made; the next draw adds them."""
        self._live.above(what)

    def idle(self) -> None:
        """Take the last rows away."""
        self._lines = None
        self._live.close()


@asynccontextmanager
async def ticking(screen: Screen) -> AsyncIterator[None]:
    """Draw what moves again and again: in this loop's thread, so that no two write at once."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            screen.tick()

    task = asyncio.ensure_future(tick())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
