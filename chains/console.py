"""The chat of `chains demo`: one conversation over many runs, on a terminal or in a pipe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from intrinsics.errors import IntrinsicsError
from intrinsics.messages import Document, Message

from . import events as ev
from .chain import Chain
from .errors import ChainError
from .inputs import RunInput
from .reader import LineReader, Reader, TerminalReader
from .render import (
    ASCII,
    DIM,
    EDGE,
    UNICODE,
    Costs,
    Shown,
    WordWrap,
    badges,
    figures,
    in_words,
    tape,
)
from .tour import shipped_tour

if TYPE_CHECKING:
    from intrinsics.engine import Engine

PLAIN, WITH_DOCUMENTS = "guarded_chat", "guarded_rag"
COMMANDS = {
    "/docs FILE": "add a text file to the documents",
    "/chain FILE": "change to another chain: a YAML file or a shipped name",
    "/trace": "what the last run did: nodes, edges, tokens",
    "/help": "this list",
    "/quit": "leave (so does Ctrl-D); Ctrl-C stops a turn",
}


@dataclass(frozen=True)
class Settings:
    """How a session begins."""

    chain: str | None = None
    documents: tuple[Path, ...] = ()
    tour: bool | None = None


class Session:
    """One chat. Everything it shows comes from a run's events."""

    def __init__(
        self, engine: Engine, settings: Settings, history: Path, source: TextIO, out: TextIO
    ) -> None:
        self.engine, self.settings, self.out = engine, settings, out
        self.console = Console(file=out, highlight=False, soft_wrap=False)
        self.glyphs = UNICODE if (out.encoding or "").lower().startswith("utf") else ASCII
        self.typed = source.isatty() and out.isatty() and not self.console.is_dumb_terminal
        self.reader: Reader = (
            TerminalReader([name.split()[0] for name in COMMANDS], history)
            if self.typed
            else LineReader(source, out)
        )
        self.chain = Chain.load(settings.chain or PLAIN, catalogue=engine.catalogue)
        self.chosen = settings.chain is not None
        self.conversation = engine.conversation(self._system())
        self.total = Costs()
        self.trace: list[ev.Event] = []

    def _system(self) -> list[Message]:
        system = self.chain.model.system
        return [Message(role="system", content=system)] if system else []

    def talk(self) -> int:
        """Read and answer until the end; returns the exit code."""
        self._greet()
        for path in self.settings.documents:
            self._guarded(lambda path=path: self._add_file(path))  # type: ignore[misc]
        if self._wants_tour():
            self._tour()
        while True:
            try:
                entry = self.reader.read("you> ", self._status())
            except KeyboardInterrupt:
                self.console.print("(/quit or Ctrl-D leaves)", style=DIM)
                continue
            if entry is None or entry.strip() == "/quit":
                break
            if entry.strip():
                self._enter(entry.strip())
        if self.total.verdicts:
            self.console.print(Text("  whole session: ", DIM) + figures(self.total, self.glyphs))
        return 0

    def _enter(self, entry: str) -> None:
        if entry.startswith("/"):
            self._command(entry)
        else:
            self._turn(entry)

    def _greet(self) -> None:
        self.console.print(
            Text.assemble(
                ("alora-chains", "bold"),
                (f"  {self.chain.name}  ", EDGE),
                ("/help lists the commands", DIM),
            )
        )

    def _status(self) -> str:
        length = self.conversation.length
        return f" {self.chain.name} | {length:,} tokens, {self.engine.kv_bytes / 2**20:.0f} MB KV"

    def _wants_tour(self) -> bool:
        if self.settings.tour is not None:
            return self.settings.tour
        if not self.typed or self.chosen or self.settings.documents:
            return False
        try:
            answer = self.reader.read("A two-minute tour first? [Y/n] ")
        except KeyboardInterrupt:
            return False
        return answer is not None and answer.strip().lower() in ("", "y", "yes")

    def _tour(self) -> None:
        tour = shipped_tour()
        self._add(Document(id=tour.title, text=tour.text))
        self.console.print(Text(f"  {tour.text}", "italic"))
        for number, stop in enumerate(tour.stops, start=1):
            self.console.print(f"\n{number}/{len(tour.stops)}  {stop.look}", style="bold")
            self.console.print(Text(f"you> {stop.ask}"))
            self._turn(stop.ask)
        self.console.print("\nYour turn: ask about the library, or /docs FILE.", style="bold")

    def _command(self, entry: str) -> None:
        name, _, rest = entry.partition(" ")
        rest = rest.strip()
        if name == "/help":
            table = Table(box=None, show_header=False, pad_edge=False)
            for key, what in COMMANDS.items():
                table.add_row(Text(f"  {key}", "bold"), Text(what))
            self.console.print(table)
        elif name == "/trace":
            self._show_trace()
        elif name in ("/docs", "/chain") and not rest:
            self._complain(f"{name} needs a file, as in: {name} notes.txt")
        elif name == "/docs":
            self._guarded(lambda: self._add_file(Path(rest).expanduser()))
        elif name == "/chain":
            self._guarded(lambda: self._change(rest))
        else:
            self._complain(f"unknown command {name}; /help lists them")

    def _guarded(self, action: object) -> None:
        try:
            action()  # type: ignore[operator]
        except (IntrinsicsError, ChainError) as error:
            self._complain(str(error))

    def _complain(self, message: str) -> None:
        self.console.print(Text(f"  ! {message}", "bright_red"))

    def _add_file(self, path: Path) -> None:
        from .commands.run import read_document

        self._add(Document.model_validate(read_document(path)))

    def _add(self, document: Document) -> None:
        self.conversation.add_documents([document])
        self.console.print(Text(f"  + {document.id}: {len(document.text):,} characters", DIM))
        if not self.chosen:
            self._change(WITH_DOCUMENTS)
            self.chosen = False

    def _change(self, source: str) -> None:
        chain = Chain.load(source, catalogue=self.engine.catalogue)
        if chain.name != self.chain.name:
            self.chain, self.chosen = chain, True
            self.console.print(Text(f"  chain: {chain.name}", EDGE))

    def _turn(self, text: str) -> None:
        """One run. Ctrl-C stops it; the conversation is then as before."""
        given = RunInput(messages=(Message(role="user", content=text),))
        try:
            asyncio.run(self._show(given))
        except KeyboardInterrupt:
            self.console.print(Text("\n  stopped; nothing of this turn was kept", DIM))
        except (IntrinsicsError, ChainError) as error:
            self._complain(str(error))

    async def _show(self, given: RunInput) -> None:
        costs, self.trace = Costs(), []
        shown: list[Shown] = []
        wrap = WordWrap(self.console.width, indent=2)
        stream = self.chain.stream(self.engine, given, self.conversation, self._answer)
        async for event in _closing(stream):
            self.trace.append(event)
            if isinstance(event, ev.Token):
                self._write(wrap.push(event.text))
            elif isinstance(event, ev.VerdictReached):
                shown.append(self._shown(event))
                costs.verdicts += 1
                costs.reused += int(event.ledger["reused"] or 0)
                costs.computed += int(event.ledger["computed"] or 0)
            elif isinstance(event, ev.NodeFinished):
                self._finished(event, wrap, shown)
                shown = []
            elif isinstance(event, ev.EdgeTaken) and event.condition:
                self._edge(event)
            elif isinstance(event, ev.RunFinished):
                costs.seconds = float(event.ledger["seconds"] or 0)
                costs.base = int(event.ledger["computed"] or 0) - costs.computed
        self._costs(costs)

    def _finished(self, event: ev.NodeFinished, wrap: WordWrap, shown: list[Shown]) -> None:
        if event.kind == "turn":
            self._write(wrap.flush() + "\n")
        elif event.kind == "say":
            self.console.print(Text(f"  {event.output}"))
        elif shown:
            forwards = event.ledger["forwards"]
            note = f"{forwards} forward" if forwards else "same forward"
            for line in badges(shown, self.console.width, self.glyphs, note):
                self.console.print(line)

    def _edge(self, event: ev.EdgeTaken) -> None:
        operands = f" ({event.operands})" if event.operands else ""
        line = Text(f"  {self.glyphs.arrow} {event.target}", EDGE)
        line.append(f"  {event.condition}{operands}", DIM)
        line.truncate(self.console.width, overflow="ellipsis")
        self.console.print(line)

    def _costs(self, costs: Costs) -> None:
        if costs.verdicts:
            self.console.print(
                Text("  ") + tape(costs, min(60, self.console.width - 4), self.glyphs)
            )
        self.console.print(Text("  ") + figures(costs, self.glyphs))
        self.total.add(costs)

    def _shown(self, event: ev.VerdictReached) -> Shown:
        positive = self.engine.catalogue.get(event.intrinsic).output.positive
        return replace(
            in_words(event.value, event.distribution, positive), intrinsic=event.intrinsic
        )

    async def _answer(self, question: str) -> str:
        self.console.print(Text(f"  {question}"))
        answer = await self.reader.read_answer("you> ")
        return answer or "(no answer)"

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()

    def _show_trace(self) -> None:
        if not self.trace:
            self._complain("there was no run yet; say something first")
            return
        table = Table(box=None, pad_edge=False, header_style=DIM)
        for title in ("node", "kind", "reused", "computed", "then"):
            table.add_column(title, justify="right" if title in ("reused", "computed") else "left")
        rows: list[list[str]] = []
        for event in self.trace:
            if isinstance(event, ev.NodeFinished):
                ledger = event.ledger
                rows.append([event.node, event.kind, f"{ledger['reused']:,}"])
                rows[-1] += [f"{ledger['computed']:,}", ""]
            elif isinstance(event, ev.EdgeTaken) and rows:
                reason = f": {event.operands or event.condition}" if event.condition else ""
                rows[-1][-1] = f"{event.target}{reason}"
        for row in rows:
            table.add_row(*map(Text, row))
        self.console.print(table)


async def _closing(stream: AsyncIterator[ev.Event]) -> AsyncIterator[ev.Event]:
    """Give up the run at once when the reading of its events ends early."""
    try:
        async for event in stream:
            yield event
    finally:
        await stream.aclose()  # type: ignore[attr-defined]
