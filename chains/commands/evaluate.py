"""`chains eval`: how good an intrinsic is, in the terminal, as JSON, and as a report."""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .common import (
    FoldersOption,
    JsonOption,
    ModelOption,
    errors,
    load_engine,
    loading_bar,
    print_json,
    release,
)
from .intrinsics import adapter
from .text import eval_text

if TYPE_CHECKING:
    from intrinsics.data import Example
    from intrinsics.spec import Definition

EXAMPLE = "Example: chains eval safety --data test.jsonl --report out --against mine/safety_lora"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("eval", epilog=EXAMPLE)(eval_)


def eval_(
    intrinsic: Annotated[str, typer.Argument(help="A name, or a directory with intrinsic.yaml.")],
    data: Annotated[Path, typer.Option("--data", help="Labelled rows, JSON Lines.")],
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="DIR",
            help="Write report.html, report.json and reliability.png there, in place of an older "
            "report.",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="INTRINSIC",
            help="A second intrinsic, by name or directory, judged on the same rows: another "
            "adapter, or the same trained as an ordinary LoRA.",
        ),
    ] = None,
    model: ModelOption = None,
    folders: FoldersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score an intrinsic on labelled data, with 95 % bootstrap intervals."""
    from intrinsics.assessment import assess
    from intrinsics.catalogue import Catalogue
    from intrinsics.data import read_examples
    from intrinsics.paired import check_comparable

    catalogue = Catalogue(folders or ())
    definition = catalogue.get(intrinsic)
    other = None if against is None else catalogue.get(against)
    if other is not None:
        check_comparable(definition, other)
    rows = read_examples(data, definition.output.labels)
    if definition.output.type == "text":
        if report is not None or other is not None:
            raise typer.BadParameter(f"{definition.name} writes text: it has no report yet")
        eval_text(load_engine(model, folders), definition, rows, as_json)
        return
    with ExitStack() as stack:
        folder = None if report is None else stack.enter_context(_report_directory(report))
        engine = load_engine(model, folders)
        with loading_bar() as bar:
            found = assess(engine, definition, rows, other, bar)
        told = found.to_dict()
        same = other is not None and other.name == definition.name
        told["intrinsic"] = _summary(definition, intrinsic if same else definition.name)
        if other is not None:
            told["against"] |= _summary(other, str(against) if same else other.name)
        told["data"] = _data(data, rows)
        told["made"] = _made(_command(intrinsic, data, report, against, model, folders))
        if folder is not None:
            from ..report.folder import write

            write(told, folder)
    if as_json:
        print_json(told)
        return
    _show(told)
    if report is not None:
        errors.print(f"{report / 'report.html'} is written", markup=False)


def _report_directory(target: Path) -> AbstractContextManager[Path]:
    """Where the report is written to; what would keep it from being written is found here."""
    from ..bench.figure import check_matplotlib
    from ..report.folder import report_directory

    check_matplotlib()
    return report_directory(target)


def _command(
    intrinsic: str,
    data: Path,
    report: Path | None,
    against: str | None,
    model: str | None,
    folders: Sequence[Path] | None,
) -> str:
    """The command line, to do it again."""
    words = ["chains", "eval", intrinsic, "--data", str(data)]
    options = [("--report", report), ("--against", against), ("--model", model)]
    options += [("--intrinsics", folder) for folder in folders or ()]
    for name, value in options:
        words += [] if value is None else [name, str(value)]
    return shlex.join(words)


def _data(path: Path, rows: Sequence[Example]) -> dict[str, Any]:
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "labels": dict(Counter(row.label for row in rows)),
    }


def _made(command: str) -> dict[str, str]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"at": now, "release": release(), "command": command}


def _summary(definition: Definition, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "version": definition.version,
        "judges": definition.judges,
        "base_model": definition.base_model,
        "adapter": adapter(definition.directory / "adapter"),
    }


def _show(told: Mapping[str, Any]) -> None:
    console = Console(highlight=False)
    console.print(f"{told['n']} rows, {told['seconds']:.0f} s")
    console.print(_scores(told))
    for source, scores in told["by_source"].items():
        words = ", ".join(f"{key} {value:.3g}" for key, value in scores.items())
        console.print(Text(f"  {source}: {words}", "bright_black"))
    cost = told["cost"]
    console.print(
        f"a verdict: {cost['computed_tokens']:.0f} tokens computed, {cost['reused_tokens']:.0f} "
        f"reused, {1000 * cost['seconds']:.0f} ms (medians; 95 % within "
        f"{1000 * cost['seconds_p95']:.0f} ms)"
    )
    if told["against"] is not None:
        _show_against(console, told["intrinsic"]["name"], told["against"])


def _scores(told: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    for title in ("metric", "value", "95 % interval"):
        table.add_column(title)
    why = "one class" if told["positive"] else "no positive label"
    for name, interval in told["confidence_intervals"].items():
        value = told[name]
        shown = f"undefined ({why})" if value is None else f"{value:.3f}"
        table.add_row(name, shown, _span(interval, ".3f"))
    chance = told["ece_if_perfect"]
    perfect = f"up to {chance['at_most']:.3f} by chance on as many rows"
    table.add_row("ece if perfect", f"{chance['mean']:.3f}", perfect)
    table.add_row("majority", f"{told['baseline_majority']:.3f}", "always the commonest label")
    return table


def _show_against(console: Console, name: str, against: Mapping[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    for title in ("metric", name, against["name"], "difference", "95 % interval"):
        table.add_column(Text(title))
    paired = against["paired"]
    for metric, one in paired["differences"].items():
        theirs, value = against["report"][metric], one["value"]
        if value is not None:
            ours = f"{theirs + value:.3f}"
            table.add_row(
                metric, ours, f"{theirs:.3f}", f"{value:+.3f}", _span(one["interval"], "+.3f")
            )
    console.print(table)
    console.print(
        f"right on both sides {paired['both_right']}, on one alone {paired['only_first']} and "
        f"{paired['only_second']}, on none {paired['both_wrong']}; McNemar p = "
        f"{paired['mcnemar_p']:.3g}"
    )


def _span(interval: Sequence[float] | None, form: str) -> str:
    return "" if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}"
