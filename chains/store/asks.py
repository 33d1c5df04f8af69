"""Questions to humans: asked by a run, answered from anywhere, once, and received by the run."""

from __future__ import annotations

import sqlite3

from pydantic import JsonValue

from ..errors import AlreadyAnswered, StoreRequestError
from .journal import Packed, append, number_of
from .records import Ask, Entry, Status, timestamp
from .values import Blobs, fetcher, pack, unpack, write_blobs

ASKED, ANSWERED = "asked", "answered"
"""The kinds of the records that a question and its answer leave in the journal."""


def ask(connection: sqlite3.Connection, number: int, packed: Packed, at: float) -> int:
    """Append the record of a question, after which the run waits; its seq."""
    seq = append(connection, number, [packed], at, "waiting")
    connection.execute(
        "INSERT INTO asks (run, seq, node, branch, question, asked) VALUES (?, ?, ?, ?, ?, ?)",
        (number, seq, packed.entry.node, packed.entry.branch, packed.payload, at),
    )
    return seq


def answer(
    connection: sqlite3.Connection, run_id: str, value: JsonValue, seq: int | None, at: float
) -> Ask:
    """Store the answer to one ask, or to the only open one; the run is left waiting.

    Raises: StoreRequestError: nothing is asked, or several things and `seq` is None;
    AlreadyAnswered; NotStorable.
    """
    chosen = _chosen(read(connection, run_id), run_id, seq)
    if chosen.answered is not None:
        raise AlreadyAnswered(
            f"run {run_id}: its ask {chosen.seq} was answered at {timestamp(chosen.answered)}; "
            "that answer counts, and this one was not stored",
            chosen.answered,
        )
    blobs: Blobs = {}
    text = pack(value, blobs)
    write_blobs(connection, blobs)
    connection.execute(
        "UPDATE asks SET answer = ?, answered = ? WHERE run = ? AND seq = ?",
        (text, at, number_of(connection, run_id), chosen.seq),
    )
    return next(one for one in read(connection, run_id) if one.seq == chosen.seq)


def _chosen(asks: list[Ask], run_id: str, seq: int | None) -> Ask:
    if not asks:
        raise StoreRequestError(f"run {run_id} asks nothing")
    if seq is not None:
        for one in asks:
            if one.seq == seq:
                return one
        known = ", ".join(str(one.seq) for one in asks)
        raise StoreRequestError(f"run {run_id} has no ask {seq}; its asks: {known}")
    open_ = [one for one in asks if one.answered is None]
    if len(open_) > 1:
        known = ", ".join(f"{one.seq} ({one.node})" for one in open_)
        raise StoreRequestError(f"run {run_id} asks several things, say which: {known}")
    return open_[0] if open_ else asks[-1]


def receive(connection: sqlite3.Connection, run_id: str, number: int, seq: int, at: float) -> Ask:
    """Append the record of an answer; the run goes on, or waits where more is open.

    Raises: StoreRequestError: there is no such ask, no answer yet, or it was received before.
    """
    asks = read(connection, run_id)
    one = _chosen(asks, run_id, seq)
    if one.answered is None:
        raise StoreRequestError(f"run {run_id}: its ask {seq} has no answer yet")
    if one.received is not None:
        raise StoreRequestError(
            f"run {run_id}: the answer to its ask {seq} was received in record {one.received}"
        )
    others = any(other.received is None for other in asks if other.seq != seq)
    entry = Entry(ANSWERED, {"ask": seq, "answer": one.answer}, one.node, one.branch)
    status: Status = "waiting" if others else "running"
    record = append(connection, number, [Packed.of(entry)], at, status)
    connection.execute(
        "UPDATE asks SET received = ? WHERE run = ? AND seq = ?", (record, number, seq)
    )
    return next(other for other in read(connection, run_id) if other.seq == seq)


def inherit(connection: sqlite3.Connection, parent: int, child: int, at_seq: int) -> bool:
    """Open again, in a fork, what its past asks and had received no answer to; is there any?"""
    return bool(
        connection.execute(
            "INSERT INTO asks (run, seq, node, branch, question, asked) "
            "SELECT ?, seq, node, branch, question, asked FROM asks "
            "WHERE run = ? AND seq <= ? AND (received IS NULL OR received > ?)",
            (child, parent, at_seq, at_seq),
        ).rowcount
    )


def read(connection: sqlite3.Connection, run_id: str | None) -> list[Ask]:
    """The asks of a run, or of all, in the order in which they were asked."""
    if run_id is not None:
        number_of(connection, run_id)
    fetch = fetcher(connection)
    return [
        Ask(
            run,
            seq,
            node,
            branch,
            unpack(question, fetch),
            asked,
            None if text is None else unpack(text, fetch),
            answered,
            received,
        )
        for run, seq, node, branch, question, asked, text, answered, received in connection.execute(
            "SELECT run_id, seq, node, branch, question, asked, answer, answered, received "
            "FROM asks JOIN runs ON number = run WHERE ?1 IS NULL OR run_id = ?1 "
            "ORDER BY asked, seq",
            (run_id,),
        ).fetchall()
    ]
