"""What a program with a mistake in it tells; run by any interpreter, so it needs only Python.

A program is a function that makes one mistake. It is given a `Told`, says there when the graph is
built and runs, and what was lost; when and by which words the mistake was noticed is found here.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

MANY = 20_000
"""Nodes after which a loop counts as endless; LangGraph's own limit is 10,007."""

TURNS, CHARACTERS = 20, 5_000
"""A conversation that is recorded: so many turns, each of a question and a reply of this size."""


@dataclass
class Told:
    """When a mistake was noticed, by which words, and what was lost by it.

    `noticed` is "load" (the graph was being built), "run", "log" (a line was logged, nothing
    else), "never", or "no such feature", where `message` says why. `bytes` is the size of a file.
    """

    noticed: str = "never"
    message: str = ""
    lost: str = ""
    bytes: int | None = None
    running: bool = field(default=False, repr=False)

    def runs(self) -> None:
        """The graph is built; what is noticed from now on is noticed at run."""
        self.running = True

    def lost_if(self, lost: bool, what: str) -> None:
        """Say what was lost."""
        if lost:
            self.lost = what


class Endless(Exception):
    """We stopped a loop that nothing else would have."""


class Steps:
    """Counts the nodes of a loop, which are what it costs."""

    def __init__(self, told: Told) -> None:
        self._told, self._count = told, 0

    def one(self) -> None:
        """One more. Raises: Endless: too many."""
        self._count += 1
        self._told.lost = f"the work of {self._count:,} nodes"
        if self._count >= MANY:
            raise Endless


Program: TypeAlias = Callable[[Told], None]


def tell(
    programs: Iterable[Program], absent: Mapping[str, str], distributions: Iterable[str]
) -> None:
    """Run the program that the command line names and print what it told, as JSON.

    `absent`: why a framework can't make a mistake at all. `distributions` have the versions told.
    """
    [name] = sys.argv[1:]
    known = {program.__name__: program for program in programs}
    told = Told("no such feature", absent[name]) if name in absent else observed(known[name])
    found = asdict(told)
    del found["running"]
    print(json.dumps({**found, "versions": {one: version(one) for one in distributions}}))


def observed(program: Program) -> Told:
    """Run a program and see when its mistake is noticed."""
    told, lines = Told(), _Lines()
    with warnings.catch_warnings(record=True) as warned, lines.kept():
        warnings.simplefilter("ignore")  # what is deprecated has nothing to do with the mistake
        warnings.simplefilter("always", UserWarning)
        try:
            program(told)
        except Exception as error:
            if not _caused_by(error, Endless):
                told.noticed = "run" if told.running else "load"
                told.message = plain(f"{type(error).__name__}: {error}")
        else:
            if said := [*lines.said, *(str(one.message) for one in warned)]:
                told.noticed, told.message = "log", plain(said[0])
    return told


def plain(message: str) -> str:
    """A message without what differs from one process to the next: folders and addresses."""
    named = re.sub(r"(?:/[^\s/:'\"]+)+/([^\s/:'\"]+\.(?:py|yaml)\b)", r"\1", message)
    return re.sub(r" at 0x[0-9a-f]+", "", named).strip()


def question_of(turn: int) -> str:
    """What is asked in a turn of the recorded conversation."""
    return f"Question {turn} ".ljust(CHARACTERS, "?")


def reply_to(question: str) -> str:
    """What is replied to it."""
    return f"Reply: {question}"


def folder() -> Path:
    """An empty folder for files of this process."""
    return Path(tempfile.mkdtemp(prefix="mistakes-"))


def size_of(path: Path) -> int:
    """Bytes of a database, with the files that SQLite keeps beside it."""
    return sum(one.stat().st_size for one in path.parent.glob(f"{path.name}*"))


def _caused_by(error: BaseException | None, kind: type[Exception]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None


class _Lines(logging.Handler):
    """Keeps what is logged as a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While this is open."""
        logging.getLogger().addHandler(self)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
