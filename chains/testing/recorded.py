"""A run with all its events, to say what should have happened."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import events as ev
from ..errors import ChainRunError, ScriptError
from ..model import END, START
from ..runner import Answer, Run, RunResult, summed_up

if TYPE_CHECKING:
    from ..chain import Chain
    from ..inputs import RunInput

_VARIES = ("run", "at", "began", "ledger")


@dataclass(frozen=True)
class Recorded:
    """A run's events, its result or the failure that ended it, and what conditions read then."""

    events: tuple[ev.Event, ...]
    result: RunResult | None
    state: Mapping[str, Any]
    failure: ChainRunError | None = None

    @property
    def path(self) -> tuple[str, ...]:
        """The nodes in the order they began, those inside others left out."""
        started = (one for one in self.events if isinstance(one, ev.NodeStarted))
        return tuple(one.node for one in started if not one.branch)

    def took(self, *path: str) -> None:
        """Raises: ScriptError: it went another way; both are told."""
        wanted = tuple(one for one in path if one not in (START, END))
        if self.path != wanted:
            told = f"; it failed: {self.failure}" if self.failure else ""
            raise ScriptError(f"the run went {_way(self.path)}, not {_way(wanted)}{told}")

    def snapshot(self) -> str:
        """The events as JSON lines, without what differs from run to run."""
        lines = (one.model_dump(mode="json", exclude=set(_VARIES)) for one in self.events)
        return "".join(json.dumps(_steady(line), ensure_ascii=False) + "\n" for line in lines)

    def matches(self, path: str | Path, *, update: bool = False) -> None:
        """Compare the snapshot with a file, or write it there with `update`.

        Raises: ScriptError: they differ, told from the first line that does; or there is no file.
        """
        path, found = Path(path), self.snapshot()
        if update:
            path.write_text(found, encoding="utf-8")
            return
        if not path.is_file():
            raise ScriptError(f"{path}: there is no such snapshot; write it with update=True")
        wanted = path.read_text(encoding="utf-8")
        if found != wanted:
            raise ScriptError(_difference(path, wanted.splitlines(), found.splitlines()))


async def record(
    chain: Chain,
    engine: Any,
    given: RunInput,
    answer: Answer | None = None,
    events: list[ev.Event] | None = None,
) -> Recorded:
    """Run a chain on a script or an engine, and keep everything. A failure is kept too.

    `events` gets them as they come: they are there even if the script is wrong.
    Raises: ScriptError: it lacks what the run asked for.
    """
    run = Run(chain, engine, given, None, answer)
    events = [] if events is None else events
    try:
        async with aclosing(run.events()) as stream:
            async for event in stream:
                events.append(event)
    except ChainRunError as error:
        return Recorded(tuple(events), None, run.frame.names, error)
    return Recorded(tuple(events), summed_up(run, events), run.frame.names)


def _way(path: Sequence[str]) -> str:
    return " -> ".join(path) or "nowhere"


def _steady(value: Any) -> Any:
    """Without the costs inside a node's output, which hold seconds; numbers to four places."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _steady(one) for key, one in value.items() if key != "ledger"}
    return [_steady(one) for one in value] if isinstance(value, list) else value


def _difference(path: Path, wanted: Sequence[str], found: Sequence[str]) -> str:
    for number, (one, other) in enumerate(zip(wanted, found, strict=False), start=1):
        if one != other:
            return f"{path}:{number}: differs\n  written: {one}\n  now:     {other}"
    return f"{path}: has {len(wanted)} events, the run had {len(found)}"
