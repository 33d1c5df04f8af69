"""The same mistake in five frameworks: when is it noticed, by which words, and what is lost?

    python benchmarks/mistakes.py [--peers-python PYTHON]

Runs every program of `benchmarks/mistakes/` in a process of its own, those of the peers by
PYTHON, which has them installed (`pip install alora-chains[peers]`; by default this one). Writes
results/mistakes.json and the tables of docs/mistakes.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mistakes_page import FRAMEWORKS, MISTAKES, OURS, write

HERE = Path(__file__).parent
PROGRAMS = HERE / "mistakes"
SECONDS = 120  # LangGraph takes four to run into its own limit of 10,007 steps
QUIET = {"HAYSTACK_TELEMETRY_ENABLED": "False", "LANGSMITH_TRACING": "false"}


def main(peers_python: str) -> None:
    """Run all programs and write what they tell."""
    pythons = {name: sys.executable if name == OURS else peers_python for name in FRAMEWORKS}
    told: dict[str, dict[str, Any]] = {mistake: {} for mistake in MISTAKES}
    versions: dict[str, str] = {}
    for name, python in pythons.items():
        for mistake in MISTAKES:
            print(f"{name}: {mistake}", file=sys.stderr)
            found = run(python, FRAMEWORKS[name], mistake)
            versions |= found.pop("versions")
            told[mistake][name] = found
    results = {"versions": versions, "mistakes": told}
    (HERE / "results" / "mistakes.json").write_text(json.dumps(results, indent=2) + "\n")
    write(results)


def run(python: str, program: str, mistake: str) -> dict[str, Any]:
    """What one program told. Exits: it could not be run."""
    done = subprocess.run(
        [python, str(PROGRAMS / f"{program}.py"), mistake],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "PYTHONPATH": str(HERE.parent), **QUIET},
    )
    if done.returncode:
        sys.exit(f"{program}.py {mistake} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--peers-python", default=sys.executable, help="has the peers installed")
    main(parser.parse_args().peers_python)
