"""`chains retrieve`: the passages of a folder that a question is about, without a model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from .common import JsonOption, errors, print_json


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog='Example: chains retrieve ./docs "When does it open?" --top 3')(retrieve)


def retrieve(
    folder: Annotated[Path, typer.Argument(help="A folder of text, Markdown or PDF files.")],
    query: Annotated[str, typer.Argument(help="What to look for, in words.")],
    top: Annotated[int, typer.Option("--top", "-n", help="At most so many passages.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Find the passages of a folder that share the rarest words with a question (BM25).

    The index is kept in the cache directory and follows every change of a file.
    """
    from ..retrieval import Index  # numpy

    with warnings.catch_warnings(record=True) as skipped:
        warnings.simplefilter("always")
        index = Index.open(folder)
    for warning in skipped:
        errors.print(f"chains: {warning.message}", markup=False)
    found = index.search(query, top)
    if as_json:
        print_json({"documents": [document.model_dump() for document in found]})
        return
    console = Console(highlight=False)
    for document in found:
        console.print(Text(document.id, "bold"))
        console.print(Text(f"{document.text}\n"))
    if not found:
        errors.print(f"no passage of {folder} holds a word of the query", markup=False)
