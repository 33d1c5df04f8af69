"""`chains bench`: measured comparisons, each in one process run."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .common import JsonOption, loading_bar, print_json, quieten

group = typer.Typer(no_args_is_help=True, help="Measure against PEFT, in one process run.")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.add_typer(group, name="bench")


@group.callback()
def _bench() -> None:
    """Measure against PEFT, in one process run."""


@group.command(epilog="Example: chains bench fanout --context 4096 --adapters 8 --json")
def fanout(
    context: Annotated[int, typer.Option(help="Tokens of the shared prefix.")] = 1024,
    adapters: Annotated[int, typer.Option(help="Intrinsics on it.")] = 8,
    repetitions: Annotated[int, typer.Option(help="Of each measurement.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Time many intrinsics on one prefix: in one forward, and as PEFT does it."""
    quieten()
    from ..bench.fanout import run

    with loading_bar() as bar:
        found = run(context, adapters, repetitions, bar)
    if as_json:
        print_json(found)
        return
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    for title in (f"{adapters} intrinsics at {context} tokens", "seconds", "against ours"):
        table.add_column(title)
    for name in found["raw"]:
        seconds = found[name]
        words = name.removesuffix("_seconds").replace("_", " ")
        table.add_row(words, f"{seconds:.3f}", f"{seconds / found['ours_seconds']:.2f}")
    Console(highlight=False).print(table)
