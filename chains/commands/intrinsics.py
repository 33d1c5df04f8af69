"""`chains intrinsics list | show`: which intrinsics there are, and what each of them is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from intrinsics.catalogue import Catalogue
from intrinsics.spec import Definition

from .common import FoldersOption, JsonOption, print_json

group = typer.Typer(no_args_is_help=True, help="The intrinsics that can be used.")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.add_typer(group, name="intrinsics")


@group.command("list", epilog="Example: chains intrinsics list --intrinsics ./mine")
def list_(folders: FoldersOption = None, as_json: JsonOption = False) -> None:
    """List all intrinsics: name, what it judges, what it answers."""
    catalogue = Catalogue(folders or ())
    definitions = [catalogue.get(name) for name in catalogue.names()]
    if as_json:
        print_json({"intrinsics": [summary(one) for one in definitions]})
        return
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    for title in ("intrinsic", "judges", "answers"):
        table.add_column(title, overflow="fold")
    for one in definitions:
        table.add_row(Text(one.name, "bold"), Text(one.judges), Text(answers(one)))
    Console(highlight=False).print(table)


@group.command(epilog="Example: chains intrinsics show answerability")
def show(
    name: Annotated[str, typer.Argument(help="A name, or a directory with intrinsic.yaml.")],
    folders: FoldersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one intrinsic: its definition, its adapter, its card."""
    one = Catalogue(folders or ()).get(name)
    if as_json:
        print_json(summary(one))
        return
    console = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bright_black")
    table.add_column(overflow="fold")
    for key, text in details(one):
        table.add_row(key, Text(text))
    console.print(Text.assemble((one.name, "bold"), f" version {one.version}"))
    console.print(table)
    if one.instruction:
        text = (one.directory / one.instruction).read_text(encoding="utf-8")
        console.print(Text(f"\n{one.instruction}", "bright_black"))
        console.print(Syntax(text.rstrip(), "jinja", background_color="default", word_wrap=True))
    card = one.directory / "CARD.md"
    if card.is_file():
        console.print()
        console.print(Markdown(card.read_text(encoding="utf-8")))


def answers(one: Definition) -> str:
    """The output type in a few words: `safe | unsafe`, `P(correct)`, `1 to 5`, `text ...`."""
    if one.output.type == "probability":
        return f"P({one.output.positive})"
    if one.output.type == "integer":
        return f"{one.output.minimum} to {one.output.maximum}"
    if one.output.type == "text":
        return f"text of at most {one.output.max_tokens} tokens"
    return " | ".join(one.output.labels)


def details(one: Definition) -> list[tuple[str, str]]:
    """What `show` tells beside the name, as pairs."""
    rows = [
        ("judges", one.judges),
        ("answers", answers(one)),
        ("reads", f"last message: {one.reads.last}; documents: {one.reads.documents}"),
    ]
    rows += [(f"argument {key}", what) for key, what in one.arguments.items()]
    rows += [
        ("invocation", repr(one.invocation)),
        ("calibration", str(one.calibration)),
        *([("threshold", str(one.threshold))] if one.threshold is not None else []),
        ("base model", one.base_model),
        ("adapter", adapter(one.directory / "adapter")),
        ("directory", str(one.directory)),
    ]
    return rows


def adapter(directory: Path) -> str:
    """Rank, layers and size of an adapter, without loading it."""
    weights, config = directory / "adapter_model.safetensors", directory / "adapter_config.json"
    if not weights.is_file() or not config.is_file():
        return "none yet; train it with `chains train`"
    try:
        found: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        return f"{config.name} is not JSON ({error}); restore it"
    kind = "LoRA" if found.get("alora_invocation_tokens") is None else "aLoRA"
    targets = ", ".join(found.get("target_modules") or ())
    return f"{kind}, rank {found.get('r')} on {targets}, {weights.stat().st_size / 1e6:.1f} MB"


def summary(one: Definition) -> dict[str, Any]:
    """An intrinsic as JSON."""
    return {**one.model_dump(mode="json"), "directory": str(one.directory)}
