"""Texts cut into passages, and passages into the terms by which they are found."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

ENOUGH, MOST = 100, 150  # terms of a passage
# Scripts written without spaces: every character is a term.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TERM = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t#]*$")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_SENTENCE = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s*")


def terms(text: str) -> list[str]:
    """The words of a text, in order, without case, accents as they are."""
    return _TERM.findall(unicodedata.normalize("NFKC", text).casefold())


def passages(text: str, markdown: bool) -> list[str]:
    """Paragraphs joined to passages of about 100 to 150 terms, none longer.

    A Markdown passage stays in its section and begins with its headings, `Guide > Opening hours`.
    """
    found: list[str] = []
    for heading, body in _sections(text) if markdown else [("", text)]:
        head = f"{heading}\n\n" if heading else ""
        found += [head + passage for passage in _packed(body)]
    return found


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """The text below each heading, with the headings above it; `#` in code is none."""
    titles: dict[int, str] = {}
    lines: list[str] = []
    fence = ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if mark and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        heading = None if fence else _HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        yield " > ".join(titles.values()), "\n".join(lines)
        depth = len(heading[1])
        titles = {level: title for level, title in titles.items() if level < depth}
        titles[depth] = heading[2]
        lines = []
    yield " > ".join(titles.values()), "\n".join(lines)


def _packed(text: str) -> Iterator[str]:
    """Whole paragraphs as long as there is room, and a passage ends once it has enough."""
    pieces: list[str] = []
    size = 0
    for piece in _pieces(text):
        length = len(terms(piece))
        if pieces and size + length > MOST:
            yield "\n\n".join(pieces)
            pieces, size = [], 0
        pieces.append(piece)
        size += length
        if size >= ENOUGH:
            yield "\n\n".join(pieces)
            pieces, size = [], 0
    if pieces:
        yield "\n\n".join(pieces)


def _pieces(text: str) -> Iterator[str]:
    """Paragraphs that hold a term; one that is too long in sentences, those in runs of terms."""
    for paragraph in re.split(r"\n[ \t]*\n", text):
        length = len(terms(paragraph))
        if 0 < length <= MOST:
            yield paragraph.strip()
        elif length:
            yield from _joined(part for one in _SENTENCE.split(paragraph) for part in _cut(one))


def _joined(parts: Iterator[str]) -> Iterator[str]:
    line, size = "", 0
    for part in parts:
        length = len(terms(part))
        if line and size + length > MOST:
            yield line
            line, size = "", 0
        line = f"{line} {part}".strip()
        size += length
    if size:
        yield line


def _cut(sentence: str) -> Iterator[str]:
    """A sentence in parts of at most `MOST` terms, cut before a term."""
    start = 0
    found = list(_TERM.finditer(sentence))
    for first in range(MOST, len(found), MOST):
        yield sentence[start : found[first].start()].strip()
        start = found[first].start()
    yield sentence[start:].strip()
