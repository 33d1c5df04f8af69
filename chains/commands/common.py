"""What several commands share: their options, the engine, input files, and printing."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..cache import cache_directory as cache_directory
from ..errors import InputError

if TYPE_CHECKING:
    from intrinsics import Engine

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="DIR|OWNER/NAME",
        help="Base model: a directory, or a hub name (the only thing that uses the network). "
        "Without it: the packaged SmolLM2-135M-Instruct.",
    ),
]
FoldersOption = Annotated[
    list[Path] | None,
    typer.Option("--intrinsics", metavar="DIR", help="A further folder of intrinsics; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, nothing else.")]
InputOption = Annotated[
    str | None,
    typer.Option(
        "--input",
        "-i",
        metavar="FILE",
        help='JSON: {"messages": [{"role", "content"}], "documents": [{"id", "text"}], '
        '"inputs": {}}; every key optional, "-" reads stdin.',
    ),
]
MessageOption = Annotated[
    str | None,
    typer.Option("--message", "-m", help="A user message, added after those of --input."),
]
DocumentsOption = Annotated[
    list[Path] | None,
    typer.Option("--docs", "-d", metavar="FILE", help="A text file as document; repeatable."),
]

FunctionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--functions",
        metavar="MODULE",
        help="A Python module whose functions the chain may call; repeatable. It is imported.",
    ),
]

AllowOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--allow",
        metavar="DIR",
        help="A folder outside that of the chain's file which the chain may read; repeatable.",
    ),
]

errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
"""Messages and progress: never on stdout, where results go."""


def release() -> str:
    """The installed version."""
    try:
        return version("alora-chains")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0.1.0"


def load_engine(
    model: str | None, folders: Sequence[Path] | None, *, prove: bool = False
) -> Engine:
    """Load the engine, with a progress bar for what takes long. Offline unless a hub is named.

    `prove`: it computes every result again from scratch, and compares.
    Raises: BaseModelError, TemplateError, RequestError.
    """
    if model is None or Path(model).expanduser().is_dir():
        os.environ["HF_HUB_OFFLINE"] = "1"
    with errors.status("loading the base model") if errors.is_terminal else _nothing():
        quieten()
        from intrinsics import Engine  # seconds, with torch
    with loading_bar() as progress:
        return Engine.load(
            model,
            folders=tuple(folders or ()),
            cache=cache_directory(),
            progress=progress,
            prove=prove,
        )


def quieten() -> None:
    """Keep transformers' own bars and advice off the terminal."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils.logging import disable_progress_bar  # seconds, with torch

    disable_progress_bar()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


class _Bar:
    """A callable `(what, share)` that draws a bar on stderr from its first call on."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            console=errors,
            transient=True,
        )
        self._tasks: dict[str, Any] = {}

    def __call__(self, what: str, share: float) -> None:
        """Show that `share` of `what` is done."""
        if what not in self._tasks:
            if not errors.is_terminal:
                errors.print(f"{what} ...")
            elif not self._tasks:
                self._bar.start()
            self._tasks[what] = self._bar.add_task(what, total=1.0)
        self._bar.update(self._tasks[what], completed=share)

    def close(self) -> None:
        """Remove the bar, if there is one."""
        if self._tasks and errors.is_terminal:
            self._bar.stop()


@contextmanager
def loading_bar() -> Iterator[_Bar]:
    """A progress bar on stderr that appears only when there is something to tell."""
    bar = _Bar()
    try:
        yield bar
    finally:
        bar.close()


def functions_of(modules: Sequence[str]) -> list[Callable[..., Any]]:
    """The public functions defined in modules, which are imported, from here or installed.

    Raises: InputError: there is no such module, or importing it fails.
    """
    found: list[Callable[..., Any]] = []
    if modules and "" not in sys.path:
        sys.path.insert(0, "")
    for name in modules:
        try:
            module = import_module(name)
        except Exception as error:  # whatever the module's own code raises
            raise InputError(f"--functions {name}: {type(error).__name__}: {error}") from error
        found += [
            value
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == name and not key.startswith("_")
        ]
    return found


def going_on(
    run: str,
    record: Path,
    chain: str | None = None,
    model: str | None = None,
    folders: Sequence[Path] | None = None,
    functions: Sequence[str] | None = None,
    allow: Sequence[Path] | None = None,
) -> str:
    """The command by which a recorded run goes on, with the options that were given."""
    one = {"--record": record, "--chain": chain, "--model": model}
    several = {"--intrinsics": folders, "--functions": functions, "--allow": allow}
    words = [(flag, value) for flag, value in one.items() if value is not None]
    words += [(flag, value) for flag, values in several.items() for value in values or ()]
    return " ".join(["chains resume", run, *(f"{a} {shlex.quote(str(b))}" for a, b in words)])


def read_json(path: str) -> dict[str, Any]:
    """The JSON object in a file, or on stdin for "-". Raises: InputError: there is none."""
    name = "stdin" if path == "-" else path
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: cannot be read as UTF-8 text ({error})") from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{name}: must be a JSON object with messages, documents or inputs")
    return data


def print_json(data: object) -> None:
    """One JSON object on stdout; escapes alone where its encoding lacks characters."""
    sys.stdout.write(json.dumps(data, ensure_ascii=not shows_unicode(), indent=2) + "\n")


def shows_unicode() -> bool:
    """Whether stdout takes every character."""
    return (sys.stdout.encoding or "").lower().startswith("utf")


def tolerate_foreign_text() -> None:
    """What stdin can't read or stdout can't show becomes a mark, and ends nothing."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
