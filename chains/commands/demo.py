"""`chains demo`: talk to the model while intrinsics judge every turn."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from .common import (
    DocumentsOption,
    FoldersOption,
    ModelOption,
    load_engine,
    tolerate_foreign_text,
)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog="Example: chains demo --docs handbook.md")(demo)


def demo(
    chain: Annotated[
        str | None,
        typer.Option("--chain", "-c", metavar="FILE|NAME", help="A YAML file or a shipped chain."),
    ] = None,
    documents: DocumentsOption = None,
    tour: Annotated[
        bool | None, typer.Option("--tour/--no-tour", help="A two-minute tour before the chat.")
    ] = None,
    model: ModelOption = None,
    folders: FoldersOption = None,
) -> None:
    """Chat with the base model while intrinsics judge each turn on its own KV cache."""
    tolerate_foreign_text()
    engine = load_engine(model, folders)
    from intrinsics.checkpoint import DEFAULT_NAME  # torch, which is loaded by now

    from ..console import Session, Settings  # as above

    settings = Settings(
        state=state_directory(),
        chain=chain,
        documents=tuple(documents or ()),
        tour=tour,
        model_name=Path(model).name if model else DEFAULT_NAME,
    )
    Session(engine, settings, sys.stdin, sys.stdout).talk()


def state_directory() -> Path:
    """Where the history of entries is kept."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "alora-chains"
