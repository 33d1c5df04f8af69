"""A run as it is shown: verdicts, the streaming answer, the edges taken, and what it cost.

Output is only ever appended. On a terminal a spinner stands below it while nothing is printed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TextIO

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.status import Status
from rich.text import Text

from intrinsics.catalogue import Catalogue
from intrinsics.spec import Definition

from . import events as ev
from .model import ChainModel, Check
from .render import (
    ASCII,
    DIM,
    EDGE,
    UNICODE,
    Columns,
    Costs,
    Shown,
    WordWrap,
    badges,
    figures,
    in_words,
    tape,
)

_TAPE_CELLS = 76
_NOTE_CHARACTERS = 300


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
        self._status: Status | None = None

    @property
    def width(self) -> int:
        """Columns of the terminal; plain text is never broken."""
        return 10_000 if self.plain else self.console.width

    def print(self, what: RenderableType = "") -> None:
        """A renderable on lines of its own."""
        self.idle()
        self.console.print(what)

    def write(self, text: str) -> None:
        """A piece of streaming text."""
        if text:
            self.idle()
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

    def busy(self, what: str) -> None:
        """Show that something takes its time, until the next output."""
        if self.plain:
            return
        self.idle()
        self._status = self.console.status(f"[{DIM}]{escape(what)}[/]", spinner_style=DIM)
        self._status.start()

    def idle(self) -> None:
        """Take the spinner away."""
        if self._status is not None:
            self._status.stop()
            self._status = None


class RunView:
    """Shows one run, event by event, and adds up what it cost."""

    def __init__(self, screen: Screen, model: ChainModel, catalogue: Catalogue) -> None:
        self.screen, self._model = screen, model
        self.costs = Costs()
        self._definitions = definitions_of(model, catalogue)
        self._columns = Columns.around(_spellings(self._definitions.values()))
        self._verdicts: list[Shown] = []
        self._wrap = WordWrap(screen.width, indent=2)
        self._gap = "\n" if screen.plain else "\n\n"
        self._spoken = False

    def show(self, event: ev.Event) -> None:
        """Print what there is to see of an event; what happens inside a node is only counted."""
        if event.branch:
            self._inside(event)
            return
        match event:
            case ev.NodeStarted():
                self._started(event)
            case ev.Token():
                self.screen.write(self._wrap.push(event.text))
            case ev.VerdictReached():
                self._judged(event)
            case ev.NodeFinished():
                self._finished(event)
            case ev.EdgeTaken():
                self._went(event)
            case ev.Asked():
                self.screen.write(self._wrapped(event.question) + "\n")
            case ev.RunFinished():
                self.costs.seconds = event.at
                if not self._spoken and event.output:
                    self.screen.write(self._wrapped(event.output) + self._gap)
                self._sum_up()
            case _:
                pass

    def _inside(self, event: ev.Event) -> None:
        if isinstance(event, ev.NodeStarted):
            self.screen.busy(f"{event.branch}/{event.node}")
        elif isinstance(event, ev.VerdictReached):
            self._count(event)

    def _started(self, event: ev.NodeStarted) -> None:
        node = self._model.nodes[event.node]
        if isinstance(node, Check):
            self.screen.busy(f"judging: {', '.join(node.intrinsics)}")
        elif event.kind == "turn":
            if event.attempt > 1:
                self.screen.note(f"attempt {event.attempt}")
            self.screen.busy("reading")
        elif event.kind not in ("say", "ask"):
            self.screen.busy(event.node)

    def _judged(self, event: ev.VerdictReached) -> None:
        positive = self._definitions[event.intrinsic].output.positive
        words = in_words(event.value, event.distribution, positive)
        self._verdicts.append(replace(words, intrinsic=event.intrinsic))
        self._count(event)

    def _count(self, event: ev.VerdictReached) -> None:
        self.costs.verdicts += 1
        self.costs.reused += int(event.ledger["reused"] or 0)
        self.costs.computed += int(event.ledger["computed"] or 0)

    def _finished(self, event: ev.NodeFinished) -> None:
        self.screen.idle()
        self._spoken = self._spoken or event.kind in ("turn", "say")
        if event.kind == "turn":
            self.screen.write(self._wrap.flush() + self._gap)
            self._wrap = WordWrap(self.screen.width, indent=2)
        elif event.kind == "say":
            self.screen.write(self._wrapped(str(event.output)) + self._gap)
        elif event.kind == "check":
            self._show_verdicts(event)
        elif event.kind in ("best_of", "subchain"):
            text = event.output["text"] if event.kind == "best_of" else event.output
            if text:
                self._spoken = True
                self.screen.write(self._wrapped(text) + self._gap)
        elif event.kind not in ("turn", "say", "ask"):
            text = str(event.output)
            cut = f"{text[:_NOTE_CHARACTERS]} ..." if len(text) > _NOTE_CHARACTERS else text
            self.screen.note(f"{event.node}: {cut}")

    def _wrapped(self, text: str) -> str:
        wrap = WordWrap(self.screen.width, indent=2)
        return wrap.push(text) + wrap.flush()

    def _show_verdicts(self, event: ev.NodeFinished) -> None:
        shown, self._verdicts = self._verdicts, []
        if self.screen.plain:
            for one in shown:
                self.screen.line(one.plain)
            return
        glyphs = self.screen.glyphs
        note = _forwards(event.ledger, glyphs.dot)
        for line in badges(shown, self.screen.width, glyphs, note, self._columns):
            self.screen.print(line)

    def _went(self, event: ev.EdgeTaken) -> None:
        """A way that a condition decided; the plain way on is not worth a line."""
        after_check = isinstance(self._model.nodes.get(event.source), Check)
        if event.operands is not None:
            line = Text(f"  {self.screen.glyphs.arrow} {event.target}", EDGE)
            line.append(f"  {event.condition}", DIM)
            if any(character.isdigit() for character in event.operands):
                line.append(f"  ({event.operands})", DIM)
            self.screen.print(line)
        if after_check and not self.screen.plain:
            self.screen.print()

    def _sum_up(self) -> None:
        screen = self.screen
        if self.costs.verdicts and not screen.plain:
            cells = min(_TAPE_CELLS, screen.width - 4)
            screen.print(Text("  ") + tape(self.costs, cells, screen.glyphs))
        screen.print(Text("  ") + figures(self.costs, screen.glyphs))


def definitions_of(model: ChainModel, catalogue: Catalogue) -> dict[str, Definition]:
    """The intrinsics of a chain by name, in the order of its nodes."""
    return {name: catalogue.get(name) for name in model.intrinsics()}


def _spellings(definitions: Iterable[Definition]) -> Iterable[tuple[str, str]]:
    """Each intrinsic with each value it can be shown with."""
    for one in definitions:
        values = one.output.labels
        if one.output.type == "probability":
            values = (f"P({one.output.positive})",)
        elif one.output.type == "text":
            values = ("",)  # as long as it comes
        yield from ((one.name, value) for value in values)


def _forwards(ledger: ev.LedgerData, dot: str) -> str:
    """`one forward · 94 ms`; a check that rode in an earlier one's fan-out made none."""
    count, seconds = int(ledger["forwards"] or 0), float(ledger["seconds"] or 0)
    if not count:
        return "in the same forward"
    word = "one forward" if count == 1 else f"{count} forwards"
    time = f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
    return f"{word} {dot} {time}"
