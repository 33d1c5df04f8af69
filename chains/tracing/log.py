"""A run's events as JSON lines: one object a line, as they happen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from pydantic import TypeAdapter, ValidationError

from ..errors import InputError
from ..events import Event


def to_line(event: Event, *, plain: bool = False) -> str:
    """One event as a line without its end; `plain` writes escapes for what is not ASCII."""
    return json.dumps(event.model_dump(mode="json"), ensure_ascii=plain, allow_nan=False)


def read(lines: Iterable[str], name: str) -> list[Event]:
    """The events of one run; `name` is the file's, for errors. A last line cut short is left out.

    Raises: InputError: a line that is no event, none at all, or more runs than one.
    """
    found = list(_events(list(lines), name))
    if not found:
        raise InputError(f"{name}: holds no events; write them with chains run --events")
    runs = sorted({event.run for event in found})
    if len(runs) > 1:
        raise InputError(
            f"{name}: holds {len(runs)} runs, {', '.join(runs)}; keep the lines of one"
        )
    return found


def _events(lines: list[str], name: str) -> Iterator[Event]:
    adapter: TypeAdapter[Event] = TypeAdapter(Event)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield adapter.validate_json(line)
        except ValidationError as error:
            killed = number == len(lines) and not line.endswith("\n")
            if killed:  # the process that wrote it ended in the middle of a line
                return
            first = error.errors()[0]
            place = ".".join(str(step) for step in first["loc"])
            where = f"{name}:{number}: {place}: " if place else f"{name}:{number}: "
            raise InputError(f"{where}no event of this release: {first['msg']}") from None
