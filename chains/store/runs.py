"""The table of runs: new ones, forks, and what is listed."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pydantic import JsonValue

from ..errors import StoreRequestError
from . import asks
from .journal import number_of
from .records import RunInfo, Status
from .values import Blobs, fetcher, pack, unpack, write_blobs


@dataclass(frozen=True)
class Definition:
    """What a run was started with: its chain as YAML, and its input."""

    chain_yaml: str
    input: Any


def chain_hash(chain_yaml: str) -> str:
    """The hash by which a run knows its chain: SHA-256 of the YAML text."""
    return sha256(chain_yaml.encode()).hexdigest()


def new_id(now: float) -> str:
    """A name that sorts by time: UTC to the millisecond, and 32 random bits."""
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    return f"{moment}{int(now * 1000) % 1000:03}-{secrets.token_hex(4)}"


def create(
    connection: sqlite3.Connection,
    chain: str,
    chain_yaml: str,
    given: JsonValue,
    seeds: Mapping[str, int],
    now: float,
) -> str:
    """Add a run without records. Raises: NotStorable."""
    blobs: Blobs = {}
    run_id, definition = new_id(now), pack(chain_yaml, blobs)
    packed, told = pack(given, blobs), json.dumps(dict(seeds))
    write_blobs(connection, blobs)
    connection.execute(
        "INSERT INTO runs (run_id, chain, chain_hash, definition, input, seeds, status, last, "
        "created, updated) VALUES (?, ?, ?, ?, ?, ?, 'running', 0, ?, ?)",
        (run_id, chain, chain_hash(chain_yaml), definition, packed, told, now, now),
    )
    return run_id


def fork(
    connection: sqlite3.Connection,
    run_id: str,
    at_seq: int | None,
    chain_yaml: str | None,
    now: float,
) -> str:
    """Add a run whose past is another's up to a record; nothing of it is copied.

    Raises: UnknownRun; StoreRequestError: the run has no such record.
    """
    number, parent = number_of(connection, run_id), info(connection, run_id)
    at = parent.records if at_seq is None else at_seq
    if not 0 <= at <= parent.records:
        raise StoreRequestError(
            f"run {run_id} has records 1 to {parent.records}; it can't be forked after {at}"
        )
    child = new_id(now)
    connection.execute(
        "INSERT INTO runs (run_id, chain, chain_hash, definition, input, seeds, status, last, "
        "created, updated, parent, forked_at) "
        "SELECT ?, chain, chain_hash, definition, input, seeds, 'running', ?, ?, ?, number, ? "
        "FROM runs WHERE number = ?",
        (child, at, now, now, at, number),
    )
    if chain_yaml is not None:
        redefine(connection, number_of(connection, child), chain_yaml)
    if asks.inherit(connection, number, number_of(connection, child), at):
        connection.execute("UPDATE runs SET status = 'waiting' WHERE run_id = ?", (child,))
    return child


def redefine(connection: sqlite3.Connection, number: int, chain_yaml: str) -> None:
    """Give a run another chain."""
    blobs: Blobs = {}
    definition = pack(chain_yaml, blobs)
    write_blobs(connection, blobs)
    connection.execute(
        "UPDATE runs SET definition = ?, chain_hash = ? WHERE number = ?",
        (definition, chain_hash(chain_yaml), number),
    )


def definition(connection: sqlite3.Connection, run_id: str) -> Definition:
    """What a run was started with. Raises: UnknownRun."""
    number, fetch = number_of(connection, run_id), fetcher(connection)
    chain_yaml, given = connection.execute(
        "SELECT definition, input FROM runs WHERE number = ?", (number,)
    ).fetchone()
    return Definition(unpack(chain_yaml, fetch), unpack(given, fetch))


def info(connection: sqlite3.Connection, run_id: str) -> RunInfo:
    """One run. Raises: UnknownRun."""
    number_of(connection, run_id)
    return listed(connection, run_id=run_id)[0]


def listed(
    connection: sqlite3.Connection,
    *,
    run_id: str | None = None,
    status: Collection[Status] | None = None,
    chain: str | None = None,
    before: float | None = None,
    limit: int | None = None,
) -> list[RunInfo]:
    """Runs that meet all conditions, the newest first; `before` is when they last changed."""
    rows = connection.execute(
        """
        SELECT one.run_id, one.chain, one.chain_hash, one.status, one.created, one.updated,
            one.last, one.seeds, past.run_id, one.forked_at
        FROM runs AS one LEFT JOIN runs AS past ON past.number = one.parent
        WHERE (?1 IS NULL OR one.run_id = ?1)
            AND (?2 IS NULL OR one.status IN (SELECT value FROM json_each(?2)))
            AND (?3 IS NULL OR one.chain = ?3)
            AND (?4 IS NULL OR one.updated < ?4)
        ORDER BY one.created DESC, one.number DESC
        LIMIT coalesce(?5, -1)
        """,
        (run_id, None if status is None else json.dumps(list(status)), chain, before, limit),
    ).fetchall()
    return [
        RunInfo(name, of, hash_, state, created, updated, last, json.loads(seeds), past, at)
        for name, of, hash_, state, created, updated, last, seeds, past, at in rows
    ]
