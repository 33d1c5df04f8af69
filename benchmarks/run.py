"""Measure what the README claims: writes results/*.json and scaling.png, and prints the tables.

    python benchmarks/run.py [NAME ...]

Without a name: everything. One heavy process at a time on an otherwise idle machine; about forty
minutes on two cores. Each comparison is a `chains bench NAME --json` in a process of its own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tables import tables

from chains.bench.fanout import memory

RESULTS = Path(__file__).parent / "results"
COMPARED: dict[str, list[str]] = {
    "decode": [],
    "concurrency": [],
    "flow": [],
    "guards": [],
    "fanout": ["--context", "4096", "--adapters", "8"],
    "scaling": ["--out", os.path.relpath(RESULTS)],  # as it stands in the result
    "soak": [],
    "training": [],
}


def main(names: list[str]) -> None:
    """Run all measurements, or those named."""
    RESULTS.mkdir(exist_ok=True)
    alone: dict[str, Callable[[], object]] = {"startup": startup, "memory": memory}
    unknown = sorted(set(names) - {*alone, *COMPARED})
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; known: {', '.join([*alone, *COMPARED])}")
    for name, measure in alone.items():
        if name in (names or alone):
            _write(name, measure())
    for name, options in COMPARED.items():
        if name in (names or COMPARED):
            _write(name, compared(name, options))
    print(tables(RESULTS))


def compared(name: str, options: list[str]) -> object:
    """What `chains bench` prints, in a process of its own; its progress goes to stderr."""
    code = "from chains.cli import main; main()"
    command = [sys.executable, "-c", code, "bench", name, *options, "--json"]
    print(f"chains bench {name}", file=sys.stderr)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: object = json.loads(done.stdout)
    return found


def startup(repetitions: int = 5) -> dict[str, object]:
    """Process seconds until the engine is ready in a fresh process, imports of torch aside."""
    code = (
        "import time, torch, transformers; from transformers import AutoModelForCausalLM; "
        "started = time.process_time(); from chains.commands.common import load_engine; "
        "load_engine(None, None); print(time.process_time() - started)"
    )
    raw = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(repetitions)
    ]
    return {"ready_process_seconds": statistics.median(raw), "raw": raw}


def _write(name: str, found: object) -> None:
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
