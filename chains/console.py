"""The console of `chains demo`: a chat on a terminal, or line by line in a pipe."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.table import Table
from rich.text import Text

from intrinsics.errors import IntrinsicsError

from .chain import shipped
from .chat import PLAIN, WITH_DOCUMENTS, Chat, Quiet, read_document
from .errors import ChainError, ChainRunError
from .reader import LineReader, Reader, TerminalReader, unechoed
from .render import ACCENT, DIM, EDGE, figures
from .screen import Screen
from .tour import guide
from .trace import trace_table

if TYPE_CHECKING:
    from intrinsics.engine import Engine

PROMPT = "you> "
HELP = {
    "/docs FILE": "add a text or Markdown file to the documents",
    "/chain FILE": "go on with another chain: a YAML file or a shipped name",
    "/trace": "what the last run did: outputs, edges, tokens",
    "/help": "this list",
    "/quit": "leave, as Ctrl-D does",
    "Ctrl-C": "stop a turn; the conversation is then as it was before",
    "Alt-Enter": "begin a new line",
}


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
        self.reader, quiet = self._reader(source, out)
        chain = settings.chain or PLAIN
        self.chat = Chat(engine, self.screen, chain, self._answer, quiet)
        self._chosen = settings.chain is not None

    def _reader(self, source: TextIO, out: TextIO) -> tuple[Reader, Quiet]:
        """Where entries come from, and what keeps typed keys out of a turn's output."""
        if self.screen.plain:
            return LineReader(source, out), nullcontext
        commands = {"/docs": None, "/chain": shipped, "/trace": None, "/help": None, "/quit": None}
        reader = TerminalReader(commands, self.settings.state / "history")
        return reader, lambda: unechoed(source)

    def talk(self) -> None:
        """Read and answer until the end of the input."""
        self._greet()
        for path in self.settings.documents:
            self._add_file(path)
        entry = self._first_entry()
        while entry is not None and entry.strip() != "/quit":
            if entry.strip():
                self._enter(entry.strip())
            entry = self._read()
        if self.chat.total.verdicts:
            told = figures(self.chat.total, self.screen.glyphs)
            self.screen.print(Text("  in all: ", DIM) + told)

    def _read(self) -> str | None:
        """The next entry; Ctrl-C drops what was typed and asks again."""
        while True:
            try:
                return self.reader.read(PROMPT, self._state_line())
            except KeyboardInterrupt:
                self.screen.note("/quit or Ctrl-D leaves")

    def _enter(self, entry: str) -> None:
        if not entry.startswith("/"):
            self.chat.turn(entry)
            return
        try:
            self._command(*entry.split(maxsplit=1))
        except (IntrinsicsError, ChainError) as error:
            self.screen.complain(str(error))
        except KeyboardInterrupt:
            self.screen.note(f"{entry.split()[0]} stopped; nothing has changed")

    def _command(self, name: str, rest: str = "") -> None:
        simple = {"/help": self._help, "/trace": self._trace}
        with_file = {"/docs": self._add_file, "/chain": self._choose}
        if name in simple:
            simple[name]()
        elif name in with_file and rest:
            with_file[name](Path(rest))
        elif name in with_file:
            self.screen.complain(f"{name} needs a file, as in: {name} FILE")
        else:
            self.screen.complain(f"unknown command {name}; /help lists them")

    def _greet(self) -> None:
        dot = self.screen.glyphs.dot
        head = Text.assemble(("alora-chains", f"bold {ACCENT}"))
        if self.settings.model_name:
            head.append(f" {dot} {self.settings.model_name}", DIM)
        head.append(f" {dot} ", DIM).append(self.chat.chain.name, EDGE)
        head.append(f" {dot} /help", DIM)
        self.screen.print(head)

    def _state_line(self) -> str:
        tokens = self.chat.conversation.length
        megabytes = self.chat.engine.kv_bytes / 2**20
        return f" {self.chat.chain.name} | {tokens:,} tokens | KV cache {megabytes:,.0f} MB"

    def _help(self) -> None:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
        table.add_column(no_wrap=True)
        table.add_column()
        for key, what in HELP.items():
            table.add_row(Text(key, "bold"), Text(what))
        self.screen.print(table)

    def _trace(self) -> None:
        if not self.chat.events:
            self.screen.complain("there was no run yet; say something first")
            return
        width = self.screen.console.width
        self.screen.print(trace_table(self.chat.events, width, self.screen.glyphs))

    def _choose(self, source: Path) -> None:
        self.chat.use(str(source))
        self._chosen = True
        self._tell_chain()

    def _tell_chain(self) -> None:
        self.screen.line(f"chain: {self.chat.chain.name}", EDGE)

    def _add_file(self, path: Path) -> None:
        """Add a document; without a chain of the user's choice, change to one that reads it."""
        document = read_document(path)
        tokens = self.chat.add([document])
        self.screen.note(f"document {document.id}: {tokens:,} tokens")
        if not self._chosen and self.chat.chain.name != WITH_DOCUMENTS:
            self.chat.use(WITH_DOCUMENTS)
            self._tell_chain()

    async def _answer(self, question: str) -> str:
        """What the user says to a chain's question, which is on the screen already."""
        while True:
            answer = await self.reader.read_answer(PROMPT)
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
        if self._chosen or self.settings.documents or self.screen.plain or mark.exists():
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
            entry = self.reader.read(prompt)
        except KeyboardInterrupt:
            return interrupted
        return None if entry is None else entry.strip()
