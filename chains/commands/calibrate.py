"""`chains calibrate`: make an intrinsic's probabilities and its threshold hold on dev rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from .common import (
    FoldersOption,
    JsonOption,
    ModelOption,
    load_engine,
    loading_bar,
    print_json,
)

if TYPE_CHECKING:
    from intrinsics.calibrate import Fitting
    from intrinsics.data import Example
    from intrinsics.engine import Engine
    from intrinsics.spec import Definition


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog="Example: chains calibrate safety --dev dev.jsonl")(calibrate)


def calibrate(
    intrinsic: Annotated[str, typer.Argument(help="A name, or a directory with intrinsic.yaml.")],
    dev: Annotated[Path, typer.Option("--dev", help="Development rows, mixed as in use.")],
    model: ModelOption = None,
    folders: FoldersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit calibration and threshold of a trained intrinsic, and write them into intrinsic.yaml."""
    from intrinsics.calibrate import check_rows
    from intrinsics.catalogue import Catalogue
    from intrinsics.data import read_examples

    definition = Catalogue(folders or ()).get(intrinsic)
    rows = read_examples(dev, definition.output.labels)
    check_rows(definition, [row.label for row in rows])
    fitting = fit_and_write(load_engine(model, folders), definition, rows)
    if as_json:
        print_json({"intrinsic": definition.name, **fitting.to_dict()})
    else:
        show(fitting, Console(highlight=False))


def fit_and_write(engine: Engine, definition: Definition, rows: list[Example]) -> Fitting:
    """Judge the development rows, fit, and write the result into intrinsic.yaml.

    Raises: DataError, DefinitionError.
    """
    from intrinsics.calibrate import fit
    from intrinsics.evaluate import distributions
    from intrinsics.rewrite import write_fitting

    with loading_bar() as bar:
        found = []
        for raw in distributions(engine, definition, rows):
            found.append(raw)
            bar("calibrating on dev", len(found) / len(rows))
    fitting = fit(definition, found, [row.label for row in rows])
    write_fitting(definition.directory, fitting)
    return fitting


def show(fitting: Fitting, console: Console) -> None:
    """What was tried, what was taken, and what the threshold lets through."""
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    for title in ("method", "loss", "ECE", ""):
        table.add_column(title)
    for name, loss in fitting.loss.items():
        taken = "taken" if name == fitting.method else ""
        table.add_row(name, f"{loss:.4f}", f"{fitting.ece[name]:.3f}", taken)
    console.print(f"{fitting.n} rows, each judged by what was fitted without it")
    console.print(table)
    console.print(str(fitting.calibration))
    if fitting.threshold is not None:
        console.print(
            f"threshold: {fitting.threshold}; on these rows {fitting.false_alarms:.3f} false "
            f"alarms, {fitting.detections:.3f} found"
        )
