"""Run every command of docs/tutorial.md in order, and time each.

    python scripts/run_tutorial.py

The commands see this repository's examples, scripts and library; what they write goes into a fresh
folder that is removed at the end. It stops at the first command that fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.md"
READ = ("examples", "scripts")  # what the commands read of the repository
Execute: TypeAlias = Callable[[str, Path], subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Step:
    """One command that was run, and how long it took."""

    command: str
    seconds: float


def commands(text: str) -> list[str]:
    """The lines of every block of sh, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def prepare(folder: Path) -> None:
    """Make `folder` look like the repository's root to the tutorial's commands.

    Changes: `folder`.
    """
    for name in READ:
        (folder / name).symlink_to(ROOT / name)


def execute(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one command in a prepared folder with this interpreter's `python` and `chains`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run(lines: Sequence[str], folder: Path, one: Execute = execute) -> Iterator[tuple[Step, str]]:
    """Run the commands one after another by `one`; what each took and what it printed.

    Raises: RuntimeError: a command failed; with what it printed.
    """
    for line in lines:
        started = time.perf_counter()
        done = one(line, folder)
        if done.returncode:
            raise RuntimeError(f"{line}\nended with {done.returncode}:\n{done.stdout}")
        yield Step(line, time.perf_counter() - started), done.stdout


def main() -> None:
    """Run the tutorial in a fresh folder and print output, times and the total."""
    steps = []
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch))
        for step, output in run(commands(TUTORIAL.read_text(encoding="utf-8")), Path(scratch)):
            steps.append(step)
            print(f"$ {step.command}\n{output}({step.seconds:.1f} s)\n", flush=True)
    print("seconds  command")
    for step in steps:
        print(f"{step.seconds:7.1f}  {step.command}")
    print(f"{sum(step.seconds for step in steps):7.1f}  in all")


if __name__ == "__main__":
    main()
