"""Values as JSON; what is long is kept once, under its hash, however often it is said.

A string of more than LONG characters stands in a value as `{"$blob": hash}`, and so does a whole
value that is long without it. Keys that begin with "$" get a second one, so nothing is mistaken.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any, TypeAlias

from pydantic import JsonValue, TypeAdapter, ValidationError

from ..errors import NotStorable

LONG = 256
"""Characters; a reference takes 78."""

_WHOLE = 2048  # characters of a value whose long strings are out
_DEEPEST = 200  # SQLite's JSON functions end at 1,000, Python's somewhere near
_JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_BLOB = "$blob"
_MAYBE_LONG = re.compile(rf'"(?:[^"\\]|\\.){{{LONG + 1}}}')  # or a long row of numbers

Blobs: TypeAlias = dict[str, str]
"""JSON texts under their hashes."""


class Missing(sqlite3.DatabaseError):
    """Something that a record refers to is not there."""


def pack(value: JsonValue, blobs: Blobs) -> str:
    """A value as short JSON; what is long in it is added to `blobs`.

    Raises: NotStorable: not JSON: another type, a key that is no string, NaN, infinity, a cycle.
    """
    try:
        text = _checked(value)
        if _is_short(text):
            return text
        text = _text(_without_long(value, blobs, 0))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"][1::2]) or "the value"  # between: kinds
        raise NotStorable(
            f"{place}: {first['msg']}; it is a {type(first['input']).__name__}; "
            "give plain JSON values"
        ) from None
    except (ValueError, RecursionError) as error:
        raise NotStorable(f"not JSON: {error}; give plain JSON values") from None
    return text if len(text) <= _WHOLE else _text(_taken_out(text, blobs))


def unpack(text: str, fetch: Callable[[str], str]) -> Any:
    """The value that `pack` was given; `fetch` gives a blob. Changes: nothing."""
    value = json.loads(text)
    return _whole(value, fetch) if '"$' in text else value


def fetcher(connection: sqlite3.Connection) -> Callable[[str], str]:
    """Reads blobs inside a transaction."""

    def fetch(hash_: str) -> str:
        row = connection.execute("SELECT value FROM blobs WHERE hash = ?", (hash_,)).fetchone()
        if row is None:
            raise Missing(f"blob {hash_} is missing")
        text: str = row[0]
        return text

    return fetch


def write_blobs(connection: sqlite3.Connection, blobs: Blobs) -> None:
    """Store those that are not there yet."""
    for hash_, text in blobs.items():
        connection.execute("INSERT OR IGNORE INTO blobs (hash, value) VALUES (?, ?)", (hash_, text))


def digest(text: str) -> str:
    """SHA-256 in hexadecimal: the hash under which a JSON text is kept."""
    return sha256(text.encode()).hexdigest()


def _checked(value: JsonValue) -> str:
    """A value's JSON. What comes back from it as it was is JSON; pydantic names what is not."""
    with suppress(TypeError):
        text = _text(value)
        if json.loads(text) == value:
            return text
    return _text(_JSON.validate_python(value))


def _text(value: object) -> str:
    return _ENCODER.encode(value)


def _is_short(text: str) -> bool:
    """Whether nothing in a JSON text can be long, deep or mistaken; the text alone tells."""
    return (
        len(text) <= _WHOLE
        and '"$' not in text
        and text.count("[") + text.count("{") <= _DEEPEST
        and not _has_long(text)
    )


def _has_long(text: str) -> bool:
    """Whether a string in a JSON text may be long, or there is a long row of numbers."""
    if '\\"' in text:  # a quotation mark that ends no string
        return _MAYBE_LONG.search(text) is not None
    return len(text) > LONG and max(map(len, text.split('"'))) > LONG


def _taken_out(text: str, blobs: Blobs) -> dict[str, str]:
    hash_ = digest(text)
    blobs[hash_] = text
    return {_BLOB: hash_}


def _without_long(value: Any, blobs: Blobs, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST} levels")
    if isinstance(value, str):
        return _taken_out(_text(value), blobs) if len(value) > LONG else value
    if isinstance(value, list):
        return [_without_long(one, blobs, depth + 1) for one in value]
    if isinstance(value, dict):
        return {
            f"${key}" if key.startswith("$") else key: _without_long(one, blobs, depth + 1)
            for key, one in value.items()
        }
    return value


def _whole(value: Any, fetch: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [_whole(one, fetch) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_BLOB}:
        return _whole(json.loads(fetch(value[_BLOB])), fetch)
    return {
        key[1:] if key.startswith("$$") else key: _whole(one, fetch) for key, one in value.items()
    }
