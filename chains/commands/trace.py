"""`chains trace`: a run's events as a page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from intrinsics.catalogue import Catalogue

from ..chain import Chain
from ..errors import InputError, OutputError
from .common import FoldersOption


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        epilog="Example: chains trace run.jsonl --chain guarded_chat --html run.html",
    )(trace)


def trace(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE.jsonl", help='What chains run --events wrote; "-": stdin.'),
    ],
    chain: Annotated[str, typer.Option("--chain", help="The chain that ran: a file or a name.")],
    html: Annotated[Path, typer.Option("--html", metavar="FILE", help="The page to write.")],
    folders: FoldersOption = None,
) -> None:
    """Write a run as one page: path, timeline, verdicts, tokens, prompts. It needs no network."""
    from ..tracing import log, page  # jinja2, which few commands need

    model = Chain.load(chain, catalogue=Catalogue(folders or ()), functions=None).model
    text = page.render(log.read(_lines(file), "stdin" if file == "-" else file), model)
    try:
        html.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"--html {html}: can't be written ({error})") from error


def _lines(file: str) -> list[str]:
    """Raises: InputError."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{file}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as UTF-8 text ({error})") from error
    return text.splitlines(keepends=True)
