"""Old runs go, and with them the messages and blobs that no other run refers to."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from .records import RunInfo


@dataclass(frozen=True)
class Pruned:
    """What went, or with `dry_run` would go. `bytes` counts texts and token ids.

    `kept` has runs that met the conditions and stay: why, by run_id.
    """

    runs: tuple[RunInfo, ...]
    kept: dict[str, str]
    records: int
    messages: int
    blobs: int
    bytes: int
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "runs": [run.run_id for run in self.runs]}


def without_parents(
    chosen: Collection[RunInfo], everything: Collection[RunInfo]
) -> tuple[list[RunInfo], dict[str, str]]:
    """Those chosen that may go, and why others stay: the past of a run that stays, stays."""
    going = {run.run_id: run for run in chosen}
    kept: dict[str, str] = {}
    staying = [run for run in everything if run.run_id not in going]
    while staying:
        run = staying.pop()
        if run.parent in going:
            kept[run.parent] = f"run {run.run_id} was forked from it"
            staying.append(going.pop(run.parent))
    return list(going.values()), kept


def delete(connection: sqlite3.Connection, runs: Collection[RunInfo]) -> tuple[int, int, int, int]:
    """Delete runs and what only they refer to; how many records, messages, blobs and bytes.

    Raises: sqlite3.IntegrityError at the commit: a run that stays would lose its past.
    """
    connection.execute("PRAGMA defer_foreign_keys = ON")  # parents and children in any order
    records = 0
    for run in runs:
        name = (run.run_id,)
        connection.execute(
            "DELETE FROM asks WHERE run = (SELECT number FROM runs WHERE run_id = ?)", name
        )
        records += connection.execute(
            "DELETE FROM journal WHERE run = (SELECT number FROM runs WHERE run_id = ?)", name
        ).rowcount
        connection.execute("DELETE FROM runs WHERE run_id = ?", name)
    return (records, *_sweep(connection))


def _sweep(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Delete the messages and blobs that nothing refers to: how many of each, and bytes."""
    messages = connection.execute(
        """
        DELETE FROM messages WHERE hash NOT IN (
            WITH RECURSIVE said (hash) AS (
                SELECT head FROM journal WHERE head IS NOT NULL
                UNION
                SELECT parent FROM said JOIN messages USING (hash) WHERE parent IS NOT NULL
            )
            SELECT hash FROM said
        ) AND parent IS NOT NULL
        RETURNING length(CAST(content AS BLOB)) + length(tokens)
        """
    ).fetchall()
    blobs = connection.execute(
        """
        DELETE FROM blobs WHERE hash NOT IN (
            WITH RECURSIVE texts (value) AS (
                SELECT payload FROM journal
                UNION ALL SELECT definition FROM runs
                UNION ALL SELECT input FROM runs
                UNION ALL SELECT content FROM messages
                UNION ALL SELECT question FROM asks
                UNION ALL SELECT answer FROM asks WHERE answer IS NOT NULL
            ),
            referred (name) AS (
                SELECT atom FROM texts, json_tree(texts.value)
                WHERE instr(texts.value, '"$blob"') AND key = '$blob' AND type = 'text'
                UNION
                SELECT atom FROM referred
                JOIN blobs ON hash = referred.name, json_tree(blobs.value)
                WHERE instr(blobs.value, '"$blob"') AND key = '$blob' AND type = 'text'
            )
            SELECT name FROM referred
        )
        RETURNING length(CAST(value AS BLOB))
        """
    ).fetchall()
    freed = sum(size for (size,) in messages) + sum(size for (size,) in blobs)
    return len(messages), len(blobs), freed
