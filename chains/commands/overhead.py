"""`chains bench overhead`: what the loop costs at each node, without a model."""

from __future__ import annotations

from typing import Annotated

import typer

from .bench import group
from .common import JsonOption, print_json


def register(app: typer.Typer) -> None:
    """Add the command to those that measure."""
    group.command(epilog="Example: chains bench overhead --nodes 1000 --json")(overhead)


def overhead(
    nodes: Annotated[int, typer.Option(min=1, help="Calls in a row.")] = 100,
    repetitions: Annotated[int, typer.Option(min=1, help="Of each measurement.")] = 7,
    as_json: JsonOption = False,
) -> None:
    """Time nodes that do next to nothing, plain and recorded, in microseconds each."""
    from ..bench.overhead import run

    found = run(nodes, repetitions)
    if as_json:
        print_json(found)
        return
    typer.echo(f"{nodes} nodes: {found['us_per_node']:.1f} microseconds each")
    typer.echo(f"recorded: {found['us_per_node_recorded']:.1f}")
