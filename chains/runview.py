"""A run as it is shown: verdicts, the streaming reply, what was taken back, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rich.text import Text

from intrinsics.catalogue import Catalogue
from intrinsics.spec import Definition

from . import events as ev
from .chain import Chain
from .model import ChainModel, Check
from .render import (
    DIM,
    EDGE,
    Columns,
    Costs,
    Shown,
    Value,
    badges,
    figures,
    harmless,
    in_words,
    tape,
)
from .screen import Screen
from .sheet import Panel, Paper, Sheet, Slate
from .short import in_short

_TAPE_CELLS = 76
_NOTE_CHARACTERS = 300
_TAKEN_BACK = "bright_red"


class RunView:
    """Shows one run, event by event, and adds up what it cost."""

    def __init__(
        self, screen: Screen, chain: Chain, catalogue: Catalogue, panel: Panel = list
    ) -> None:
        """`panel` gives lines to show below the run while it lasts, where there is room."""
        self.screen, self._chain = screen, chain
        self.costs = Costs()
        self._definitions = definitions_of(chain.model, catalogue)
        self._columns = Columns.around(_spellings(self._definitions.values()))
        self._verdicts: list[Shown] = []
        self._spoken: list[str] = []
        self._streams, self._asked = False, False
        self._why: Text | None = None
        self._sheet: Sheet = Paper(screen)
        if screen.changeable:
            self._sheet = Slate(screen, lambda: [*panel(), *self._ledger()])

    def show(self, event: ev.Event) -> None:
        """Print what there is to see of an event; what happens inside a node is only counted."""
        if event.branch:
            self._inside(event)
            return
        match event:
            case ev.NodeStarted():
                self._started(event)
            case ev.Token() | ev.GuardTripped() | ev.RolledBack() | ev.AttemptChosen():
                self._replied(event)
            case ev.VerdictReached():
                self._judged(event)
            case ev.NodeFinished():
                self._finished(event)
            case ev.EdgeTaken():
                self._went(event)
            case ev.Asked():
                self._asked = True
                self._say(f"? {event.question}")
                self._sheet.settle()
            case ev.RunFinished():
                self.costs.seconds = event.at
                if not self._is_shown(event.output):
                    self._say(event.output)
                self._sum_up()
                self._sheet.settle()
            case _:
                pass

    def _is_shown(self, output: str) -> bool:
        """Whether what a run gives was said on the way, in one piece or one after another."""
        return " ".join(output.split()) in " ".join(" ".join(self._spoken).split())

    def _inside(self, event: ev.Event) -> None:
        if isinstance(event, ev.NodeStarted):
            self._sheet.busy(f"{event.branch}/{event.node}")
        elif isinstance(event, ev.VerdictReached):
            self._count(event)

    def stop(self, why: str = "") -> None:
        """The run is over before its end: print what there is of it, and why."""
        self._sheet.settle()
        if why:
            self.screen.note(why)

    def _started(self, event: ev.NodeStarted) -> None:
        node = self._chain.model.nodes[event.node]
        if isinstance(node, Check):
            self._sheet.busy(f"judging: {', '.join(node.intrinsics)}")
        elif event.kind == "turn":
            self._sheet.begin()
            if event.attempt > 1:
                self._note(f"attempt {event.attempt}")
            self._sheet.busy("replying")
        else:
            self._sheet.busy(event.node)

    def _judged(self, event: ev.VerdictReached) -> None:
        self._verdicts.append(self._shown(event.intrinsic, event.value, event.distribution))
        self._count(event)

    def _shown(self, name: str, value: Value, distribution: dict[str, float], **_: object) -> Shown:
        positive = self._definitions[name].output.positive
        return replace(in_words(value, distribution, positive), intrinsic=name)

    def _count(self, event: ev.VerdictReached) -> None:
        self.costs.verdicts += 1
        self.costs.reused += int(event.ledger["reused"] or 0)
        self.costs.computed += int(event.ledger["computed"] or 0)

    def _finished(self, event: ev.NodeFinished) -> None:
        if event.kind in ("turn", "say"):
            self._spoken.append(str(event.output))
        match event.kind:
            case "turn":
                if not self._streams:  # it was recalled, or something stands in its place
                    self._sheet.say(str(event.output))
                self._sheet.said()
                self._streams = False
                self._verdicts.clear()
            case "say":
                self._say(str(event.output))
            case "check":
                self._show_verdicts(event)
            case "best_of" | "subchain":
                text = event.output["text"] if event.kind == "best_of" else event.output
                if text:
                    self._spoken.append(text)
                    self._say(text)
            case "ask" if self._asked:  # who answered knows
                self._asked = False
            case _:
                self._note(f"{event.node}: {_left(event)}")

    def _replied(
        self, event: ev.Token | ev.GuardTripped | ev.RolledBack | ev.AttemptChosen
    ) -> None:
        """A piece of a reply, what a guard found of it, that it is taken back, or which is kept.

        Where an edge takes a reply back, the edge has told so already.
        """
        match event:
            case ev.Token():
                self._streams = True
                self._sheet.say(event.text)
            case ev.GuardTripped():
                found = f"{event.label} {event.p:.2f}" if event.p is not None else str(event.error)
                self._why = Text(f"  {event.guard}: {harmless(found)}; {event.then}", EDGE)
                if not self._streams or event.then == "pass":
                    self._sheet.add(self._why)
            case ev.AttemptChosen() if len(event.scores) > 1:
                self._note(f"{event.node}: attempt {event.chosen} of {len(event.scores)} is kept")
            case ev.RolledBack() if self._streams:
                self._sheet.said()
                back = Text(f"  {self.screen.glyphs.back} taken back", _TAKEN_BACK)
                self._sheet.strike(back.append_text(self._why or Text()))
                self._sheet.begin()
                self._streams = False
            case _:
                pass

    def _say(self, text: str) -> None:
        """A whole reply that no model wrote."""
        self._sheet.begin()
        self._sheet.say(text)
        self._sheet.said()

    def _note(self, text: str) -> None:
        self._sheet.add(Text(f"  {harmless(text)}", DIM))

    def _show_verdicts(self, event: ev.NodeFinished) -> None:
        shown, self._verdicts = self._verdicts, []
        if event.recalled:  # found before the run went on
            shown = [self._shown(name, **told) for name, told in event.output.items()]
        glyphs = self.screen.glyphs
        lines = badges(
            shown,
            self.screen.width,
            glyphs,
            _forwards(event.ledger, glyphs.dot),
            self._columns,
        )
        if self.screen.plain:
            lines = [Text(f"  {one.plain}") for one in shown]
        for line in lines:
            self._sheet.add(line)

    def _went(self, event: ev.EdgeTaken) -> None:
        """A way that a condition decided; the plain way on is not worth a line."""
        reason = Text(f"  {self.screen.glyphs.arrow} {event.target}", EDGE)
        if event.operands is not None:
            reason.append(f"  {event.condition}", DIM)
            telling = any(one.isdigit() for one in event.operands) or ".finish" in event.operands
            if telling:  # of labels the badge has told
                reason.append(f"  ({harmless(event.operands)})", DIM)
        if self._takes_back(event):
            back = Text(f"  {self.screen.glyphs.back} taken back", _TAKEN_BACK)
            self._sheet.strike(back.append_text(Text("  ").append_text(reason[2:])))
        elif event.operands is not None:
            self._sheet.add(reason)
        if isinstance(self._chain.model.nodes.get(event.source), Check) and not self.screen.plain:
            self._sheet.add(Text())

    def _takes_back(self, event: ev.EdgeTaken) -> bool:
        """Whether the edge undoes the last reply: it abstains, or leads back to the turn."""
        for exit_ in self._chain.plan.exits[event.source]:
            edge, way = exit_.edge, (event.target, event.condition)
            if way == (edge.target, exit_.label):
                return edge.abstain_below is not None or exit_.undoes
            if edge.or_else is not None and way == edge.spent[::-1]:
                return exit_.undoes
        return False

    def _sum_up(self) -> None:
        for line in self._ledger() if not self.screen.plain else ():
            self._sheet.add(line)
        self._sheet.add(Text("  ") + figures(self.costs, self.screen.glyphs))

    def _ledger(self) -> list[Text]:
        """The bar of reused against computed tokens, once there is something to compare."""
        if not self.costs.verdicts:
            return []
        cells = min(_TAPE_CELLS, self.screen.width - 4)
        return [Text("  ") + tape(self.costs, cells, self.screen.glyphs)]


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


def _left(event: ev.NodeFinished) -> str:
    """What a node left, on one line; of passages their ids."""
    if event.kind == "retrieve":
        return ", ".join(one["id"] for one in event.output) or "nothing"
    return in_short(event.output, _NOTE_CHARACTERS)


def _forwards(ledger: ev.LedgerData, dot: str) -> str:
    """`one forward · 94 ms`; a check that rode in an earlier one's fan-out made none."""
    count, seconds = int(ledger["forwards"] or 0), float(ledger["seconds"] or 0)
    if not count:
        return "in the same forward"
    word = "one forward" if count == 1 else f"{count} forwards"
    time = f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
    return f"{word} {dot} {time}"
