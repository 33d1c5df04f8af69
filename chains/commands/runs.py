"""`chains runs | show | diff | prune`: recorded runs, without a model."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import StoreReadOnly
from ..short import in_short
from ..store import ENDED, STATUSES, Difference, Record, RunInfo, Status, Store
from .common import JsonOption, going_on, print_json

RecordOption = Annotated[
    Path, typer.Option("--record", metavar="DB", help="The file in which runs are recorded.")
]
INTERRUPTED = "interrupted"
"""How a run is shown that was running when its process ended."""
StatusOption = Annotated[
    list[str] | None,
    typer.Option("--status", help=f"{', '.join(STATUSES)} or {INTERRUPTED}; repeatable."),
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id.")]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_CHARACTERS = 200  # of a payload in the table; --json has all


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(epilog="Example: chains runs --record runs.db --status waiting")(runs)
    app.command(epilog="Example: chains show 20260131-120000123-9f86d081 --record runs.db")(show)
    app.command(epilog="Example: chains diff RUN OTHER_RUN --record runs.db --json")(diff)
    app.command(epilog="Example: chains prune --record runs.db --older-than 30d --dry-run")(prune)


def opened(record: Path) -> Store:
    """An existing store, for reading alone where it can't be written. Raises: StoreError."""
    try:
        return Store.open(record, create=False)
    except StoreReadOnly:
        return Store.open(record, read_only=True)


def statuses(given: Sequence[str]) -> list[Status]:
    """Those that the store knows. Raises: typer.BadParameter: not a status."""
    known = (*STATUSES, INTERRUPTED)
    unknown = [one for one in given if one not in known]
    if unknown:
        raise typer.BadParameter(
            f"{unknown[0]!r} is not one of {', '.join(known)}", param_hint="--status"
        )
    stored = {"running" if one == INTERRUPTED else one for one in given}
    return [one for one in STATUSES if one in stored]


def seconds(text: str) -> float:
    """`30d`, `12h`, `1.5w` in seconds. Raises: typer.BadParameter."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip())
    if not found:
        raise typer.BadParameter(
            f"{text!r} is not a number and s, m, h, d or w, such as 30d", param_hint="--older-than"
        )
    return float(found[1]) * _SECONDS[found[2]]


def runs(
    record: RecordOption,
    status: StatusOption = None,
    chain: Annotated[str | None, typer.Option("--chain", help="Of this chain only.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="So many at most.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List recorded runs, the newest first."""
    wanted = statuses(status) if status else None
    with opened(record) as store:
        listed = store.runs(status=wanted, chain=chain, limit=None if status else limit)
        held = ((one, store.holder(one.run_id)) for one in listed)
        found = list(islice((o for o in held if not status or _shown(*o) in status), limit))
    if as_json:
        print_json({"runs": [{**one.to_dict(), "held_by": pid} for one, pid in found]})
        return
    table = _table("run", "chain", "status", "age", "records", "fork of")
    table.columns[0].no_wrap = True  # it is there to be copied
    for one, pid in found:
        table.add_row(
            Text(one.run_id, "bold"),
            one.chain,
            _status(one, pid),
            age(time.time() - one.updated),
            f"{one.records:,}",
            f"{one.parent[-8:]} @{one.forked_at}" if one.parent else "",
        )
    _print(table if found else Text("no runs"))
    left = (INTERRUPTED, "waiting", "failed")
    if any(pid is None and _shown(one, pid) in left for one, pid in found):
        way = f"{going_on('RUN', record)} [--answer TEXT]"
        _print(Text(f"what is interrupted, waiting or failed goes on with: {way}", "bright_black"))


