"""A race against ordinary LoRA: a turn's verdicts again, from the KV cache and from scratch.

Ours are read in fan-outs as they were in the turn, theirs each by a prefill of its whole prompt. It
runs in a thread of its own, a short chunk at a time, and rests while a turn is running.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.text import Text

from intrinsics.errors import IntrinsicsError
from intrinsics.ledger import Ledger
from intrinsics.prove import PROBABILITY_TOLERANCE

from .errors import InputError
from .render import ACCENT, DIM, EDGE, Glyphs, bar, times

if TYPE_CHECKING:
    from intrinsics.engine import Engine
    from intrinsics.fanout import FanOut, Verdict

_BAR_CELLS = 20


class Race:
    """Ours comes first, then theirs, on one machine. Clocks count computing, and no waiting."""

    def __init__(
        self,
        engine: Engine,
        found: Sequence[FanOut],
        moved: Callable[[], None] = lambda: None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """`moved` is called after every chunk and `ended` at the end, from the race's thread.

        Fan-outs with a text, or a verdict that nobody was asked for, are left out: only what is
        scored has an equal.
        Raises: InputError: there is nothing to race for.
        """
        self._engine, self._moved, self._ended = engine, moved, ended
        self._found = [one for one in found if all(v.candidates for v in one.verdicts)]
        self.verdicts: list[Verdict] = [v for one in self._found for v in one.verdicts]
        if not self.verdicts:
            raise InputError("no verdict to race for; say something that an intrinsic judges first")
        self.ours, self.theirs = Ledger(), Ledger()
        self.total = sum(v.ledger.reused + v.ledger.computed for v in self.verdicts)
        self.apart = 0.0
        self.state = "running"
        self._free, self._stop = threading.Event(), threading.Event()
        self._free.set()
        self._thread = threading.Thread(target=self._run, name="race")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it has not come to an end."""
        return self.state == "running"

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Let it rest meanwhile; at most the chunk in work is computed to its end."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def stop(self) -> None:
        """Give it up, and wait until nothing of it is computed any more."""
        self._stop.set()
        self._free.set()
        self._thread.join()

    def wait(self) -> None:
        """Wait for its end. Raises: KeyboardInterrupt: the user does not want to."""
        while self._thread.is_alive():
            self._thread.join(0.1)

    def _run(self) -> None:
        try:
            whole = all(map(self._again, self._found)) and all(map(self._one, self.verdicts))
            self.state = "finished" if whole else "stopped"
        except Exception as error:  # nobody waits for this thread: it is told instead
            self.state = f"stopped: {error}" if isinstance(error, IntrinsicsError) else repr(error)
        self._ended()

    def _goes_on(self) -> bool:
        """Wait while it rests; False if it was given up."""
        self._free.wait()
        return not self._stop.is_set()

    def _again(self, found: FanOut) -> bool:
        """Compute some verdicts from the KV cache; False if the race was given up."""
        if not self._goes_on():
            return False
        self.ours += self._engine.again(found).ledger
        return True

    def _one(self, verdict: Verdict) -> bool:
        """Compute one verdict from scratch; False if the race was given up."""
        scratch, before = self._engine.scratch(verdict), self.theirs
        try:
            while scratch.verdict is None:
                if not self._goes_on():
                    return False
                scratch.step()
                self.theirs = before + scratch.ledger
                self._moved()
        finally:
            scratch.release()
        again = scratch.verdict.raw_distribution
        apart = (abs(p - again[label]) for label, p in verdict.raw_distribution.items())
        self.apart = max(self.apart, *apart)
        return True

    def clocks(self, glyphs: Glyphs) -> Text:
        """Both clocks on one line, as they stand."""
        ours, theirs = self.ours, self.theirs
        line = Text.assemble("race  ", ("activated ", "bold"), f"{ours.seconds:.2f} s  ")
        line.append("LoRA ", "bold").append(f"{theirs.seconds:.2f} s ", EDGE)
        line.append_text(bar(theirs.computed / self.total, _BAR_CELLS, glyphs, EDGE))
        line.append(f" {theirs.computed:,}/{self.total:,} tokens", DIM)
        return line if self._free.is_set() else line.append("  rests", DIM)

    def result(self, glyphs: Glyphs) -> list[Text]:
        """How it ended: tokens and seconds of each side, and whether the verdicts are the same."""
        ours, theirs = self.ours, self.theirs
        count = "1 verdict" if len(self.verdicts) == 1 else f"{len(self.verdicts)} verdicts"
        lines = [
            Text(f"  race for {count}", "bold"),
            _side("activated", ours, ACCENT),
            _side("LoRA", theirs, EDGE),
        ]
        if self.state != "finished":
            return [*lines, Text(f"    {self.state}", DIM)]
        slower = theirs.seconds / ours.seconds if ours.seconds else 1.0
        more = theirs.computed / ours.computed if ours.computed else 1.0
        lines[2].append(
            f"  {times(more, glyphs)} tokens, {times(slower, glyphs)} seconds", f"bold {ACCENT}"
        )
        same = self.apart <= PROBABILITY_TOLERANCE
        told = "the same verdicts" if same else "OTHER verdicts: please report this"
        return [*lines, Text(f"    {told}, probabilities apart by {self.apart:.0e}", DIM)]


def _side(name: str, cost: Ledger, style: str) -> Text:
    line = Text("    ").append(name.ljust(11), style)
    return line.append(f"{cost.computed:>8,} tokens  {cost.seconds:>8.2f} s")
