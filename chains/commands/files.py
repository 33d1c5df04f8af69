"""`chains validate`, `graph` and `schema`: chains as files, without a model."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer

from intrinsics.catalogue import Catalogue

from ..errors import ChainDefinitionError, InputError
from .common import (
    AllowOption,
    FoldersOption,
    FunctionsOption,
    JsonOption,
    errors,
    functions_of,
    print_json,
    shows_unicode,
)
from .named import ChainArgument, load


class Format(StrEnum):
    """How a drawing is written."""

    mermaid = "mermaid"
    dot = "dot"
    svg = "svg"
    ascii = "ascii"


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(epilog="Example: chains validate my_chain.yaml guarded_rag")(validate)
    app.command(epilog="Example: chains graph guarded_rag --format svg > guarded_rag.svg")(graph)
    app.command(epilog="Example: chains schema > chain.schema.json")(schema)


def validate(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE.yaml|NAME|MODULE:CLASS...",
            help="YAML files, names of shipped chains, or definitions in Python modules.",
        ),
    ],
    folders: FoldersOption = None,
    functions: FunctionsOption = None,
    allow: AllowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check chains: every fault with file, line and column. Exits 0 if there is none, else 1.

    Calls of Python functions are checked with --functions only: nothing is imported without it.
    """
    catalogue = Catalogue(folders or ())
    calls = functions_of(functions) if functions else None
    faults: list[dict[str, object]] = []
    for file in files:
        try:
            load(file, catalogue, calls, allow)
        except ChainDefinitionError as error:
            faults += [vars(fault) for fault in error.faults]
            if not as_json:
                errors.print(str(error), markup=False)
        except InputError as error:
            faults.append({"file": file, "message": str(error)})
            if not as_json:
                errors.print(str(error), markup=False)
        else:
            if not as_json:
                typer.echo(f"{file}: fine")
    if as_json:
        print_json({"faults": faults})
    if faults:
        raise typer.Exit(1)


def graph(
    chain: ChainArgument,
    format_: Annotated[
        Format, typer.Option("--format", help="Text for Mermaid or Graphviz, or a drawing of ours.")
    ] = Format.mermaid,
    folders: FoldersOption = None,
    allow: AllowOption = None,
) -> None:
    """Draw a chain: what is drawn is what runs. Dashed arrows close loops."""
    catalogue = Catalogue(folders or ())
    loaded = load(chain, catalogue, None, allow)
    draw: dict[Format, Callable[[], str]] = {
        Format.mermaid: loaded.mermaid,
        Format.dot: loaded.dot,
        Format.svg: loaded.svg,
        Format.ascii: lambda: loaded.ascii(plain=not shows_unicode()),
    }
    typer.echo(draw[format_](), nl=False)


def schema() -> None:
    """Print the JSON Schema of a chain's YAML, with which editors complete and check it."""
    from ..yaml_schema import yaml_schema  # pydantic's generator, which nothing else needs

    print_json(yaml_schema())
