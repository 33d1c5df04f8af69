"""The files of a folder as text: nothing outside it is read, and what can't be read is told."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from intrinsics.messages import not_text

MARKDOWN = (".md", ".markdown")
SUFFIXES = (".txt", ".text", *MARKDOWN, ".pdf")
MAX_BYTES = 64_000_000


class Unusable(Exception):
    """Why a file gives no text, and what to do about it."""


@dataclass(frozen=True)
class Source:
    """A file of the folder: its name there, its bytes, or why it has none."""

    name: str
    data: bytes = b""
    fault: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of what was read."""
        return hashlib.sha256(self.data + self.fault.encode()).hexdigest()

    @property
    def markdown(self) -> bool:
        """Whether `#` begins a heading in it."""
        return self.name.lower().endswith(MARKDOWN)

    def text(self) -> str:
        """Its text. Raises: Unusable: it has none."""
        if self.fault:
            raise Unusable(self.fault)
        pdf = self.name.lower().endswith(".pdf")
        text = _pdf_text(self.data) if pdf else _plain_text(self.data)
        if not text.strip():
            raise Unusable("it holds no text" + (" (a scan?); give it as text" if pdf else ""))
        return text


def sources(folder: Path) -> Iterator[Source]:
    """The text, Markdown and PDF files of a folder and of those in it, by name; hidden ones not.

    Symbolic links are not followed. One file is in memory at a time.
    """
    for directory, names in _directories(folder):
        for name in names:
            path = directory / name
            shown = path.relative_to(folder).as_posix()
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            if not_text(shown):
                yield Source(ascii(shown).strip("'"), fault="its name is no text; rename it")
                continue
            try:
                yield Source(shown, _read(path))
            except Unusable as error:
                yield Source(shown, fault=str(error))
            except OSError as error:
                yield Source(shown, fault=f"it can't be read: {error.strerror}")


def _directories(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    for directory, below, names in os.walk(folder):  # links to directories are not entered
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield Path(directory), sorted(names)


def _read(path: Path) -> bytes:
    if path.is_symlink():
        raise Unusable("a symbolic link is not followed; put the file itself there")
    # If it becomes a link or a pipe now, opening it fails or does not wait.
    safe = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, os.O_RDONLY | safe), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise Unusable("it is no regular file")
        if about.st_size > MAX_BYTES:
            raise Unusable(f"it is larger than {MAX_BYTES:,} bytes; split it")
        return file.read(MAX_BYTES)


def _plain_text(data: bytes) -> str:
    if b"\0" in data:
        raise Unusable("it is binary, not text; save it as UTF-8 text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unusable(f"byte {error.start} is not UTF-8; save it as UTF-8 text") from None


def _pdf_text(data: bytes) -> str:
    try:
        from pypdf import PdfReader  # only the extra `pdf` has it
    except ImportError:
        remedy = "pip install 'alora-chains[pdf]', or give it as text"
        raise Unusable(f"reading a PDF needs pypdf: {remedy}") from None
    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted:
            raise Unusable("it is an encrypted PDF; save it without a password")
        text = "\n\n".join(page.extract_text() for page in reader.pages)
    except Unusable:
        raise
    except Exception as error:  # whatever a parser of foreign bytes comes to
        raise Unusable(f"it is no readable PDF ({type(error).__name__}: {error})") from error
    return text.encode("utf-8", "replace").decode()  # a broken font gives halves of characters
