"""`chains train`: make an intrinsic's adapter."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from .calibrate import fit_and_write, show
from .common import ModelOption, errors, load_engine

if TYPE_CHECKING:
    from intrinsics.train import Trainer

_LOG_SECONDS = 10  # between two lines of progress where there is no terminal to draw on


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    examples = (
        "Example: chains train my_intrinsic --data train.jsonl --dev dev.jsonl --limit 800",
        "Two that read the same conversations, each prefix computed once: chains train tone topic "
        "--data tone.jsonl --dev tone_dev.jsonl --data topic.jsonl --dev topic_dev.jsonl",
    )
    app.command(epilog="\n\n".join(examples))(train)


def train(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIRECTORY...", help="Each with an intrinsic.yaml.")
    ],
    data: Annotated[
        list[Path],
        typer.Option("--data", help="Training rows, JSON Lines; one for each directory, in order."),
    ],
    dev: Annotated[
        list[Path],
        typer.Option("--dev", help="Development rows, likewise: the best epoch on them is kept."),
    ],
    rank: Annotated[int, typer.Option(help="Rank of the adapter.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    epochs: Annotated[int, typer.Option(help="Passes over the training rows.")] = 3,
    batch_size: Annotated[int, typer.Option(help="Rows in an optimiser step.")] = 16,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    limit: Annotated[int | None, typer.Option(help="At most that many training rows.")] = None,
    dev_limit: Annotated[int | None, typer.Option(help="At most that many dev rows.")] = None,
    cache_memory: Annotated[
        float, typer.Option(metavar="GIB", help="Of prefixes kept in memory; more go to a file.")
    ] = 6.0,
    cache_disk: Annotated[
        float, typer.Option(metavar="GIB", help="How large that file may be.")
    ] = 32.0,
    model: ModelOption = None,
) -> None:
    """Train adapters; a killed training goes on when it is started again."""
    from intrinsics.calibrate import check_rows
    from intrinsics.data import balanced, read_examples
    from intrinsics.prefix_cache import CacheLimits
    from intrinsics.spec import Definition
    from intrinsics.train import Task, Trainer
    from intrinsics.train_settings import TrainSettings

    if not len(directories) == len(data) == len(dev):
        raise typer.BadParameter(
            f"{len(directories)} directories, {len(data)} --data and {len(dev)} --dev; give each "
            f"directory one of both, in order"
        )
    tasks = []
    for directory, rows_file, dev_file in zip(directories, data, dev, strict=True):
        definition = Definition.load(directory)
        labels = definition.output.labels
        rows, dev_rows = read_examples(rows_file, labels), read_examples(dev_file, labels)
        rows = balanced(rows, limit, seed) if limit else rows
        dev_rows = balanced(dev_rows, dev_limit, seed) if dev_limit else dev_rows
        if definition.output.type != "text":
            check_rows(definition, [row.label for row in dev_rows])
        tasks.append(Task(definition, rows, dev_rows))
    settings = TrainSettings(
        rank=rank,
        alpha=float(rank),
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
    )
    limits = CacheLimits(int(cache_memory * 2**30), int(cache_disk * 2**30))
    engine = load_engine(model, None)
    _draw(Trainer(engine, tasks, settings, limits))
    for task in tasks:
        if task.definition.output.type == "text":
            errors.print(f"{task.definition.directory / 'adapter'} is written")
            continue
        fitting = fit_and_write(engine, task.definition, list(task.dev))
        errors.print(f"{task.definition.directory / 'adapter'} is written; calibrated on dev:")
        show(fitting, errors)


def _draw(trainer: Trainer) -> None:
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}
        told = 0.0
        for record in trainer.run():
            what = f"{record.intrinsic} {record.phase}".strip()
            note = "" if record.loss is None else f"loss {record.loss:.3f}"
            if record.accuracy is not None:
                note += f", accuracy {record.accuracy:.3f}{' (best)' if record.best else ''}"
                errors.print(f"{record.intrinsic}, epoch {record.done}: dev {note}")
            elif not errors.is_terminal and time.monotonic() - told > _LOG_SECONDS:
                told = time.monotonic()
                errors.print(f"{what} {record.done} of {record.total} {note}")
            if what not in tasks:
                tasks[what] = bar.add_task(what, note="")
            bar.update(tasks[what], completed=record.done, total=record.total, note=note)
