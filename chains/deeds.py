"""What the console's commands do, on one chat."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from rich.text import Text

from . import saved
from .chain import shipped
from .chat import WITH_DOCUMENTS, Chat, make_ready, read_document
from .errors import InputError
from .forks import Turn
from .interrupt import Interrupt
from .kvtree import Drawing, runs_of
from .race import Race
from .reader import Reader
from .render import EDGE, harmless
from .slash import Command, Commands
from .trace import trace_table
from .why import explained

Edited = Callable[[str], str | None]
PANEL_ROWS = 5  # of the tree, below a run


class Deeds:
    """The commands, and what they keep: whether the session is over, and a race that is run."""

    def __init__(self, chat: Chat, interrupt: Interrupt, edited: Edited, chosen: bool) -> None:
        """`edited` lets the user change a text. `chosen`: the chain is the user's choice."""
        self.chat, self.screen = chat, chat.screen
        self.reader: Reader | None = None
        self.over = False
        self.race: Race | None = None
        self._interrupt, self._edited, self._chosen = interrupt, edited, chosen
        self.commands = self._table()
        chat.panel = self.panel

    def _table(self) -> Commands:
        def names() -> list[str]:
            return self.chat.forks.names

        return Commands(
            [
                Command(
                    "/docs",
                    "FILE",
                    "add a text or Markdown file to the documents",
                    lambda word: self.add_file(Path(word)),
                    file=True,
                ),
                Command(
                    "/chain",
                    "FILE",
                    "go on with another chain: a YAML file or a shipped name",
                    self._choose,
                    shipped,
                    file=True,
                ),
                Command("/fork", "[NAME]", "go on in a fork; the other stays as it is", self._fork),
                Command("/switch", "NAME", "go on in another fork", self._switch, names),
                Command(
                    "/edit", "[N]", "say message N otherwise, in a fork of its own", self._edit
                ),
                Command("/undo", "", "roll the last turn back", lambda _: self._undo()),
                Command("/why", "", "the last verdicts: what was read, what found", self._why),
                Command("/trace", "", "what the last run did: outputs, edges, tokens", self._trace),
                Command("/tree", "", "the KV tree: who shares which tokens", self._tree),
                Command(
                    "/race",
                    "[stop]",
                    "the last verdicts again, as an ordinary LoRA must",
                    self._race,
                    lambda: ["stop"],
                ),
                Command(
                    "/save",
                    "FILE",
                    "write all forks to a file",
                    lambda word: self._save(Path(word)),
                    file=True,
                ),
                Command(
                    "/load",
                    "FILE",
                    "take the forks in a file in",
                    lambda word: self._load(Path(word)),
                    file=True,
                ),
                Command("/help", "", "this list", lambda _: self._help()),
                Command("/quit", "", "leave, as Ctrl-D does", lambda _: self._quit()),
            ]
        )

    def say(self, text: str) -> bool:
        """A turn; a race rests meanwhile. Whether it was kept."""
        with self.race.resting() if self.race else nullcontext():
            return self.chat.turn(text)

    def close(self) -> None:
        """End what still runs."""
        if self.race is not None:
            self.race.stop()

    def add_file(self, path: Path) -> None:
        """Add a document; without a chain of the user's choice, change to one that reads it."""
        document = read_document(path)
        tokens = self.chat.add([document])
        self.screen.note(f"document {document.id}: {tokens:,} tokens")
        if not self._chosen and self.chat.chain.name != WITH_DOCUMENTS:
            self.chat.use(WITH_DOCUMENTS)
            self._tell_chain()

    def panel(self) -> list[Text]:
        """The KV tree as it is now, in few rows, and the clocks of a race that rests."""
        lines = self._drawn(PANEL_ROWS)
        if self.race is not None and self.race.running:
            lines.append(Text("  ").append_text(self.race.clocks(self.screen.glyphs)))
        return lines

    def _choose(self, source: str) -> None:
        self.chat.use(source)
        self._chosen = True
        self._tell_chain()

    def _tell_chain(self) -> None:
        self.screen.line(f"chain: {self.chat.chain.name}", EDGE)

    def _fork(self, name: str) -> None:
        before = self.chat.fork.name
        fork = self.chat.branch(name)
        self.screen.line(f"fork {fork.name} of {before}: {fork.conversation.length:,} tokens", EDGE)

    def _switch(self, name: str) -> None:
        self.chat.switch(name)
        self._tell_fork()

    def _tell_fork(self) -> None:
        fork = self.chat.fork
        self.screen.line(f"fork {fork.name}, {fork.conversation.length:,} tokens", EDGE)
        if fork.turns:
            self.screen.note(f"  its last message: {_short(fork.turns[-1].text)}")

    def _edit(self, word: str) -> None:
        if not word.isdecimal():
            turns = enumerate(self.chat.fork.turns, start=1)
            known = "".join(f"\n{number}  {_short(turn.text)}" for number, turn in turns)
            raise InputError(f"say which message, as in: /edit 1{known}")
        turn = self.chat.fork.turn(int(word))
        text = self._edited(turn.text)
        if text is None or text == turn.text:
            self.screen.note("nothing was changed")
            return
        before = self.chat.fork.name
        with self.race.resting() if self.race else nullcontext():
            self.chat.edit(int(word), text)
        if self.chat.fork.name != before:
            self.screen.line(f"fork {self.chat.fork.name}; {before} is as it was", EDGE)

    def _undo(self) -> None:
        turn, tokens = self.chat.undo()
        kept = self.chat.conversation.length
        line = Text(f"  {self.screen.glyphs.back} ").append(_short(turn.text), "dim strike")
        self.screen.print(line)
        self.screen.note(f"{tokens:,} tokens rolled back, {kept:,} stay")

    def _why(self, _: str) -> None:
        found = self._last().found
        if not found:
            raise InputError("no verdict is known of the last run")
        for line in explained(found, self._positive, self._decode, self.screen.glyphs):
            self.screen.print(line)

    def _positive(self, intrinsic: str) -> str | None:
        """The label that an intrinsic looks for; none where it only tells a probability."""
        output = self.chat.engine.catalogue.get(intrinsic).output
        return None if output.type == "probability" else output.positive

    def _trace(self, _: str) -> None:
        events = self._last().events
        if not events:
            raise InputError("the last turn came from a file, which does not keep what a run did")
        self.screen.print(trace_table(events, self.screen.console.width, self.screen.glyphs))

    def _last(self) -> Turn:
        if self.chat.last is None:
            raise InputError("there was no run here yet; say something first")
        return self.chat.last

    def _tree(self, _: str) -> None:
        for line in self._drawn(1000):
            self.screen.print(line)
        for fork in self.chat.forks.all():
            talk = fork.conversation
            pending = talk.length - talk.cached
            if pending:
                self.screen.note(f"{fork.name}: {pending:,} more tokens, not computed yet")

    def _drawn(self, rows: int) -> list[Text]:
        forks, glyphs = self.chat.forks, self.screen.glyphs
        readers = {fork.name: fork.conversation.branch for fork in forks.all()}
        if self.chat.trial is not None:
            readers[self.chat.fork.name] = self.chat.trial.branch
        runs = runs_of(self.chat.engine.model.tree, readers)
        width = min(self.screen.width - 1, 100)
        return Drawing(self.chat.fork.name, glyphs, self._decode, width, rows).lines(runs)

    def _decode(self, ids: list[int]) -> str:
        return harmless(str(self.chat.engine.chat.tokenizer.decode(ids)))

    def _race(self, word: str) -> None:
        if word not in ("", "stop"):
            raise InputError(f"/race begins a race and /race stop gives it up; not {word!r}")
        running = self.race is not None and self.race.running
        if word and not running:
            raise InputError("no race is running")
        if running:
            assert self.race is not None
            if not word:
                raise InputError("a race is running already; /race stop gives it up")
            self.race.stop()
            return
        reader = self.reader
        assert reader is not None, "a session has a reader"
        race = Race(
            self.chat.engine,
            self._last().found,
            moved=reader.refresh,
            ended=lambda: reader.interject(self._raced),
        )
        self.race = race
        race.start()
        if self.screen.plain:  # nobody sees a clock: wait, so that the result stands here
            try:
                race.wait()
            finally:
                race.stop()

    def _raced(self) -> None:
        assert self.race is not None
        for line in self.race.result(self.screen.glyphs):
            self.screen.print(line)

    def _save(self, path: Path) -> None:
        forks = list(self.chat.forks.all())
        saved.save(path, self.chat.engine, forks, self.chat.fork)
        turns = sum(len(fork.turns) for fork in forks)
        self.screen.note(f"saved to {path}: {_count(len(forks), 'fork')}, {_count(turns, 'turn')}")

    def _load(self, path: Path) -> None:
        forks, current, anew = saved.load(path, self.chat.engine)
        for fork in forks:
            make_ready(self.chat.engine, fork.chain)
        self.chat.take_in(forks, current)
        self._chosen = True
        self.screen.note(f"loaded {path}: {_count(len(forks), 'fork')}")
        if anew:
            self.screen.note(f"{_count(anew, 'message')} tokenised anew: saved with another model")
        self._tell_chain()
        self._tell_fork()

    def _help(self) -> None:
        self.screen.print(self.commands.help())

    def _quit(self) -> None:
        self.over = True


def _short(text: str) -> str:
    text = " ".join(harmless(text).split())
    return text if len(text) <= 60 else f"{text[:60]} ..."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
