"""Search in a folder by BM25, on an index that is kept until a file changes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from intrinsics.messages import Document

from ..cache import cache_directory
from ..errors import InputError
from .passages import passages, terms
from .sources import SUFFIXES, Source, Unusable, sources
from .store import FileEntry, Kept, Store

if TYPE_CHECKING:
    from bm25s import BM25

K1, B = 1.5, 0.75


@dataclass(frozen=True)
class Index:
    """The passages of a folder, ready to be searched.

    `renewed` names the files that this opening had to read anew; empty where the kept index held.
    """

    documents: tuple[Document, ...]
    renewed: tuple[str, ...]
    _scorer: BM25 = field(repr=False, compare=False)

    @classmethod
    def open(cls, folder: Path, cache: Path | None = None) -> Index:
        """Index the text, Markdown and PDF files of a folder, or take the index that is kept.

        A file that gives no text is warned of by name; the others are searched. `cache` is where
        indexes are kept: the user's cache directory unless given.

        Raises: InputError: there is no such folder, or no text in it.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder in {Path.cwd()}")
        root = folder.resolve()
        store = Store(cache or cache_directory() / "retrieval", root)
        kept = store.load()
        files, renewed = _files(root, kept)
        for file in files:
            if file.fault:
                warnings.warn(f"{folder / file.name}: {file.fault}", stacklevel=2)
        documents = tuple(
            Document(id=f"{file.name}#{number}", text=text)
            for file in files
            for number, text in enumerate(file.passages, start=1)
        )
        if not documents:
            wanted = ", ".join(SUFFIXES)
            raise InputError(f"{folder}: no text to search; it needs a file of {wanted}")
        if kept is not None and files == kept.files:
            return cls(documents, renewed, kept.scorer)
        scorer = scorer_of([terms(document.text) for document in documents])
        try:
            store.save(files, scorer)
        except OSError as error:
            message = f"{store.path}: the index can't be kept and is built at each opening"
            warnings.warn(f"{message} ({error.strerror})", stacklevel=2)
        return cls(documents, renewed, scorer)

    def search(self, query: str, top: int) -> list[Document]:
        """The best passages, best first, at most `top`; none where no term of the query is known.

        Equal scores come in the order of names and passages. Raises: InputError: `top` below 1.
        """
        if top < 1:
            raise InputError(f"top is {top}; ask for at least 1 passage")
        scores = self.scores(query)
        order = np.argsort(-scores, kind="stable")[:top]
        return [self.documents[i] for i in order if scores[i] > 0]

    def scores(self, query: str) -> np.ndarray:
        """The BM25 score of every passage. Shapes: (passages,), float64."""
        known = [term for term in terms(query) if term in self._scorer.vocab_dict]
        if not known:
            return np.zeros(len(self.documents))
        return np.asarray(self._scorer.get_scores(known))


def scorer_of(texts: list[list[str]]) -> BM25:
    """BM25 over texts as terms, idf as in Lucene: positive for every term.

    Source: arXiv 2407.03618.
    """
    from bm25s import BM25  # only once something is searched

    scorer = BM25(k1=K1, b=B, method="lucene", dtype="float64")
    scorer.index(texts, show_progress=False)
    return scorer


def _files(root: Path, kept: Kept | None) -> tuple[list[FileEntry], tuple[str, ...]]:
    """All files, those that did not change from the kept index; and the names of the others."""
    before: Mapping[str, FileEntry] = {file.name: file for file in kept.files} if kept else {}
    files: list[FileEntry] = []
    renewed: list[str] = []
    for source in sources(root):
        old, digest = before.get(source.name), source.digest
        if old is None or old.digest != digest or old.fault:
            renewed.append(source.name)
            old = _entry(source, digest)
        files.append(old)
    return files, tuple(renewed)


def _entry(source: Source, digest: str) -> FileEntry:
    try:
        found = passages(source.text(), source.markdown)
    except Unusable as error:
        return FileEntry(name=source.name, digest=digest, fault=str(error))
    fault = "" if found else "it holds no words"
    return FileEntry(name=source.name, digest=digest, passages=tuple(found), fault=fault)
