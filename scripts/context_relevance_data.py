"""Build training data for context_relevance: one document each, negatives that share rare words.

    python scripts/context_relevance_data.py DATA OUT

From DATA/context_relevance (PrivacyQA): people judged whether the clause matters for the question;
as many relevant as irrelevant clauses of each question, so that the question tells nothing. From
DATA/answerability (SQuAD 2.0): each answerable question twice, with its own passage and with the
passage of the same article that shares most of its rare words and holds none of its answers. Pairs
in which the own passage shares far more words are left out.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from random import Random

from passages import mentions, overlap, rarity, shuffled, take, words
from variety import Row, read, with_system, write

COUNTS = {"train": (500, 500), "dev": (90, 90), "test": (130, 130)}  # pairs: PrivacyQA, SQuAD
PAIRS_PER_QUESTION = 4
LONGEST = 150  # words of a document
KEPT = 0.4  # share of the SQuAD pairs: those whose two passages are nearest in shared words


def judged(rows: list[Row], seed: str) -> list[tuple[Row, Row]]:
    """Rows judged by people, in pairs of a relevant and an irrelevant clause of one question."""
    groups: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in shuffled(rows, seed):
        if len(words(row["documents"][0]["text"])) <= LONGEST:
            groups[row["messages"][-1]["content"]][row["label"]].append(row)
    return [
        pair
        for group in groups.values()
        for pair in list(zip(group["relevant"], group["irrelevant"], strict=False))[
            :PAIRS_PER_QUESTION
        ]
    ]


def neighbours(rows: list[Row]) -> list[tuple[Row, Row]]:
    """Answerable questions with their own passage and with the most alike of the same article."""
    passages: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        passage = row["documents"][0]
        if passage not in passages[passage["id"]] and len(words(passage["text"])) <= LONGEST:
            passages[passage["id"]].append(passage)
    rare = rarity(p["text"] for group in passages.values() for p in group)
    found: list[tuple[float, Row, Row]] = []
    for row in rows:
        own, question = row["documents"][0], row["messages"][-1]["content"]
        group = passages[own["id"]]
        others = [p for p in group if p != own and not mentions(p["text"], row["answers"])]
        if row["label"] != "answerable" or own not in group or not others:
            continue
        shared = [overlap(question, p["text"], rare) for p in others]
        other = others[max(range(len(others)), key=shared.__getitem__)]
        gap = overlap(question, own["text"], rare) - max(shared)
        found.append((gap, _row(row, own, "relevant"), _row(row, other, "irrelevant")))
    found.sort(key=lambda one: one[0])
    return [(own, other) for _, own, other in found[: max(1, round(KEPT * len(found)))]]


def _row(row: Row, passage: Row, label: str) -> Row:
    document = {"id": "passage", "text": passage["text"]}
    kept = {key: row[key] for key in ("messages", "source", "license")}
    return {"id": f"{row['id']}-{label}", **kept, "documents": [document], "label": label}


def build(people: list[Row], squad: list[Row], split: str) -> list[Row]:
    """The rows of one split, in a random order."""
    clauses, pairs = COUNTS[split]
    rows = take(judged(people, split), clauses, split) + take(neighbours(squad), pairs, split)
    Random(split).shuffle(rows)
    return [with_system(row) for row in rows]


def main(source: Path, target: Path) -> None:
    """Write OUT/{train,dev,test}.jsonl."""
    for split in COUNTS:
        people = read(source / "context_relevance" / f"{split}.jsonl")
        squad = read(source / "answerability" / f"{split}.jsonl")
        write(target / f"{split}.jsonl", build(people, squad, split))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
