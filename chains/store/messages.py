"""Messages as a tree of prefixes: each knows its parent, and its hash says all that led to it."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from ..errors import NotStorable, StoreRequestError
from .values import Blobs, fetcher, pack, unpack, write_blobs

ROOT = ""
"""The parent of a conversation's first message, and the head of an empty conversation."""


@dataclass(frozen=True)
class StoredMessage:
    """A message behind the one whose hash is `parent` (or ROOT), with its exact token ids."""

    role: str
    content: str
    token_ids: tuple[int, ...] = ()
    parent: str = ROOT

    @cached_property
    def hash(self) -> str:
        """64 hexadecimal digits; equal for equal messages with an equal past.

        Raises: NotStorable: the content is not text; StoreRequestError: the parent is no hash.
        """
        try:
            texts = self.role.encode(), self.content.encode()
        except UnicodeEncodeError as error:
            raise NotStorable(f"a message is not text at character {error.start}") from None
        found = sha256()
        for part in (as_bytes(self.parent), *texts, pack_ids(self.token_ids)):
            found.update(struct.pack("<Q", len(part)))  # else "ab" + "c" would equal "a" + "bc"
            found.update(part)
        return found.hexdigest()


def as_bytes(hash_: str) -> bytes:
    """A message's hash, or ROOT, as it is stored. Raises: StoreRequestError: neither."""
    try:
        return bytes.fromhex(hash_)
    except ValueError:
        raise StoreRequestError(f"{hash_!r} is no hash of a message") from None


def pack_ids(ids: Sequence[int]) -> bytes:
    """Token ids in as few bytes each as the greatest needs: all low bytes, then all next ones.

    Ids are below 2**32. SmolLM2's fit in two bytes each, Qwen's in three.
    """
    plain = struct.pack(f"<{len(ids)}I", *ids)
    width = (max(ids, default=0).bit_length() + 7) // 8 or 1
    return bytes([width]) + b"".join(plain[plane::4] for plane in range(width))


def unpack_ids(data: bytes) -> tuple[int, ...]:
    """What `pack_ids` was given."""
    width, planes = data[0], data[1:]
    count = len(planes) // width
    plain = bytearray(4 * count)
    for plane in range(width):
        plain[plane::4] = planes[plane * count : (plane + 1) * count]
    return struct.unpack(f"<{count}I", plain)


def write_messages(connection: sqlite3.Connection, messages: Iterable[StoredMessage]) -> None:
    """Store those that are not there yet, in the given order.

    Raises: NotStorable, sqlite3.IntegrityError: the parent of one is not stored.
    """
    for message in messages:
        blobs: Blobs = {}
        content = pack(message.content, blobs)
        write_blobs(connection, blobs)
        connection.execute(
            "INSERT INTO messages (hash, parent, role, content, tokens) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (hash) DO NOTHING",
            (
                bytes.fromhex(message.hash),
                as_bytes(message.parent),
                message.role,
                content,
                pack_ids(message.token_ids),
            ),
        )


def read_messages(connection: sqlite3.Connection, head: str) -> list[StoredMessage]:
    """The conversation that ends with `head`, from its first message on.

    Raises: StoreRequestError: no such message.
    """
    known = connection.execute("SELECT 1 FROM messages WHERE hash = ?", (as_bytes(head),))
    if known.fetchone() is None:
        raise StoreRequestError(f"no message {head!r}; a record's `head` names one")
    rows = connection.execute(
        """
        WITH RECURSIVE back (hash, steps) AS (
            SELECT ?, 0
            UNION ALL
            SELECT parent, steps + 1 FROM back JOIN messages USING (hash)
            WHERE parent IS NOT NULL
        )
        SELECT role, content, tokens, parent FROM back JOIN messages USING (hash)
        WHERE parent IS NOT NULL
        ORDER BY steps DESC
        """,
        (as_bytes(head),),
    ).fetchall()
    fetch = fetcher(connection)
    return [
        StoredMessage(role, unpack(content, fetch), unpack_ids(tokens), parent.hex())
        for role, content, tokens, parent in rows
    ]
