"""The tables of a store, as the steps that led to them: a new file takes the same way as an old.

Every value is JSON; `values.py` says how long ones are kept once. Hashes are SHA-256: of blobs in
hexadecimal, as values refer to them, of messages in bytes.
Runs are named by `run_id`; inside they have a number, which is shorter in every record.
"""

from __future__ import annotations

import sqlite3

APPLICATION = 1634496370
"""SQLite's `application_id` of a store: "alor" in ASCII."""

_FIRST = (
    "PRAGMA application_id = 1634496370",
    """
    CREATE TABLE blobs (
        hash TEXT NOT NULL PRIMARY KEY,
        value TEXT NOT NULL CHECK (json_valid(value))
    ) STRICT
    """,
    """
    CREATE TABLE messages (
        hash BLOB NOT NULL PRIMARY KEY,
        parent BLOB REFERENCES messages (hash),
        role TEXT NOT NULL,
        content TEXT NOT NULL CHECK (json_valid(content)),
        tokens BLOB NOT NULL
    ) STRICT
    """,
    # the parent of first messages, and the head of an empty conversation
    "INSERT INTO messages VALUES (x'', NULL, '', '\"\"', x'')",
    # without it every message that is pruned would be looked for in the whole table
    "CREATE INDEX messages_by_parent ON messages (parent) WHERE parent IS NOT NULL",
    """
    CREATE TABLE runs (
        number INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL UNIQUE,
        chain TEXT NOT NULL,
        chain_hash TEXT NOT NULL,
        definition TEXT NOT NULL CHECK (json_valid(definition)),
        input TEXT NOT NULL CHECK (json_valid(input)),
        seeds TEXT NOT NULL CHECK (json_valid(seeds)),
        status TEXT NOT NULL
            CHECK (status IN ('running', 'waiting', 'finished', 'failed', 'stopped')),
        last INTEGER NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        parent INTEGER REFERENCES runs (number),
        forked_at INTEGER,
        CHECK ((parent IS NULL) = (forked_at IS NULL))
    ) STRICT
    """,
    "CREATE INDEX runs_by_parent ON runs (parent) WHERE parent IS NOT NULL",
    """
    CREATE TABLE journal (
        run INTEGER NOT NULL REFERENCES runs (number),
        seq INTEGER NOT NULL,
        kind TEXT NOT NULL,
        node TEXT NOT NULL,
        branch TEXT NOT NULL,
        payload TEXT NOT NULL CHECK (json_valid(payload)),
        head BLOB REFERENCES messages (hash),
        at REAL NOT NULL,
        PRIMARY KEY (run, seq)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX journal_by_head ON journal (head) WHERE head IS NOT NULL",
    """
    CREATE TABLE asks (
        run INTEGER NOT NULL REFERENCES runs (number),
        seq INTEGER NOT NULL,
        node TEXT NOT NULL,
        branch TEXT NOT NULL,
        question TEXT NOT NULL CHECK (json_valid(question)),
        asked REAL NOT NULL,
        answer TEXT CHECK (answer IS NULL OR json_valid(answer)),
        answered REAL,
        received INTEGER,
        PRIMARY KEY (run, seq)
    ) STRICT, WITHOUT ROWID
    """,
    "PRAGMA user_version = 1",
)

_ATTEMPTS = (
    "ALTER TABLE journal ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1",
    "PRAGMA user_version = 2",
)

STEPS = (_FIRST, _ATTEMPTS)
"""What leads from version i to version i + 1; a step that was released is never changed."""

LATEST = len(STEPS)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file of any earlier version, or an empty one, to the latest; all steps or none.

    Changes: the file, in one transaction, within which its version is read again: of two
    processes that open it at once, one migrates it.
    Raises: sqlite3.Error.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in STEPS[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
