"""`chains resume`: a recorded run goes on, here or in another process than it began in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from intrinsics.catalogue import Catalogue

from ..chain import Chain
from ..files import Files
from ..functions import allowed
from ..loader import read
from ..recorder import began_from, resumed, source_of
from ..store import Store
from .common import (
    AllowOption,
    FoldersOption,
    FunctionsOption,
    JsonOption,
    ModelOption,
    functions_of,
    going_on,
)
from .named import load
from .run import play, ready
from .runs import RecordOption, RunArgument

ChainOption = Annotated[
    str | None,
    typer.Option(
        "--chain",
        metavar="FILE.yaml|NAME|MODULE:CLASS",
        help="Where the chain is now; without it: where it was.",
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Go on although the chain has changed since.")
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        epilog="Example: chains resume 20260131-120000123-9f86d081 --record runs.db --answer yes"
    )(resume)


def resume(
    run: RunArgument,
    record: RecordOption,
    answer: Annotated[
        str | None, typer.Option("--answer", help="The answer to what the run asks.")
    ] = None,
    ask: Annotated[
        int | None,
        typer.Option("--ask", help="Which question, where several are open: see `chains show`."),
    ] = None,
    chain: ChainOption = None,
    force: ForceOption = False,
    model: ModelOption = None,
    folders: FoldersOption = None,
    functions: FunctionsOption = None,
    allow: AllowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a recorded run: what was done is not done again.

    Prints what the run would have printed undisturbed. A run that waits for an answer takes
    --answer, or asks on a terminal; without both it goes on waiting. One that has ended is shown.
    """
    calls, catalogue = functions_of(functions or ()), Catalogue(folders or ())
    with Store.open(record, create=False) as store:
        loaded = chain_of(store, run, chain, catalogue, calls, allow or ())
        engine = ready(loaded, model, folders)
        with resumed(store, run, loaded, force=force) as recorder:
            if answer is not None:
                store.answer(run, answer, ask)
            given = recorder.given
            way = going_on(run, record, chain, model, folders, functions, allow)
            play(loaded, catalogue, engine, given, recorder, way=way, as_json=as_json)


def chain_of(
    store: Store,
    run: str,
    named: str | None,
    catalogue: Catalogue,
    calls: list[Callable[..., Any]],
    allow: Sequence[Path],
    *,
    again: bool = False,
) -> Chain:
    """The chain of a run as it is now; as it was, where its file has gone or the run has ended.

    `again`: an ended run is to be run again, so its functions are called.
    """
    source = named or source_of(store, run)
    ended = not again and store.run(run).status in ("finished", "stopped")
    if not ended and source is not None and (named or Path(source).is_file()):
        return load(source, catalogue, calls, allow)
    began = began_from(store, run)
    files = Files(Path.cwd() if began is None else Path(began).parent, tuple(allow))
    model, places = read(store.definition(run).chain_yaml, f"run {run}", files)
    return Chain(model, places, catalogue, None if ended else allowed(calls), files)
