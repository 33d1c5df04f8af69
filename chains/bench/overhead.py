"""What a node costs beside its work: ours and the peers', plain and recorded in SQLite.

Each framework runs in a process of its own, all of them alive at once and asked in turn, so that
a machine that grows slower or faster does so for all. Building a graph is not timed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from intrinsics.checkpoint import Progress
from intrinsics.errors import RequestError

from .measure import Steps, alternate, check_sizes, machine, spread
from .overhead_peers import PEERS

SIZES = (10, 100, 1000)
OURS = "chains"
KINDS = {"us_per_node": False, "us_per_node_recorded": True}
"""The figures, and whether runs are recorded for them."""

_ROOT = Path(__file__).parents[2]
_QUIET = {"HAYSTACK_TELEMETRY_ENABLED": "False", "LANGSMITH_TRACING": "false"}

Told = dict[str, Any]


class Worker:
    """A process that runs one framework's nodes on demand."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name, self._process = name, process
        told = self._read()
        self.version: str = told["version"]
        self.records: bool = told["records"]

    def microseconds(self, nodes: int, recorded: bool) -> float:
        """Of one node, in one run."""
        assert self._process.stdin is not None
        print(json.dumps({"nodes": nodes, "recorded": recorded}), file=self._process.stdin)
        self._process.stdin.flush()
        return float(self._read()) * 1e6 / nodes

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RequestError(f"{self.name} ended; what it said stands above")
        return json.loads(line)


def run(
    sizes: Sequence[int] = SIZES,
    repetitions: int = 5,
    peers_python: str | None = None,
    progress: Progress | None = None,
) -> Told:
    """Measure; the figures at the top are those of the longest chain.

    `peers_python` is an interpreter that has peers installed, this one if not given. A figure is
    None where a framework records nothing.
    Raises: RequestError: absurd sizes, no such interpreter, or a peer failed.
    """
    check_sizes(nodes=min(sizes), repetitions=repetitions)
    python = peers_python or sys.executable
    with ExitStack() as running:
        workers = [running.enter_context(_started(OURS, [sys.executable, "-m", _MODULE]))]
        workers += [
            running.enter_context(_started(peer, [python, "-P", str(_SCRIPT), peer]))
            for peer in installed(python)
        ]
        each = len(workers) + sum(worker.records for worker in workers)
        steps = Steps(progress, "measuring overhead", len(sizes) * repetitions * each)
        curve = [_point(workers, nodes, repetitions, steps) for nodes in sorted(sizes)]
        versions = {worker.name: worker.version for worker in workers}
    longest = {kind: figures(curve[-1], kind) for kind in KINDS}
    return {
        "nodes": curve[-1]["nodes"],
        **{kind: found[OURS] for kind, found in longest.items()},
        "peers": {
            name: {kind: found[name] for kind, found in longest.items()}
            for name in versions
            if name != OURS
        },
        "curve": curve,
        "versions": versions,
        "repetitions": repetitions,
        "machine": machine(),
    }


def installed(python: str) -> list[str]:
    """The peers that an interpreter has. Raises: RequestError: it can't be run."""
    distributions = {peer: framework.distribution for peer, framework in PEERS.items()}
    try:
        found = subprocess.run(
            [python, "-c", _LISTING, *distributions.values()], capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise RequestError(f"--peers-python {python}: {error}") from error
    there = json.loads(found.stdout)
    return [peer for peer, distribution in distributions.items() if distribution in there]


def figures(point: Mapping[str, Any], kind: str) -> dict[str, float | None]:
    """The median microseconds of each framework at one size."""
    return {name: one and one["median"] for name, one in point[kind].items()}


def _point(workers: list[Worker], nodes: int, repetitions: int, steps: Steps) -> Told:
    """Every framework at one size, plain and recorded, in turn."""
    point: Told = {"nodes": nodes}
    for kind, recorded in KINDS.items():
        able = [worker for worker in workers if worker.records or not recorded]
        jobs = {one.name: partial(one.microseconds, nodes, recorded) for one in able}
        raw = alternate(jobs, repetitions, steps)
        point[kind] = {
            one.name: {**spread(raw[one.name]), "raw": raw[one.name]} if one in able else None
            for one in workers
        }
    return point


@contextmanager
def _started(name: str, command: list[str]) -> Iterator[Worker]:
    pipe = subprocess.PIPE
    env = {**os.environ, **_QUIET}
    if name == OURS:
        env["PYTHONPATH"] = str(_ROOT)  # this checkout, wherever we were started
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env) as process:
        try:
            yield Worker(name, process)
        finally:
            process.kill()


_MODULE = f"{__package__}.overhead_ours"
_SCRIPT = Path(__file__).with_name("overhead_peers.py")
_LISTING = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = []
for name in sys.argv[1:]:
    try:
        version(name)
        found.append(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""
