"""`chains convert`: a chain's Python as YAML, and its YAML as Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from intrinsics.catalogue import Catalogue

from ..chain import Chain
from ..errors import OutputError
from .common import AllowOption, FoldersOption
from .named import definition, is_python


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
    if is_python(source):
        from ..yaml_schema import EDITOR_LINE  # pydantic's generator

        text = EDITOR_LINE + definition(source).chain(catalogue).to_yaml()
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
