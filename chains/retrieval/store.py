"""An index on disk: one file for a folder, replaced in one step, and checked when it is read."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

if TYPE_CHECKING:
    from bm25s import BM25

FORMAT = 1  # counts up when passages or terms are made otherwise
_MANIFEST = "manifest.json"


class FileEntry(BaseModel, frozen=True, extra="forbid"):
    """A file as it was indexed: the digest of its bytes, its passages, or why it has none."""

    name: str
    digest: str
    passages: tuple[str, ...] = ()
    fault: str = ""


class Manifest(BaseModel, frozen=True, extra="forbid"):
    """What the index was made from."""

    format: int
    folder: str
    files: list[FileEntry]


@dataclass(frozen=True)
class Kept:
    """An index that was read from disk."""

    files: list[FileEntry]
    scorer: BM25


class Store:
    """The place of one folder's index."""

    def __init__(self, cache: Path, folder: Path) -> None:
        self.folder = str(folder)
        self.path = cache / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]}.zip"

    def load(self) -> Kept | None:
        """The index; None where there is none, or what lies there is half-written or foreign."""
        if not self.path.is_file():
            return None
        try:
            with zipfile.ZipFile(self.path) as archive, tempfile.TemporaryDirectory() as parts:
                manifest = Manifest.model_validate_json(archive.read(_MANIFEST))
                if (manifest.format, manifest.folder) != (FORMAT, self.folder):
                    return None
                archive.extractall(parts)  # a damaged part fails its checksum
                scorer = _read(Path(parts))
        except Exception:  # a foreign file fails in any way; it is made again
            return None
        passages = sum(len(file.passages) for file in manifest.files)
        return Kept(manifest.files, scorer) if scorer.scores["num_docs"] == passages else None

    def save(self, files: Sequence[FileEntry], scorer: BM25) -> None:
        """Write it beside the old one, then take that one's place. Raises: OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        manifest = Manifest(format=FORMAT, folder=self.folder, files=list(files))
        handle, name = tempfile.mkstemp(suffix=".part", dir=self.path.parent)
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file, tempfile.TemporaryDirectory() as parts:
                scorer.save(parts, show_progress=False)
                with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                    archive.writestr(_MANIFEST, manifest.model_dump_json())
                    for path in sorted(Path(parts).iterdir()):
                        archive.write(path, path.name)
            os.replace(part, self.path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _read(parts: Path) -> BM25:
    from bm25s import BM25  # only once something is searched

    scorer: BM25 = BM25.load(parts, load_corpus=False, load_vocab=True)
    return scorer
