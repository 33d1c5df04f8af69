"""`chains trace`: a run as a page, from its events or from its record."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from intrinsics.catalogue import Catalogue

from ..errors import InputError, OutputError
from ..events import Event
from ..model import ChainModel
from ..tracing import log
from ..tracing import record as recorded
from .common import AllowOption, FoldersOption
from .named import load
from .runs import opened


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        epilog="Examples: chains trace run.jsonl --chain guarded_chat --html run.html; "
        "chains trace RUN --record runs.db --html run.html",
    )(trace)


def trace(
    run: Annotated[
        str,
        typer.Argument(
            metavar="FILE.jsonl|RUN",
            help='What chains run --events wrote ("-": stdin); with --record, a run\'s id.',
        ),
    ],
    html: Annotated[Path, typer.Option("--html", metavar="FILE", help="The page to write.")],
    chain: Annotated[
        str | None,
        typer.Option("--chain", help="The chain whose events these are: a file or a name."),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option("--record", metavar="DB", help="The file in which the run is recorded."),
    ] = None,
    folders: FoldersOption = None,
    allow: AllowOption = None,
) -> None:
    """Write a run as one page: path, timeline, verdicts, tokens, prompts. It needs no network."""
    from ..tracing import page  # jinja2, which few commands need

    events, model = _told(run, chain, record, folders, allow)
    text = page.render(events, model)
    try:
        html.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"--html {html}: can't be written ({error})") from error


def _told(
    run: str,
    chain: str | None,
    record: Path | None,
    folders: list[Path] | None,
    allow: list[Path] | None,
) -> tuple[list[Event], ChainModel]:
    """The events and the chain. Raises: InputError, StoreError."""
    if record is not None:
        if chain is not None:
            raise InputError("a record knows the chain of its runs; leave --chain out")
        with opened(record) as store:
            return recorded.told(store, run)
    if chain is None:
        raise InputError(
            f"{run}: name the chain whose events these are by --chain, or give --record"
        )
    catalogue = Catalogue(folders or ())
    loaded = load(chain, catalogue, None, allow)
    return log.read(_lines(run), "stdin" if run == "-" else run), loaded.model


def _lines(file: str) -> list[str]:
    """Raises: InputError."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{file}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as UTF-8 text ({error})") from error
    return text.splitlines(keepends=True)
