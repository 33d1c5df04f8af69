"""Rows of two labels chosen so that the length of the last message does not tell them apart."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from passages import shuffled, words
from variety import Row

BINS = (5, 8, 11, 15, 20, 30, 40, 55, 70, 90, 115, 145, 175, 230)  # upper ends, in words
LONGEST = 1500  # characters, so that text without spaces is not thousands of tokens


def matched(
    rows: Sequence[Row],
    others: Sequence[Row],
    count: int,
    seed: str,
    kind_of: Mapping[str, str],
) -> list[Row]:
    """At most `count` rows, as many from `rows` as from `others` in each bin of lengths.

    On both sides sources take turns; sources that `kind_of` gives one name take a turn together.
    """
    pairs: list[tuple[Row, Row]] = []
    for bin_ in range(len(BINS)):
        one, other = (
            _in_turn([row for row in shuffled(side, seed) if _bin(row) == bin_], kind_of)
            for side in (rows, others)
        )
        pairs += zip(one, other, strict=False)
    Random(seed).shuffle(pairs)
    return [row for pair in pairs[: count // 2] for row in pair]


def _bin(row: Row) -> int | None:
    text = row["messages"][-1]["content"]
    if len(text) > LONGEST:
        return None
    return next((i for i, end in enumerate(BINS) if len(words(text)) <= end), None)


def _in_turn(rows: Sequence[Row], kind_of: Mapping[str, str]) -> Iterator[Row]:
    groups: dict[str, deque[Row]] = defaultdict(deque)
    for row in rows:
        groups[kind_of.get(row["source"], row["source"])].append(row)
    turn = deque(groups[key] for key in sorted(groups))
    while turn:
        group = turn.popleft()
        yield group.popleft()
        if group:
            turn.append(group)
