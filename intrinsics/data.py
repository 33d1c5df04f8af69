"""Labelled conversations for training and evaluation: JSON Lines, every row checked."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

from pydantic import BaseModel, ValidationError

from .errors import DataError
from .located import unknown
from .messages import Document, Message

_NAMED = 5  # so many rows are named in a message that is about many


class Example(BaseModel, frozen=True):
    """One conversation with its right label or, for an output that is text, its target.

    Further keys of a row (licence, categories) are let through.
    """

    id: str = ""
    messages: tuple[Message, ...]
    documents: tuple[Document, ...] = ()
    arguments: dict[str, str] = {}
    label: str = ""
    target: str = ""
    source: str = ""


def read_examples(path: Path, labels: Sequence[str]) -> list[Example]:
    """The rows of a JSON Lines file, in order; without `labels` each has a target text.

    Raises: DataError: file and line of the first unusable row, and what to do about it.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such data file; give one with a JSON object a line")
    examples: list[Example] = []
    seen: dict[str, int] = {}
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            line = _text(raw, f"{path}:{number}")
            if not line.strip():
                continue
            example = _parse(line, f"{path}:{number}")
            _check(example, labels, f"{path}:{number}")
            if example.id in seen:
                raise DataError(
                    f"{path}:{number}: id {example.id!r} is already in line {seen[example.id]}; "
                    f"ids are unique"
                )
            if example.id:
                seen[example.id] = number
            examples.append(example)
    if not examples:
        raise DataError(f"{path}: holds no rows; give at least one")
    return examples


def balanced(examples: Sequence[Example], count: int, seed: int) -> list[Example]:
    """At most `count` examples: labels evenly, and within a label its sources evenly."""
    groups: dict[tuple[str, str], list[Example]] = {}
    for example in examples:
        groups.setdefault((example.label, example.source), []).append(example)
    random = Random(seed)
    for group in groups.values():
        random.shuffle(group)
    by_label = [
        deque(group for (own, _), group in groups.items() if own == label)
        for label in sorted({label for label, _ in groups})
    ]
    taken: list[Example] = []
    while len(taken) < count and any(by_label):
        for sources in by_label:
            if sources and len(taken) < count:
                group = sources.popleft()
                taken.append(group.pop())
                if group:
                    sources.append(group)
    random.shuffle(taken)
    return taken


def check_trainable(examples: Iterable[Example], labels: Sequence[str], where: str) -> None:
    """Raises: DataError: a label never occurs, so that it could not be learnt."""
    counts = Counter(example.label for example in examples)
    missing = [label for label in labels if not counts[label]]
    if missing:
        raise DataError(
            f"{where}: no row is labelled {missing[0]!r} (found {dict(counts)}); training needs "
            f"rows of every label"
        )


def check_disjoint(train: Iterable[Example], dev: Iterable[Example]) -> None:
    """Raises: DataError: a row is in both splits, so that the choice on dev would be blind."""
    known = {_identity(example) for example in train}
    shared = [_identity(example) for example in dev if _identity(example) in known]
    if shared:
        more = f" and {len(shared) - _NAMED} more" if len(shared) > _NAMED else ""
        raise DataError(
            f"{len(shared)} rows are in both the training and the development data: "
            f"{', '.join(repr(one[:200]) for one in shared[:_NAMED])}{more}; take them out of one"
        )


def _identity(example: Example) -> str:
    """Its id or, without one, what it says."""
    return example.id or example.model_dump_json(exclude={"id", "label", "target", "source"})


def _text(raw: bytes, where: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 at byte {error.start + 1}; save it as UTF-8") from None


def _parse(line: str, where: str) -> Example:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(
            f"{where}: not a complete JSON object ({error}); was the file cut?"
        ) from error
    if isinstance(row, dict) and isinstance(row.get("label"), bool):
        row["label"] = str(row["label"]).lower()
    try:
        return Example.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "row"
        raise DataError(f"{where}: {key}: {first['msg']}") from error


def _check(example: Example, labels: Sequence[str], where: str) -> None:
    if not example.messages:
        raise DataError(f"{where}: messages is empty; give at least one")
    for i, message in enumerate(example.messages):
        if not message.content.strip():
            raise DataError(f"{where}: message {i + 1} ({message.role}) is empty; give it text")
    if not (example.label if labels else example.target.strip()):
        raise DataError(f"{where}: missing key {'label' if labels else 'target'!r}; give it text")
    if labels and example.label not in labels:
        raise DataError(f"{where}: {unknown('label', example.label, list(labels))}")
