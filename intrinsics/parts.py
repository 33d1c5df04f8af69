"""The files of an intrinsic's directory beside its adapter, and the sums of a published one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from .errors import AdapterError, RequestError
from .spec import FILE, Definition

CARD, README, SUMS = "CARD.md", "README.md", "SHA256SUMS"


def parts(definition: Definition) -> Iterator[Path]:
    """The files of an intrinsic beside its adapter: those it names, its card and pictures."""
    directory = definition.directory
    yield directory / FILE
    if definition.instruction is not None:
        yield directory / definition.instruction
    card = directory / CARD
    if card.is_file():
        yield card
        for link in re.findall(r"!\[[^\]]*\]\(([\w.-]+\.(?:png|svg|jpg))\)", card_text(card)):
            if (directory / link).is_file():
                yield directory / link


def card_text(card: Path) -> str:
    """A card's text. Raises: RequestError: it is not UTF-8."""
    try:
        return card.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"{card}: not UTF-8 text ({error}); save it as UTF-8") from error


def copy_parts(definition: Definition, directory: Path) -> None:
    """Copy an intrinsic's files beside its adapter, byte for byte. Changes: `directory`."""
    for path in parts(definition):
        (directory / path.name).write_bytes(path.read_bytes())


def read_sums(directory: Path) -> dict[str, str]:
    """What a directory's SHA256SUMS says; {} without one. Raises: AdapterError: it says nothing."""
    path = directory / SUMS
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    pairs = [re.fullmatch(r"([0-9a-f]{64}) [ *]([^/]+)", line) for line in lines]
    if None in pairs:
        raise AdapterError(f"{path}: not a list of sha256 sums; get it again, or delete it")
    return {pair[2]: pair[1] for pair in pairs if pair is not None}


def sha256(path: Path) -> str:
    """The digest of a file, as sha256sum prints it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
