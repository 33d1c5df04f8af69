"""`chains train` and `chains eval`: make an intrinsic's adapter, and see how good it is."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .common import (
    FoldersOption,
    JsonOption,
    ModelOption,
    errors,
    load_engine,
    loading_bar,
    print_json,
)
from .text import eval_text

if TYPE_CHECKING:
    from intrinsics.data import Example
    from intrinsics.engine import Engine
    from intrinsics.evaluate import Report
    from intrinsics.spec import Definition
    from intrinsics.train import Trainer

_LOG_SECONDS = 10  # between two lines of progress where there is no terminal to draw on


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    example = "Example: chains train my_intrinsic --data train.jsonl --dev dev.jsonl --limit 800"
    app.command(epilog=example)(train)
    app.command("eval", epilog="Example: chains eval safety --data test.jsonl --json")(eval_)


def train(
    directory: Annotated[Path, typer.Argument(help="A directory with intrinsic.yaml.")],
    data: Annotated[Path, typer.Option("--data", help="Training rows, JSON Lines.")],
    dev: Annotated[Path, typer.Option("--dev", help="Development rows: the best epoch is kept.")],
    rank: Annotated[int, typer.Option(help="Rank of the adapter.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    epochs: Annotated[int, typer.Option(help="Passes over the training rows.")] = 3,
    batch_size: Annotated[int, typer.Option(help="Rows in an optimiser step.")] = 16,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    limit: Annotated[int | None, typer.Option(help="At most that many training rows.")] = None,
    dev_limit: Annotated[int | None, typer.Option(help="At most that many dev rows.")] = None,
    model: ModelOption = None,
) -> None:
    """Train an intrinsic's adapter; a killed training goes on when it is started again."""
    from intrinsics.data import balanced, read_examples
    from intrinsics.spec import Definition
    from intrinsics.train import Trainer, TrainSettings

    definition = Definition.load(directory)
    labels = definition.output.labels
    rows, dev_rows = read_examples(data, labels), read_examples(dev, labels)
    rows = balanced(rows, limit, seed) if limit else rows
    dev_rows = balanced(dev_rows, dev_limit, seed) if dev_limit else dev_rows
    settings = TrainSettings(
        rank=rank,
        alpha=float(rank),
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
    )
    engine = load_engine(model, None)
    _draw(Trainer(engine, definition, rows, dev_rows, settings))
    if definition.output.type == "text":
        errors.print(f"{directory / 'adapter'} is written")
        return
    temperature = _calibrate(engine, definition, dev_rows)
    errors.print(f"{directory / 'adapter'} is written; temperature {temperature:.2f} fits dev")


def _draw(trainer: Trainer) -> None:
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as bar:
        tasks = {
            phase: bar.add_task(phase, total=None, note="", visible=False)
            for phase in ("prefixes", "step", "dev")
        }
        told = 0.0
        for record in trainer.run():
            note = "" if record.loss is None else f"loss {record.loss:.3f}"
            if record.accuracy is not None:
                note += f", accuracy {record.accuracy:.3f}{' (best)' if record.best else ''}"
                errors.print(f"epoch {record.done}: dev {note}")
            elif not errors.is_terminal and time.monotonic() - told > _LOG_SECONDS:
                told = time.monotonic()
                errors.print(f"{record.phase} {record.done} of {record.total} {note}")
            bar.update(
                tasks[record.phase],
                completed=record.done,
                total=record.total,
                note=note,
                visible=True,
            )


def _calibrate(engine: Engine, definition: Definition, rows: list[Example]) -> float:
    """Fit the temperature on the development rows and write it into intrinsic.yaml."""
    from intrinsics.evaluate import distributions, fit_temperature

    with loading_bar() as bar:
        found = []
        for i, raw in enumerate(distributions(engine, definition, rows), start=1):
            found.append(raw)
            bar("calibrating on dev", i / len(rows))
    temperature = round(fit_temperature(found, [row.label for row in rows]), 3)
    write_temperature(definition.directory / "intrinsic.yaml", temperature)
    return temperature


def write_temperature(path: Path, temperature: float) -> None:
    """Set calibration.temperature; comments and order stay, and the file is replaced as a whole."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1000
    data = yaml.load(path.read_text(encoding="utf-8"))
    data["calibration"] = {"temperature": temperature}
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=".intrinsic-", delete=False, encoding="utf-8"
    ) as file:
        yaml.dump(data, file)
    Path(file.name).chmod(0o644)
    os.replace(file.name, path)


def eval_(
    intrinsic: Annotated[str, typer.Argument(help="A name, or a directory with intrinsic.yaml.")],
    data: Annotated[Path, typer.Option("--data", help="Labelled rows, JSON Lines.")],
    model: ModelOption = None,
    folders: FoldersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score an intrinsic on labelled data, with 95 % bootstrap intervals."""
    from intrinsics.catalogue import Catalogue
    from intrinsics.data import read_examples
    from intrinsics.evaluate import evaluate

    definition = Catalogue(folders or ()).get(intrinsic)
    rows = read_examples(data, definition.output.labels)
    engine = load_engine(model, folders)
    if definition.output.type == "text":
        eval_text(engine, definition, rows, as_json)
        return
    with loading_bar() as bar:
        report = evaluate(engine, definition, rows, bar)
    if as_json:
        print_json(report.to_dict())
    else:
        _show(report)


def _show(report: Report) -> None:
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    for title in ("metric", "value", "95 % interval"):
        table.add_column(title)
    for name, interval in report.confidence_intervals.items():
        value = getattr(report, name)
        told = "undefined (one class)" if value is None else f"{value:.3f}"
        table.add_row(
            name, told, "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
        )
    table.add_row("majority", f"{report.baseline_majority:.3f}", "always the commonest label")
    console = Console(highlight=False)
    console.print(f"{report.n} rows, {report.seconds:.0f} s")
    console.print(table)
    for source, scores in report.by_source.items():
        words = ", ".join(f"{key} {value:.3g}" for key, value in scores.items())
        console.print(f"  {source}: {words}", style="bright_black")
