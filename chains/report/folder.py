"""The directory of a report: written beside its place, and put there as a whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from intrinsics.adapter import fresh_directory, recover_directory, replace_directory

from ..errors import InputError, OutputError
from .figure import draw
from .page import render

DATA, PAGE, FIGURE = "report.json", "report.html", "reliability.png"


@contextmanager
def report_directory(target: Path) -> Iterator[Path]:
    """An empty directory that takes the place of `target` when the block ends without an error.

    An older report there stays until then. Changes: the disk.
    Raises: InputError: something else is there, which is not deleted; AdapterError, OutputError:
    nothing can be written there.
    """
    target = target.expanduser().resolve()
    recover_directory(target)
    _check_replaceable(target)
    fresh = fresh_directory(target)
    try:
        yield fresh
        _check_replaceable(target)
        with _told(target):
            fresh.chmod(0o755)
            replace_directory(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def write(data: Mapping[str, Any], folder: Path) -> None:
    """Write the data, the page and the figure. Changes: the disk. Raises: OutputError."""
    text = json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False)
    with _told(folder):
        (folder / DATA).write_text(text + "\n", encoding="utf-8")
        (folder / PAGE).write_text(render(data), encoding="utf-8")
        draw(data, folder / FIGURE)


@contextmanager
def _told(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{place}: the report can't be written ({error}); free space or choose another "
            f"directory"
        ) from error


def _check_replaceable(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"--report {target}: is a file; name a directory")
    foreign = sorted(
        path.name for path in target.iterdir() if path.name not in (DATA, PAGE, FIGURE)
    )
    if foreign:
        raise InputError(
            f"--report {target}: holds {foreign[0]!r}, which is no part of a report and would be "
            f"deleted; name a new directory"
        )
