"""`chains demo`: talk to the model while intrinsics judge every turn."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .common import DocumentsOption, FoldersOption, ModelOption, cache_directory, load_engine


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog="Example: chains demo --docs handbook.md")(demo)


def demo(
    chain: Annotated[
        str | None, typer.Option("--chain", "-c", help="A YAML file, or a shipped chain's name.")
    ] = None,
    documents: DocumentsOption = None,
    tour: Annotated[
        bool | None, typer.Option("--tour/--no-tour", help="A two-minute tour before the chat.")
    ] = None,
    model: ModelOption = None,
    folders: FoldersOption = None,
) -> None:
    """Chat with the base model, guarded by intrinsics on its own KV cache."""
    from ..console import Session, Settings  # rich, and prompt_toolkit on a terminal

    engine = load_engine(model, folders)
    settings = Settings(chain=chain, documents=tuple(documents or ()), tour=tour)
    history = cache_directory() / "history"
    raise typer.Exit(Session(engine, settings, history, sys.stdin, sys.stdout).talk())
