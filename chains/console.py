"""The console of `chains demo`: a chat on a terminal, or line by line in a pipe."""

from __future__ import annotations

import asyncio
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.text import Text

from intrinsics.errors import IntrinsicsError

from .chat import PLAIN, Chat, Quiet
from .deeds import Deeds
from .errors import ChainError, ChainRunError
from .interrupt import Interrupt
from .reader import LineReader, Reader, TerminalReader, unechoed
from .render import ACCENT, DIM, EDGE, figures
from .screen import Screen
from .tour import guide

if TYPE_CHECKING:
    from intrinsics.engine import Engine

PROMPT = "you> "


@dataclass(frozen=True)
class Settings:
    """How a session begins; `state` is the directory that outlives it (history, tour offered)."""

    state: Path
    chain: str | None = None
    documents: tuple[Path, ...] = ()
    tour: bool | None = None
    model_name: str = ""


class Session:
    """Reads entries and does what they say: a turn of the chat, or a command."""

    def __init__(self, engine: Engine, settings: Settings, source: TextIO, out: TextIO) -> None:
        """Prepare it. Raises: ChainError, IntrinsicsError: the chain can't be used."""
        self.settings = settings
        self.screen = Screen(out, plain=None if source.isatty() else True)
        self.interrupt = Interrupt()
        quiet: Quiet = nullcontext if self.screen.plain else lambda: unechoed(source)
        chain = settings.chain or PLAIN
        self.chat = Chat(engine, self.screen, chain, self._answer, quiet, self.interrupt)
        self.deeds = Deeds(self.chat, self.interrupt, self._edited, chosen=bool(settings.chain))
        self.reader = self._reader(source, out)
        self.deeds.reader = self.reader

    def _reader(self, source: TextIO, out: TextIO) -> Reader:
        if self.screen.plain:
            return LineReader(source, out)
        table = self.deeds.commands.table
        choices = {name: command.choices for name, command in table.items()}
        files = {name for name, command in table.items() if command.file}
        return TerminalReader(choices, files, self.settings.state / "history")

    def talk(self) -> None:
        """Read and answer until the end of the input."""
        with self.interrupt.installed(), closing(self.deeds):
            self._greet()
            for path in self.settings.documents:
                self.deeds.add_file(path)
            entry = self._first_entry()
            while entry is not None and not self.deeds.over:
                if entry.strip():
                    self._enter(entry.strip())
                entry = None if self.deeds.over else self._read()
        if self.chat.total.verdicts:
            told = figures(self.chat.total, self.screen.glyphs)
            self.screen.print(Text("  in all: ", DIM) + told)

    def _read(self) -> str | None:
        """The next entry; Ctrl-C drops what was typed and asks again."""
        while True:
            try:
                with self.interrupt.raises():
                    return self.reader.read(PROMPT, self._status)
            except KeyboardInterrupt:
                self.screen.note("/quit or Ctrl-D leaves")

    def _enter(self, entry: str) -> None:
        if not entry.startswith("/"):
            self.deeds.say(entry)
            return
        try:
            with self.interrupt.raises():
                self.deeds.commands.do(entry)
        except (IntrinsicsError, ChainError) as error:
            self.screen.complain(str(error))
        except KeyboardInterrupt:
            self.screen.note(f"{entry.split()[0]} stopped")

    def _greet(self) -> None:
        dot = self.screen.glyphs.dot
        head = Text.assemble(("alora-chains", f"bold {ACCENT}"))
        if self.settings.model_name:
            head.append(f" {dot} {self.settings.model_name}", DIM)
        head.append(f" {dot} ", DIM).append(self.chat.chain.name, EDGE)
        head.append(f" {dot} /help", DIM)
        self.screen.print(head)

    def _status(self) -> str:
        """The line below the prompt."""
        tokens = self.chat.conversation.length
        megabytes = self.chat.engine.kv_bytes / 2**20
        parts = [self.chat.chain.name, f"{tokens:,} tokens", f"KV cache {megabytes:,.0f} MB"]
        if len(self.chat.forks.names) > 1:
            parts.insert(1, f"fork {self.chat.fork.name}")
        if self.deeds.race is not None and self.deeds.race.running:
            parts = [self.deeds.race.clocks(self.screen.glyphs).plain]
        return " " + " | ".join(parts)

    def _edited(self, text: str) -> str | None:
        """What a message shall be instead of `text`; None where nothing is entered."""
        entry = self.reader.read("edit> ", given=text)
        return None if entry is None else entry.strip() or None

    async def _answer(self, question: str) -> str:
        """What the user says to a chain's question, which is on the screen already."""
        while True:
            try:
                with self.interrupt.raises():
                    answer = await self.reader.read_answer(PROMPT)
            except KeyboardInterrupt:
                raise asyncio.CancelledError from None  # as Ctrl-C anywhere else in a turn
            if answer is None:
                raise ChainRunError("the input ended before its question was answered")
            if answer.strip():
                return answer

    def _first_entry(self) -> str | None:
        """Show or offer the tour, then read. What is no answer to the offer is the first entry."""
        wanted = bool(self.settings.tour)
        if self.settings.tour is None and self._is_first_start():
            self.screen.print()
            self.screen.line("First time here? A two-minute tour shows what the intrinsics do.")
            word = self._line("  Take it? [Y/n] ", interrupted="no")
            if word is None or word.lower() not in ("", "y", "yes", "n", "no"):
                return word
            wanted = word.lower() in ("", "y", "yes")
        if wanted:
            guide(self.chat, PROMPT, self._goes_on)
        return self._read()

    def _is_first_start(self) -> bool:
        """Whether nobody was here before; remembered, so true only once."""
        mark = self.settings.state / "tour-offered"
        if self.settings.chain or self.settings.documents or self.screen.plain or mark.exists():
            return False
        try:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        except OSError:
            return True  # a read-only home is offered it every time
        return True

    def _goes_on(self) -> bool:
        """Wait before the tour's next stop; in a pipe there is nobody to wait for."""
        if self.screen.plain:
            return True
        return self._line("Enter goes on, q leaves the tour ", interrupted="q") == ""

    def _line(self, prompt: str, interrupted: str) -> str | None:
        """An entry, stripped; what Ctrl-C stands for; None at the end."""
        try:
            with self.interrupt.raises():
                entry = self.reader.read(prompt)
        except KeyboardInterrupt:
            return interrupted
        return None if entry is None else entry.strip()
