"""`chains test`: run the cases beside a chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from intrinsics.catalogue import Catalogue

from .common import (
    AllowOption,
    FoldersOption,
    FunctionsOption,
    JsonOption,
    ModelOption,
    functions_of,
    load_engine,
    print_json,
)

if TYPE_CHECKING:
    from intrinsics.engine import Engine

    from ..testing.cases import Cases, Verdict


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog="Example: chains test guarded.yaml")(test)


def test(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="NAME.test.yaml, or the chain it stands beside."),
    ],
    model: ModelOption = None,
    folders: FoldersOption = None,
    functions: FunctionsOption = None,
    allow: AllowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the cases of chains: scripted ones without a model, the others on it.

    The exit code is 1 if a case fails.
    """
    from ..testing.cases import Cases

    calls = functions_of(functions or ())
    catalogue = Catalogue(folders or ())
    loaded = [Cases.load(file, catalogue, calls, allow or ()) for file in files]
    needed = any(one.needs_model for one in loaded)
    engine = load_engine(model, folders) if needed else None
    told = [_run(one, engine, shown=not as_json) for one in loaded]
    if as_json:
        print_json({"files": told, "passed": all(one["passed"] for one in told)})
    if not all(one["passed"] for one in told):
        raise typer.Exit(1)


def _run(cases: Cases, engine: Engine | None, *, shown: bool) -> dict[str, Any]:
    console = Console(highlight=False, soft_wrap=True, quiet=not shown)
    console.print(Text(_short(cases.file), "bold"))
    verdicts = []
    for name in cases.cases:
        verdict = cases.run(name, engine)
        verdicts.append(verdict)
        _show(console, verdict)
    left = cases.never_taken(verdicts)
    edges = len({(edge.source, edge.target) for edge in cases.chain.model.flow})
    if left:
        some = "edge was" if len(left) == 1 else "edges were"
        console.print(
            Text(f"  {len(left)} of {edges} {some} never taken: {', '.join(left)}", "dim")
        )
    return {
        "file": str(cases.file),
        "passed": not any(one.faults for one in verdicts),
        "cases": [{"case": one.case, "faults": list(one.faults)} for one in verdicts],
        "edges": edges,
        "never_taken": left,
    }


def _show(console: Console, verdict: Verdict) -> None:
    word, style = ("failed", "bold red") if verdict.faults else ("passed", "green")
    console.print(Text.assemble("  ", (word, style), f"  {verdict.case}"))
    for fault in verdict.faults:
        for line in fault.splitlines():
            console.print(f"          {line}", markup=False)


def _short(path: Path) -> str:
    """Relative to here, where that is shorter."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