def show(run: RunArgument, record: RecordOption, as_json: JsonOption = False) -> None:
    """Show one run: what it was given, what happened, what was said and asked."""
    with opened(record) as store:
        info, pid = store.run(run), store.holder(run)
        definition, records = store.definition(run), store.records(run)
        asks = store.asks(run)
        heads = [one.head for one in records if one.head is not None and not one.branch]
        said = store.messages(heads[-1]) if heads else []
    if as_json:
        print_json(
            {
                "run": {**info.to_dict(), "held_by": pid},
                "input": definition.input,
                "chain_yaml": definition.chain_yaml,
                "records": [one.to_dict() for one in records],
                "messages": [{"role": one.role, "content": one.content} for one in said],
                "asks": [one.to_dict() for one in asks],
            }
        )
        return
    _print(Text.assemble((info.run_id, "bold"), f"  {info.chain}  ", _status(info, pid)))
    if info.parent:
        _print(Text(f"forked from {info.parent} after record {info.forked_at}", "bright_black"))
    table = _table("#", "node", "kind", "what", "s")
    for one in records:
        what = Text(in_short(one.payload, _CHARACTERS), overflow="fold")
        since = one.at - records[0].at
        table.add_row(str(one.seq), _place(one), one.kind, what, f"{since:.2f}")
    _print(table)
    for message in said:
        _print(Text.assemble((f"{message.role}: ", "bold"), message.content))
    for ask in asks:
        if ask.answered is None:
            _print(
                Text(
                    f"waiting for an answer to ask {ask.seq}: {in_short(ask.question, _CHARACTERS)}"
                )
            )


def diff(
    first: Annotated[str, typer.Argument(metavar="RUN", help="A run's id.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="Another's.")],
    record: RecordOption,
    as_json: JsonOption = False,
) -> None:
    """Show the first record in which two runs differ; times and costs don't count."""
    with opened(record) as store:
        found = store.diff(first, second)
    if as_json:
        print_json({"differs": found is not None, **(found.to_dict() if found else {})})
    elif found is None:
        _print(Text("the runs are the same"))
    else:
        _print(_sides(found, first, second))


def prune(
    record: RecordOption,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Not changed for 30d, 12h, 2w ..."),
    ] = None,
    status: StatusOption = None,
    keep: Annotated[
        int | None, typer.Option("--keep", min=0, help="So many of the newest of them stay.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be deleted.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete runs, and the messages and texts that no other run has.

    Without --status: those that are finished, failed or stopped. A run that is being run stays,
    and so does one from which a run that stays was forked.
    """
    if older_than is None and keep is None and not status:
        raise typer.BadParameter("say which runs: --older-than, --status or --keep")
    oldest = None if older_than is None else seconds(older_than)
    wanted = statuses(status) if status else ENDED
    with Store.open(record, create=False) as store:
        told = store.prune(older_than=oldest, status=wanted, keep=keep or 0, dry_run=dry_run)
    if as_json:
        print_json(told.to_dict())
        return
    for run in told.runs:
        _print(
            Text(f"{run.run_id}  {run.chain}  {run.status}  {age(time.time() - run.updated)} old")
        )
    for run_id, why in told.kept.items():
        _print(Text(f"{run_id}  stays: {why}", "bright_black"))
    done = "would be deleted" if dry_run else "deleted"
    _print(
        Text(
            f"{len(told.runs):,} runs, {told.messages:,} messages, {told.blobs:,} texts, "
            f"{told.bytes / 1e6:.1f} MB {done}"
        )
    )


def age(passed: float) -> str:
    """Seconds in their greatest unit: `3 h`."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if passed >= size:
            return f"{passed // size:.0f} {unit}"
    return f"{max(passed, 0):.0f} s"


def _place(record: Record) -> str:
    branch = f"{record.branch}/" if record.branch else ""
    return f"{branch}{record.node}{f' #{record.attempt}' if record.attempt > 1 else ''}"


def _status(run: RunInfo, pid: int | None) -> str:
    return _shown(run, pid) + (f" (process {pid})" if pid is not None else "")


def _shown(run: RunInfo, pid: int | None) -> str:
    return INTERRUPTED if run.status == "running" and pid is None else run.status


def _sides(found: Difference, first: str, second: str) -> Table:
    table = _table("", first, second)
    sides = [(one, None if one is None else one.to_dict()) for one in (found.first, found.second)]
    for title in ("seq", "node", "attempt", "kind"):
        table.add_row(title, *("-" if told is None else str(told[title]) for _, told in sides))
    at = [_at(None if one is None else one.payload, found.place) for one, _ in sides]
    table.add_row(
        found.place or "payload", *(Text(in_short(one, _CHARACTERS), overflow="fold") for one in at)
    )
    return table


def _at(payload: Any, place: str) -> Any:
    """What stands at a place inside a payload; all of it where that is not a plain path."""
    value = payload
    for step in place.split(".") if place else ():
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return "-" if isinstance(value, dict | list) else payload
    return value


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bright_black", padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def _print(what: Table | Text) -> None:
    Console(highlight=False, soft_wrap=isinstance(what, Text), emoji=False, markup=False).print(
        what
    )
