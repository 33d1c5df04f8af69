"""`chains convert`: a chain's Python as YAML, and its YAML as Python."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from intrinsics.catalogue import Catalogue
from intrinsics.located import unknown

from ..chain import Chain
from ..dsl import Definition
from ..errors import ChainError, InputError, OutputError
from .common import AllowOption, FoldersOption


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog="Examples: chains convert booking.yaml; chains convert booking:Booking")(
        convert
    )


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE.yaml|MODULE:CLASS",
            help="A YAML file or a shipped chain; or a definition in a Python module, which is "
            "imported, from here or installed.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Where to write it. [default: stdout]"),
    ] = None,
    folders: FoldersOption = None,
    allow: AllowOption = None,
) -> None:
    """Write a chain in its other spelling: YAML as Python, Python as YAML. Nothing is lost.

    Python that is written names the functions it calls by their modules. YAML begins with the line
    by which editors find chain.schema.json beside it: `chains schema` prints that.
    """
    catalogue = Catalogue(folders or ())
    if ":" in source and not Path(source).is_file():
        from ..yaml_schema import EDITOR_LINE  # pydantic's generator

        text = EDITOR_LINE + _definition(source).chain(catalogue).to_yaml()
    else:
        from ..source import to_python  # which YAML does not need

        chain = Chain.load(source, catalogue=catalogue, functions=None, allow=allow or ())
        text = to_python(chain.model)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"-o {out}: can't be written ({error})") from error


def _definition(source: str) -> type[Definition]:
    """The class that `module:Class` names. Raises: InputError, ChainDefinitionError."""
    module, _, name = source.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = vars(import_module(module))
    except ChainError:  # a fault of a chain in it, at its line
        raise
    except Exception as error:  # whatever the module's own code raises
        raise InputError(f"{source}: {type(error).__name__}: {error}") from error
    definitions = {
        key: one
        for key, one in found.items()
        if isinstance(one, type) and issubclass(one, Definition) and one is not Definition
    }
    if name not in definitions:
        raise InputError(f"{source}: {unknown(f'definition in {module}', name, definitions)}")
    return definitions[name]
