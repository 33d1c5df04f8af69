"""Where two runs part: the first record that differs, aligned by node and attempt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from .records import Record

VOLATILE = frozenset({"run", "at", "ledger", "seconds", "elapsed", "events", "resumed"})
"""Keys in a payload that differ between runs that did the same."""

_Key: TypeAlias = tuple[str, str, int, str, int]


@dataclass(frozen=True)
class Difference:
    """The first record that differs; None on the side that has no such record.

    `place` leads to the first difference inside the payloads, such as `output.value`.
    """

    first: Record | None
    second: Record | None
    place: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "place": self.place,
            "first": None if self.first is None else self.first.to_dict(),
            "second": None if self.second is None else self.second.to_dict(),
        }


def difference(
    first: Sequence[Record], second: Sequence[Record], ignored: Collection[str]
) -> Difference | None:
    """The earliest record without an equal; None where there is none.

    Records belong together that are the n-th of their kind for a node, attempt and branch, so
    parallel branches may have been faster or slower. `ignored` keys don't count, wherever they are.
    """
    others = dict(_keyed(second))
    found: list[Difference] = []
    for key, record in _keyed(first):
        other = others.pop(key, None)
        place = "" if other is None else _parting(record.payload, other.payload, ignored)
        if place is not None:
            found.append(Difference(record, other, place))
            break
    known = {key for key, _ in _keyed(first)}
    alone = next((record for key, record in others.items() if key not in known), None)
    if alone is not None:
        found.append(Difference(None, alone, ""))
    return min(found, key=_position, default=None)


def _position(one: Difference) -> int:
    return min(record.seq for record in (one.first, one.second) if record is not None)


def _keyed(records: Sequence[Record]) -> Iterator[tuple[_Key, Record]]:
    seen: Counter[tuple[str, str, int, str]] = Counter()
    for record in records:
        key = (record.branch, record.node, record.attempt, record.kind)
        seen[key] += 1
        yield (*key, seen[key]), record


def _parting(first: Any, second: Any, ignored: Collection[str]) -> str | None:
    """The path to the first difference, "" where the values are of two kinds, None if equal."""
    if isinstance(first, dict) and isinstance(second, dict):
        steps: list[tuple[str, Any, Any]] = [
            (key, first.get(key, _Absent), second.get(key, _Absent))
            for key in {**first, **second}
            if key not in ignored
        ]
    elif isinstance(first, list) and isinstance(second, list):
        longest = range(max(len(first), len(second)))
        steps = [(str(i), _at(first, i), _at(second, i)) for i in longest]
    else:
        same = type(first) is type(second) and first == second
        return None if same else ""
    for step, one, other in steps:
        inner = _parting(one, other, ignored)
        if inner is not None:
            return f"{step}.{inner}" if inner else step
    return None


class _Absent:
    """Stands for a value that is not there, and equals none that is."""


def _at(values: list[Any], place: int) -> Any:
    return values[place] if place < len(values) else _Absent
