"""Draws docs/console.svg: the console as it is, typed into on a pseudo-terminal.

Usage: python scripts/picture.py [--out docs/console.svg] [--rows 40] ENTRY...
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from io import StringIO
from pathlib import Path

import pexpect
import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

PROMPT = "you> "
COLOURS = {"brown": "yellow", "brightbrown": "bright_yellow"}


class Terminal:
    """`chains demo` on a pseudo-terminal, and what stands on its screen."""

    def __init__(self, columns: int, rows: int, state: Path) -> None:
        self.screen = pyte.HistoryScreen(columns, rows, history=5000)
        self.stream = pyte.ByteStream(self.screen)
        environment = {**os.environ, "TERM": "xterm-256color", "XDG_STATE_HOME": str(state)}
        environment.pop("NO_COLOR", None)
        command = "from chains.cli import main; main()"
        self.process = pexpect.spawn(
            sys.executable,
            ["-c", command, "demo", "--no-tour"],
            dimensions=(rows, columns),
            env=environment,
            timeout=300,
        )

    def until_prompt(self, count: int) -> None:
        """Read until the program has asked for input `count` times and is quiet."""
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            try:
                self.stream.feed(self.process.read_nonblocking(65536, timeout=1))
            except pexpect.TIMEOUT:
                if sum(PROMPT in line for line in self.lines()) >= count:
                    return
        raise SystemExit("the program did not ask for input")

    def enter(self, entry: str) -> None:
        """Type an entry."""
        self.process.send(f"{entry}\r")

    def lines(self) -> list[str]:
        """The text on the screen, what has scrolled off included."""
        return [str(text) for text in self.texts()]

    def texts(self) -> list[Text]:
        """The lines with their colours."""
        shown = (self.screen.buffer[y] for y in range(self.screen.lines))
        return [self._text(row) for row in (*self.screen.history.top, *shown)]

    def _text(self, row: dict[int, pyte.screens.Char]) -> Text:
        text = Text()
        for x in range(self.screen.columns):
            character = row[x]
            text.append(character.data, _style(character))
        text.rstrip()
        return text


def _style(character: pyte.screens.Char) -> Style:
    name = character.fg
    colour = None if name == "default" else COLOURS.get(name, name.replace("bright", "bright_"))
    if colour and len(colour) == 6 and all(c in "0123456789abcdef" for c in colour):
        colour = f"#{colour}"
    return Style(color=colour, bold=character.bold, italic=character.italics)


def main() -> None:
    """Type the entries and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("entries", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("docs/console.svg"))
    parser.add_argument("--columns", type=int, default=80)
    parser.add_argument("--state", type=Path, default=Path("/tmp/alora-chains-picture"))
    given = parser.parse_args()
    terminal = Terminal(given.columns, 40, given.state)
    terminal.until_prompt(1)
    for count, entry in enumerate(given.entries, start=2):
        terminal.enter(entry)
        terminal.until_prompt(count)
    texts = terminal.texts()
    below = (PROMPT.strip(), " guarded")  # the empty prompt and the line under it
    while texts and (not texts[-1].plain.strip() or texts[-1].plain.startswith(below)):
        texts.pop()
    console = Console(record=True, width=given.columns, file=StringIO())
    for text in texts:
        console.print(text, no_wrap=True, crop=False)
    console.save_svg(str(given.out), title="chains demo")
    terminal.process.sendeof()


if __name__ == "__main__":
    main()
