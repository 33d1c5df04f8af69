"""A recorded run as a test case: what it was given, what model and human said, what came of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from .. import events as ev
from ..errors import InputError, OutputError
from ..inputs import RunInput
from ..store import ANSWERED
from ..tracing.record import told
from .cases import SUFFIX, Case, Cases

if TYPE_CHECKING:
    from ..chain import Chain
    from ..store import Store

_GIVEN_UP = "(given up)"
"""What stands for a reply that nobody saw: a guard put something else in its place."""


def case_of(store: Store, run_id: str, chain: Chain) -> Case:
    """The case of a run that has ended: scripted, so that it needs no model; it passes.

    Raises: UnknownRun; InputError: the run has not ended, or its record does not hold all that the
    model or a human has said, as where a guard had a reply written again.
    """
    events, _ = told(store, run_id)
    if not events or not isinstance(events[-1], ev.RunFinished | ev.RunFailed):
        raise InputError(f"run {run_id} has not ended; resume it first")
    given = RunInput.of(store.definition(run_id).input, f"run {run_id}")
    asked = {
        one.payload["ask"]: one.payload["answer"]
        for one in store.records(run_id)
        if one.kind == ANSWERED
    }
    plain: dict[str, Any] = given.model_dump(mode="json", exclude_defaults=True)
    if chain.plan.needs_model:
        plain |= {"turns": [*_turns(events)], "verdicts": _verdicts(events)}
    if asked:
        plain["answers"] = [str(asked[seq]) for seq in sorted(asked)]
    case = Case.model_validate({"given": plain, "expect": _expected(events)})
    verdict = Cases(Path(run_id), chain, {run_id: case}, chain.catalogue).run(run_id)
    if verdict.faults:
        raise InputError(
            f"run {run_id} can't be told as a test, since played again it is another: "
            + "; ".join(verdict.faults)
        )
    return case


def add(case: Case, name: str, file: Path, chain: Path | None) -> None:
    """Write a case into NAME.test.yaml, behind those that are there. `chain` is its chain's file.

    Raises: InputError: not a name of such a file, no file of cases, one of another chain, or a
    case of that name is in it; OutputError: it can't be written.
    """
    if not file.name.endswith(SUFFIX):
        raise InputError(f"{file}: a file of cases ends in {SUFFIX}")
    yaml = YAML()  # keeps what others have written, comments included
    yaml.width = 100
    data: Any = {"cases": {}}
    beside = file.with_name(f"{file.name.removesuffix(SUFFIX)}.yaml")
    if file.is_file():
        data = _read(yaml, file)
    elif chain is not None and chain.resolve() != beside.resolve():
        data = {"chain": os.path.relpath(chain, file.parent), **data}
    of = file.parent / data.get("chain", beside.name)
    if chain is not None and of.resolve() != chain.resolve():
        raise InputError(f"{file}: its cases are of {of}, but the run is one of {chain}")
    if name in data["cases"]:
        raise InputError(f"{file}: it has a case {name!r} already")
    data["cases"][name] = case.model_dump(mode="json", exclude_defaults=True)
    out = StringIO()
    yaml.dump(data, out)
    try:
        file.write_text(out.getvalue(), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{file}: can't be written ({error})") from error


def _read(yaml: YAML, file: Path) -> Any:
    try:
        data = yaml.load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise InputError(f"{file}: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("cases"), dict):
        raise InputError(f"{file}: must be a mapping with 'cases:'")
    return data


def _expected(events: list[ev.Event]) -> dict[str, Any]:
    own = (one for one in events if isinstance(one, ev.NodeStarted) and not one.branch)
    path = [one.node for one in own]
    last = events[-1]
    if isinstance(last, ev.RunFailed):
        return {"path": path, "fails": last.error}
    assert isinstance(last, ev.RunFinished)
    stopped = {"status": "stopped"} if last.stopped else {}
    return {"path": path, "output": last.output, **stopped}


def _turns(events: Iterable[ev.Event]) -> Iterator[str]:
    """The replies, in the order in which they were begun."""
    unseen: set[tuple[str, str]] = set()
    for one in _in_order(events):
        if isinstance(one, ev.GuardTripped) and one.then in ("refuse", "replace", "ask"):
            unseen.add((one.branch, one.node))
        elif isinstance(one, ev.NodeFinished) and one.kind == "turn":
            place = (one.branch, one.node)
            yield _GIVEN_UP if place in unseen else str(one.output)
            unseen.discard(place)


def _verdicts(events: Iterable[ev.Event]) -> dict[str, list[Any]]:
    """What each intrinsic found, each time it was asked."""
    found: dict[str, list[Any]] = {}
    for one in _in_order(events):
        if isinstance(one, ev.VerdictReached) and one.asked:
            found.setdefault(one.intrinsic, []).append(one.distribution or one.value)
    return found


def _in_order(events: Iterable[ev.Event]) -> list[ev.Event]:
    """What the branches of a node did at once, branch after branch: so a script is asked."""
    ordered: list[ev.Event] = []
    inside: list[ev.Event] = []
    for one in events:
        if one.branch:
            inside.append(one)
            continue
        ordered += [*sorted(inside, key=_numbers), one]
        inside = []
    return ordered


def _numbers(event: ev.Event) -> list[int]:
    """The numbers of the branches that an event is in."""
    return [int(part) for part in re.findall(r"/(\d+)", event.branch)]
