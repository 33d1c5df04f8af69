"""`chains` on a real pseudo-terminal, and its screen: for the picture and the tests."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pexpect
import pyte
from rich.style import Style
from rich.text import Text

COLOURS = {"brown": "yellow", "brightbrown": "bright_yellow"}
QUIET_SECONDS = 0.5  # without output, before a screen counts as finished


class _Screen(pyte.HistoryScreen):
    """A screen that answers when it is asked where its cursor stands."""

    answer: Callable[[str], object] | None = None

    def write_process_input(self, data: str) -> None:
        """Send the answer as if it were typed."""
        if self.answer is not None:
            self.answer(data)


class Terminal:
    """A command line typed into and read, as a person would."""

    def __init__(
        self,
        arguments: Sequence[str],
        state: Path,
        columns: int = 80,
        rows: int = 40,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Start `chains ARGUMENTS` in a folder. `state` is the directory of its history."""
        self.screen = _Screen(columns, rows, history=5000)
        self._stream = pyte.ByteStream(self.screen)
        own = {"TERM": "xterm-256color", "XDG_STATE_HOME": str(state), **(environment or {})}
        inherited = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        self.process = pexpect.spawn(
            sys.executable,
            ["-c", "from chains.cli import main; main()", *arguments],
            dimensions=(rows, columns),
            cwd=None if folder is None else str(folder),
            # Ctrl-C reaches it even where whoever started us ignores it, as a shell's background
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            env={**inherited, **own},
        )
        self.screen.answer = self.process.send

    def enter(self, entry: str) -> None:
        """Type an entry and send it."""
        self.process.send(f"{entry}\r")

    def paste(self, text: str) -> None:
        """Paste text as a terminal does that tells pasting from typing."""
        self.process.send(f"\x1b[200~{text}\x1b[201~")

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal; the program is told."""
        self.screen.resize(rows, columns)
        self.process.setwinsize(rows, columns)

    def wait_for(self, text: str, times: int = 1, seconds: float = 120) -> None:
        """Read until `text` stands there that many times and nothing more comes.

        Raises: TimeoutError: it does not come; the message holds the screen.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            quiet = not self._read(QUIET_SECONDS)
            if quiet and self.text().count(text) >= times:
                return
            if quiet and not self.process.isalive():
                break
        raise TimeoutError(f"{text!r} did not come {times} times; the screen:\n{self.text()}")

    def wait_for_any(self, text: str, times: int = 1, seconds: float = 120) -> None:
        """Read until `text` stands there that many times, whatever else still comes.

        Raises: TimeoutError: it does not come; the message holds the screen.
        """
        deadline = time.monotonic() + seconds
        while self.text().count(text) < times:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{text!r} did not come; the screen:\n{self.text()}")
            self._read(0.05)

    def watch(self, seconds: float) -> None:
        """Read what comes for a while."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._read(left)

    def wait_for_end(self, seconds: float = 60) -> int:
        """Read until the program has ended; its exit code."""
        deadline = time.monotonic() + seconds
        while self.process.isalive() and time.monotonic() < deadline:
            self._read(0.2)
        self.process.close(force=True)
        return int(self.process.exitstatus if self.process.exitstatus is not None else -1)

    def _read(self, seconds: float) -> bool:
        """Feed the screen with what comes; whether anything came."""
        try:
            self._stream.feed(self.process.read_nonblocking(65536, timeout=seconds))
        except pexpect.TIMEOUT:
            return False
        except pexpect.EOF:
            time.sleep(0.05)
            return False
        return True

    def text(self) -> str:
        """The screen and what has scrolled off it, without colours."""
        return "\n".join(line.plain for line in self.lines())

    def lines(self) -> list[Text]:
        """The same, with colours."""
        shown = (self.screen.buffer[y] for y in range(self.screen.lines))
        return [self._line(row) for row in (*self.screen.history.top, *shown)]

    def _line(self, row: dict[int, Any]) -> Text:
        text = Text()
        cells = (row[x] for x in range(self.screen.columns))
        for style, same in groupby(cells, key=_style):
            text.append("".join(cell.data for cell in same), style)
        text.rstrip()
        return text


def _style(character: Any) -> Style:
    name = character.fg
    colour = None if name == "default" else COLOURS.get(name, name.replace("bright", "bright_"))
    if colour and len(colour) == 6 and all(c in "0123456789abcdef" for c in colour):
        colour = f"#{colour}"
    return Style(
        color=colour,
        bold=character.bold,
        italic=character.italics,
        strike=character.strikethrough,
    )
