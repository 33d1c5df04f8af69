"""What a chain from a file may read: what lies under that file's folder, and what was allowed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError


@dataclass(frozen=True)
class Files:
    """Finds the files and folders that a chain names.

    `folder` is that of the chain's file: relative names begin there, and nothing outside it is
    read but what is `allowed`. Without one, names begin in the working directory, and Python that
    builds a chain may name any.
    """

    folder: Path | None = None
    allowed: tuple[Path, ...] = ()

    def find(self, name: str, below: str = "") -> Path:
        """What a chain names; `below` is the folder of its part, relative to that of the chain.

        Symbolic links are followed before it is decided.
        Raises: InputError: it lies outside.
        """
        if self.folder is None:
            return Path(name)
        try:
            path = (self.folder / below / name).resolve()
            roots = [one.expanduser().resolve() for one in (self.folder, *self.allowed)]
        except (OSError, ValueError, RuntimeError) as error:  # no path, or links in a circle
            raise InputError(f"{name!r} is no name of a file or folder ({error})") from error
        if not any(path.is_relative_to(root) for root in roots):
            raise InputError(
                f"{name!r} is outside the folder of the chain, {self.folder}; allow it by "
                f"--allow {path if path.is_dir() else path.parent} (in Python by allow=...)"
            )
        return path

    def relative(self, path: Path) -> str:
        """A folder relative to that of the chain."""
        return "" if self.folder is None else os.path.relpath(path, self.folder)
