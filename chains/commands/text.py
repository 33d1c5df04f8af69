"""`chains eval` of an intrinsic that writes text: three judges of the same rows side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .common import loading_bar, print_json

if TYPE_CHECKING:
    from intrinsics.data import Example
    from intrinsics.engine import Engine
    from intrinsics.evaluate_text import TextReport
    from intrinsics.spec import Definition


def eval_text(
    engine: Engine, definition: Definition, rows: Sequence[Example], as_json: bool
) -> None:
    """Evaluate, then print a table or JSON."""
    from intrinsics.evaluate_text import evaluate_text

    with loading_bar() as bar:
        report = evaluate_text(engine, definition, rows, bar)
    if as_json:
        print_json(report.to_dict())
    else:
        show(report, Console(highlight=False))


def show(report: TextReport, console: Console) -> None:
    """The scores of the intrinsic and of the baselines, with their intervals."""
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    for title in ("metric", "intrinsic", "unchanged", "base model asked"):
        table.add_column(title)
    sides = (report.intrinsic, report.baseline_unchanged, report.baseline_prompted)
    for name in report.intrinsic.confidence_intervals:
        cells = []
        for side in sides:
            low, high = side.confidence_intervals[name]
            cells.append(f"{getattr(side, name):.3f} ({low:.3f} to {high:.3f})")
        table.add_row(name, *cells)
    console.print(f"{report.n} rows, {report.seconds:.0f} s")
    console.print(table)
    console.print(Text(f"asked: {report.question}", "bright_black"))
    for source, scores in report.by_source.items():
        words = ", ".join(f"{key} {value:.3g}" for key, value in scores.items())
        console.print(Text(f"  {source}: {words}", "bright_black"))
