"""Records of a run: appended in one transaction, read with the past shared with its parent."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UnknownRun
from .messages import as_bytes, write_messages
from .records import Entry, Record, Status
from .values import Blobs, fetcher, pack, unpack, write_blobs


@dataclass(frozen=True)
class Packed:
    """An entry as it goes into the table; made before the transaction, which is then short."""

    entry: Entry
    payload: str
    blobs: Blobs
    head: bytes | None

    @staticmethod
    def of(entry: Entry) -> Packed:
        """Raises: NotStorable."""
        blobs: Blobs = {}
        payload = pack(entry.payload, blobs)
        head = entry.head
        if head is None and entry.messages:
            head = entry.messages[-1].hash
        return Packed(entry, payload, blobs, None if head is None else as_bytes(head))


def append(
    connection: sqlite3.Connection,
    number: int,
    entries: Sequence[Packed],
    at: float,
    status: Status | None = None,
) -> int:
    """Append to run `number`; the seq of the last. Raises: sqlite3.Error, NotStorable."""
    (seq,) = connection.execute(
        "UPDATE runs SET last = last + ?, updated = ?, status = coalesce(?, status) "
        "WHERE number = ? RETURNING last",
        (len(entries), at, status, number),
    ).fetchone()
    for place, packed in enumerate(entries, start=seq - len(entries) + 1):
        write_blobs(connection, packed.blobs)
        entry = packed.entry
        if entry.messages:
            write_messages(connection, entry.messages)
        connection.execute(
            "INSERT INTO journal (run, seq, kind, node, branch, attempt, payload, head, at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                place,
                entry.kind,
                entry.node,
                entry.branch,
                entry.attempt,
                packed.payload,
                packed.head,
                at,
            ),
        )
    return int(seq)


def number_of(connection: sqlite3.Connection, run_id: str) -> int:
    """A run's number. Raises: UnknownRun."""
    row = connection.execute("SELECT number FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        raise UnknownRun(f"no run {run_id!r}; `chains runs` lists those there are")
    return int(row[0])


def read(connection: sqlite3.Connection, run_id: str, after: int) -> list[Record]:
    """A run's records, those before it was forked included, as far as they come after `after`.

    A fork has none of the past itself: its line of ancestors does, each up to where the next one
    left it. Raises: UnknownRun.
    """
    rows = connection.execute(
        """
        WITH RECURSIVE line (run, upto) AS (
            SELECT number, last FROM runs WHERE number = ?
            UNION ALL
            SELECT parent, min(upto, forked_at) FROM line JOIN runs ON number = run
            WHERE parent IS NOT NULL
        )
        SELECT seq, kind, payload, node, branch, attempt, head, at
        FROM line JOIN journal USING (run)
        WHERE seq <= upto AND seq > ?
        ORDER BY seq
        """,
        (number_of(connection, run_id), after),
    ).fetchall()
    fetch = fetcher(connection)
    return [
        Record(
            seq,
            kind,
            unpack(payload, fetch),
            node,
            branch,
            attempt,
            None if head is None else head.hex(),
            at,
        )
        for seq, kind, payload, node, branch, attempt, head, at in rows
    ]
