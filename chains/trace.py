"""What a run did, as a table: its nodes, what each gave, which edge was taken and why, the cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from . import events as ev
from .render import ACCENT, DIM, EDGE, Glyphs, harmless
from .short import in_short

_NARROW = 64  # columns; below, kind and time are left out
_TEXT_CHARACTERS = 160


def trace_table(events: Sequence[ev.Event], width: int, glyphs: Glyphs) -> Table:
    """A row for each node that finished, the edge it was left by below its output."""
    wide = width >= _NARROW
    table = Table(box=None, pad_edge=False, header_style=DIM, padding=(0, 2, 0, 0))
    table.add_column("node", style="bold", no_wrap=True)
    if wide:
        table.add_column("kind", style=DIM, no_wrap=True)
    table.add_column("output, and the edge taken", overflow="fold", ratio=1)
    for title in ("reused", "computed", *(["ms"] if wide else [])):
        style = ACCENT if title == "computed" else ""
        table.add_column(title, justify="right", style=style, no_wrap=True)
    for index, event in enumerate(events):
        if isinstance(event, ev.NodeFinished):
            output = _output(event)
            edge = _edge_after(events[index + 1 :])
            if edge is not None:
                output.append("\n").append_text(_edge(edge, glyphs))
            table.add_row(*_cells(event, output, wide))
    return table


def _cells(event: ev.NodeFinished, output: Text, wide: bool) -> list[str | Text]:
    ledger = event.ledger
    name = f"{event.branch}/{event.node}" if event.branch else event.node
    cells: list[str | Text] = [name, output]
    cells += [f"{ledger['reused']:,}", f"{ledger['computed']:,}"]
    if wide:
        cells.insert(1, event.kind)
        cells.append(f"{float(ledger['seconds'] or 0) * 1000:,.0f}")
    return cells


def _output(event: ev.NodeFinished) -> Text:
    if event.kind == "check" and isinstance(event.output, Mapping):
        return Text(", ".join(_verdict(name, told) for name, told in event.output.items()))
    return Text(_shortened(event.output))


def _shortened(value: Any) -> str:
    return harmless(in_short(value, _TEXT_CHARACTERS))


def _verdict(name: str, told: Mapping[str, Any]) -> str:
    value = told["value"]
    if isinstance(value, float):
        return f"{name} {value:.2f}"
    if not told["distribution"]:  # a text
        return f"{name} {in_short(value, _TEXT_CHARACTERS)!r}"
    label = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{name} {label} {told['distribution'][label]:.2f}"


def _edge_after(events: Sequence[ev.Event]) -> ev.EdgeTaken | None:
    """The edge that was taken next."""
    return next((event for event in events if isinstance(event, ev.EdgeTaken)), None)


def _edge(edge: ev.EdgeTaken, glyphs: Glyphs) -> Text:
    line = Text.assemble((f"{glyphs.arrow} {edge.target}", EDGE))
    if edge.condition:
        line.append(f"  {edge.condition}", DIM)
    if edge.operands:
        line.append(f"  ({_shortened(edge.operands)})", DIM)
    return line
