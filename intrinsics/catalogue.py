"""Which intrinsics there are, by name: the shipped ones and those in the caller's folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .errors import RequestError
from .library import library_path
from .located import unknown
from .spec import FILE, Definition


class Catalogue:
    """Finds definitions in `library/intrinsics` and in `folders`; reads each at its first use."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        """Look for definitions. Raises: RequestError: no such folder, or a name is there twice."""
        self._directories: dict[str, Path] = {}
        self._loaded: dict[Path, Definition] = {}
        shipped = library_path() / "intrinsics"
        for folder in folders:
            if not folder.is_dir():
                raise RequestError(f"{folder}: no such folder of intrinsics")
        for folder in (shipped, *folders):
            for file in sorted(folder.glob(f"*/{FILE}")):
                if not file.parent.name.startswith("."):  # one that is being written
                    self._add(file.parent.resolve())

    def names(self) -> list[str]:
        """The names of all intrinsics, sorted."""
        return sorted(self._directories)

    def get(self, name: str | Path) -> Definition:
        """The definition of that name, or in that directory.

        Raises: RequestError: there is none; DefinitionError: its files are wrong.
        """
        directory = self._find(name)
        if directory not in self._loaded:
            self._loaded[directory] = Definition.load(directory)
        definition = self._loaded[directory]
        if name in self._directories and definition.name != name:
            raise RequestError(
                f"{definition.place('name')}: name is {definition.name!r}, but the directory is "
                f"{name!r}; rename one of them"
            )
        return definition

    def _find(self, name: str | Path) -> Path:
        if isinstance(name, str) and name in self._directories:
            return self._directories[name]
        path = Path(name).resolve()
        if (path / FILE).is_file():
            return path
        raise RequestError(unknown("intrinsic", str(name), self.names()))

    def _add(self, directory: Path) -> None:
        name = directory.name
        if name in self._directories:
            raise RequestError(
                f"two intrinsics are named {name!r}: {self._directories[name]} and {directory}; "
                f"rename one"
            )
        self._directories[name] = directory
