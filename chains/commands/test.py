"""`chains test`: run the cases beside a chain, or make one of a recorded run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from intrinsics.catalogue import Catalogue

from ..recorder import difference_of, source_of
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
from .resume import chain_of
from .runs import opened

if TYPE_CHECKING:
    from intrinsics.engine import Engine

    from ..testing.cases import Cases, Verdict


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        epilog="Examples: chains test guarded.yaml; "
        "chains test --from-run RUN --record runs.db -o guarded.test.yaml"
    )(test)


def test(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE...", help="NAME.test.yaml, or the chain it stands beside."),
    ] = None,
    from_run: Annotated[
        str | None,
        typer.Option("--from-run", metavar="RUN", help="Make a case of this recorded run."),
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="DB", help="The file that has the run.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="NAME.test.yaml", help="Where the case is added."),
    ] = None,
    model: ModelOption = None,
    folders: FoldersOption = None,
    functions: FunctionsOption = None,
    allow: AllowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the cases of chains: scripted ones without a model, the others on it.

    A case has `given` (message, messages, documents, inputs, turns, verdicts, answers) and `expect`
    (path, output, contains, holds, status, fails): docs/testing.md. The exit code is 1 if a case
    fails. With --from-run a recorded run becomes a case, with what
    model and human said in it: it needs no model, and passes.
    """
    from ..testing.cases import Cases

    calls = functions_of(functions or ())
    catalogue = Catalogue(folders or ())
    if from_run is not None:
        if files or record is None or out is None:
            raise typer.BadParameter("give --record and -o, and no files", param_hint="--from-run")
        _keep(from_run, record, out, catalogue, calls, allow or ())
        files = [str(out)]
    if not files:
        raise typer.BadParameter("name a chain or its file of cases", param_hint="FILE")
    loaded = [Cases.load(file, catalogue, calls, allow or ()) for file in files]
    needed = any(one.needs_model for one in loaded)
    engine = load_engine(model, folders) if needed else None
    told = [_run(one, engine, shown=not as_json) for one in loaded]
    if as_json:
        print_json({"files": told, "passed": all(one["passed"] for one in told)})
    if not all(one["passed"] for one in told):
        raise typer.Exit(1)


def _keep(
    run: str,
    record: Path,
    out: Path,
    catalogue: Catalogue,
    calls: list[Callable[..., Any]],
    allow: Sequence[Path],
) -> None:
    """Write a recorded run into a file of cases. Raises: ChainError."""
    from ..testing.from_record import add, case_of

    with opened(record) as store:
        chain = chain_of(store, run, None, catalogue, calls, allow, again=True)
        difference_of(store, run, chain)
        source = source_of(store, run)
        add(case_of(store, run, chain), run, out, None if source is None else Path(source))


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
        some = "edges was" if len(left) == 1 else "edges were"
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
