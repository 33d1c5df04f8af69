"""Is a store whole: its pages, its references, its hashes, its journals."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

from .messages import StoredMessage, unpack_ids
from .values import Missing, digest, fetcher, unpack

_REFERENCE = re.compile(r'"\$blob":"([0-9a-f]+)"')


def faults(connection: sqlite3.Connection) -> Iterator[str]:
    """One line for each thing that is wrong. Raises: sqlite3.Error: it can't even be read."""
    for (told,) in connection.execute("PRAGMA integrity_check").fetchall():
        if told != "ok":
            yield f"pages: {told}"
    for table, _, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchall():
        yield f"table {table}: refers to something that is not in {parent}"
    yield from _blobs(connection)
    yield from _messages(connection)
    yield from _references(connection)
    for run_id, own, first, last, count in connection.execute(
        """
        SELECT run_id, last - coalesce(forked_at, 0),
            coalesce(min(seq), coalesce(forked_at, 0) + 1) - coalesce(forked_at, 0),
            coalesce(max(seq), coalesce(forked_at, 0)) - coalesce(forked_at, 0), count(seq)
        FROM runs LEFT JOIN journal ON run = number GROUP BY number
        """
    ).fetchall():
        if not (first == 1 and own == last == count):
            yield f"run {run_id}: {count} records of its own, where {own} were appended"


def _blobs(connection: sqlite3.Connection) -> Iterator[str]:
    for hash_, value in connection.execute("SELECT hash, value FROM blobs"):
        if digest(value) != hash_:
            yield f"blob {hash_}: its text has changed"


def _messages(connection: sqlite3.Connection) -> Iterator[str]:
    fetch = fetcher(connection)
    for hash_, parent, role, content, tokens in connection.execute(
        "SELECT hash, parent, role, content, tokens FROM messages WHERE parent IS NOT NULL"
    ).fetchall():
        try:
            text = unpack(content, fetch)
        except Missing as missing:
            yield f"message {hash_.hex()}: {missing}"
            continue
        if StoredMessage(role, text, unpack_ids(tokens), parent.hex()).hash != hash_.hex():
            yield f"message {hash_.hex()}: it has changed"


def _references(connection: sqlite3.Connection) -> Iterator[str]:
    known = {hash_ for (hash_,) in connection.execute("SELECT hash FROM blobs")}
    rows = connection.execute(
        """
        SELECT 'record ' || seq || ' of ' || run_id, payload
        FROM journal JOIN runs ON number = run
        UNION ALL SELECT 'run ' || run_id, definition || input FROM runs
        UNION ALL SELECT 'ask ' || seq || ' of ' || run_id, question || coalesce(answer, '')
        FROM asks JOIN runs ON number = run
        UNION ALL SELECT 'blob ' || hash, value FROM blobs
        """
    )
    for place, text in rows:
        for hash_ in _REFERENCE.findall(text):
            if hash_ not in known:
                yield f"{place}: blob {hash_} is missing"
