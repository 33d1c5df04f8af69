"""`chains replay` and `chains fork`: new runs that share their past with a recorded one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from intrinsics.catalogue import Catalogue

from ..replay import replayed
from ..store import Store
from .common import (
    AllowOption,
    FoldersOption,
    FunctionsOption,
    JsonOption,
    ModelOption,
    errors,
    functions_of,
    going_on,
    print_json,
)
from .resume import ChainOption, ForceOption, chain_of
from .run import play, ready
from .runs import RecordOption, RunArgument


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        epilog="Example: chains replay RUN --record runs.db --from reply --set screen='\"safe\"'"
    )(replay)
    app.command(epilog="Example: chains fork RUN --record runs.db --at 12")(fork)


def replay(
    run: RunArgument,
    record: RecordOption,
    node: Annotated[str, typer.Option("--from", metavar="NODE", help="The first to run again.")],
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=JSON",
            help="What NODE finds: an input (input.NAME), what a node left (NODE), or a verdict "
            "(NODE.INTRINSIC); repeatable.",
        ),
    ] = None,
    prompts: Annotated[
        list[str] | None,
        typer.Option("--prompt", metavar="NODE=TEXT", help="Another prompt of a turn; repeatable."),
    ] = None,
    chain: ChainOption = None,
    force: ForceOption = False,
    model: ModelOption = None,
    folders: FoldersOption = None,
    functions: FunctionsOption = None,
    allow: AllowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a recorded run again from a node on, with state or prompts edited.

    It becomes a run of its own, which shares its past with the other: the nodes before NODE are
    not run again.
    """
    given, texts = dict(_values(values or ())), dict(_pairs(prompts or (), "--prompt", "NODE=TEXT"))
    calls, catalogue = functions_of(functions or ()), Catalogue(folders or ())
    with Store.open(record, create=False) as store:
        loaded = chain_of(store, run, chain, catalogue, calls, allow or (), again=True)
        engine = ready(loaded, model, folders)
        with replayed(
            store, run, loaded, node, values=given, prompts=texts, force=force
        ) as recorder:
            errors.print(f"recorded as {recorder.run_id}", markup=False)
            edited, request = recorder.chain, recorder.given
            way = going_on(recorder.run_id, record, chain, model, folders, functions, allow)
            play(edited, catalogue, engine, request, recorder, way=way, as_json=as_json)


def fork(
    run: RunArgument,
    record: RecordOption,
    at: Annotated[
        int | None,
        typer.Option("--at", metavar="SEQ", help="The last record it shares; see `chains show`."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new run from a record of another, the last without --at; resume it to go on.

    Nothing is copied: the new run shares its past, and grows by its own records.
    """
    with Store.open(record, create=False) as store:
        made = store.run(store.fork(run, at))
    if as_json:
        print_json(made.to_dict())
    else:
        typer.echo(made.run_id)


def _pairs(given: Iterable[str], option: str, form: str) -> Iterator[tuple[str, str]]:
    """Raises: typer.BadParameter: no `=`."""
    for one in given:
        key, equals, text = one.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{one!r} is not {form}", param_hint=option)
        yield key, text


def _values(given: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Raises: typer.BadParameter: no JSON."""
    for key, text in _pairs(given, "--set", "KEY=JSON"):
        try:
            yield key, json.loads(text)
        except (ValueError, RecursionError) as error:
            raise typer.BadParameter(
                f"{text!r} is not JSON ({error}); text stands in double quotes: "
                f"{key}='{json.dumps(text)}'",
                param_hint="--set",
            ) from None
