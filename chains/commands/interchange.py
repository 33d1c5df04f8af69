"""`chains import` and `chains export`: adapters of PEFT in, intrinsics ready to publish out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from intrinsics.catalogue import Catalogue

from .common import FoldersOption, JsonOption, ModelOption, errors, load_engine, print_json


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    example = "Example: chains import peft_output --definition intrinsic.yaml --to my_intrinsics"
    app.command("import", epilog=example)(import_)
    example = "Example: chains export safety --to safety-alora --base-model OWNER/NAME"
    app.command("export", epilog=example)(export)


def import_(
    source: Annotated[
        Path,
        typer.Argument(metavar="PEFT_DIR", help="What PEFT's save_pretrained or an export wrote."),
    ],
    to: Annotated[
        Path,
        typer.Option("--to", metavar="FOLDER", help="A folder of intrinsics; made if need be."),
    ],
    definition: Annotated[
        Path | None,
        typer.Option(
            "--definition",
            metavar="FILE|DIR",
            help="An intrinsic.yaml, or its directory, with the instruction and CARD.md beside "
            "it. Without it: PEFT_DIR has one.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Another name than the definition says.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace an intrinsic of that name in FOLDER.")
    ] = False,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a LoRA or aLoRA of PEFT into a folder of intrinsics: checked, tried, and as a whole."""
    engine = load_engine(model, None)
    from intrinsics.interchange import import_adapter  # torch is loaded by now

    done = import_adapter(engine, source, to, definition=definition, name=name, overwrite=replace)
    if as_json:
        print_json({**vars(done), "directory": str(done.directory)})
        return
    kind = "aLoRA" if done.activated else "LoRA"
    ranks = " and ".join(map(str, done.ranks))
    typer.echo(f"{done.directory}: {kind} of rank {ranks} on {done.modules} layers")
    if done.rounding:
        errors.print(f"weights were rounded to float16, by at most {done.rounding:.1e} of a matrix")
    if not done.activated:
        errors.print("an ordinary LoRA prefills every conversation anew; an aLoRA would not")
    if done.card_written:
        errors.print("there was no CARD.md; the one written says what is not known")


def export(
    intrinsic: Annotated[str, typer.Argument(help="A name, or a directory with intrinsic.yaml.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="New, empty, or an old export.")],
    base_model: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="What the base model is called on the hub."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--license", help="Of the adapter, such as apache-2.0.")
    ] = None,
    folders: FoldersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a directory ready to publish: PEFT's files, definition, model card, sha256 sums."""
    definition = Catalogue(folders or ()).get(intrinsic)
    from intrinsics.interchange import export_intrinsic  # seconds, with torch

    done = export_intrinsic(definition, to, base_model=base_model, licence=licence)
    if as_json:
        told: dict[str, Any] = {**vars(done), "directory": str(done.directory)}
        print_json(told)
        return
    typer.echo(f"{done.directory}: {', '.join(done.sha256)}")
    for what in done.left_open:
        errors.print(f"left to say before publishing: {what}", markup=False)
