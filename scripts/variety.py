"""What surrounds a question in real chats, so that an intrinsic learns more than one setting.

The same row always gets the same surroundings: they are drawn from its id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

Row = dict[str, Any]

SYSTEM_TEXTS = (
    None,  # the chat template's own
    None,
    "You are a helpful assistant.",
    "You answer questions from the documents, in one or two sentences.",
    "Be brief and polite. Say so when you do not know something.",
    "You are the assistant of a public library. Help readers with whatever they ask.",
)


def with_system(row: Row) -> Row:
    """The row, maybe with a system message in front."""
    text = Random(f"system {row['id']}").choice(SYSTEM_TEXTS)
    if text is None:
        return row
    return {**row, "messages": [{"role": "system", "content": text}, *row["messages"]]}


def read(path: Path) -> list[Row]:
    """The rows of a JSON Lines file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write a JSON Lines file, and the folder it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
