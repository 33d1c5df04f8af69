"""The command `chains`, and scripts, in processes forked from one that imported torch already."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

TIMEOUT_SECONDS = 300
# Half of what a command takes is importing these, which is the same for each of them.
IMPORTED = ["chains.cli", "intrinsics.engine", "transformers.models.llama.modeling_llama"]

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(IMPORTED)


def run_chains(
    *arguments: str | Path,
    text: str = "",
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command on `text` as its input, in a folder; no stream is a terminal."""
    line = ["chains", *map(str, arguments)]
    return _forked(_main, line, text, folder or Path.cwd(), os.environ if env is None else env)


def run_script(path: Path) -> subprocess.CompletedProcess[str]:
    """Run a Python file as a program, without arguments and input."""
    call = partial(runpy.run_path, str(path), run_name="__main__")
    return _forked(call, [str(path)], "", Path.cwd(), os.environ)


def run_line(line: str, folder: Path) -> str:
    """What a line of a page prints, which calls the command and may end with `> FILE`."""
    call, _, file = line.strip().partition(" > ")
    name, *arguments = shlex.split(call)
    assert name == "chains", line
    done = run_chains(*arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    if not file:
        return done.stdout
    (folder / file).write_text(done.stdout)
    return ""


def _main() -> None:
    from chains.cli import main

    main()


def _forked(
    call: Callable[[], object], line: list[str], text: str, folder: Path, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    with TemporaryDirectory() as scratch:
        given, out, err = (Path(scratch) / name for name in ("given", "out", "err"))
        given.write_text(text)
        inside = (call, line, (given, out, err), folder, dict(env))
        process = _SERVER.Process(target=_inside, args=inside)
        process.start()
        process.join(TIMEOUT_SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(line, TIMEOUT_SECONDS, out.read_bytes())
        return subprocess.CompletedProcess(line, process.exitcode, out.read_text(), err.read_text())


def _inside(
    call: Callable[[], object],
    line: list[str],
    streams: Sequence[Path],
    folder: Path,
    env: Mapping[str, str],
) -> None:
    """Make this process, which nothing else uses, what a started one would be; then call."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    for number, path in enumerate(streams):
        how = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT
        os.dup2(os.open(path, how, 0o600), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    sys.argv = line
    call()
