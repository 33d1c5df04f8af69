"""Build training data for context_relevance: one document each, negatives near and far.

    python scripts/context_relevance_data.py DATA OUT

From DATA/answerability (SQuAD 2.0): each answerable question twice, with its own passage and with
one that holds none of its answers: any of another article, any of the same article, or the one of
the same article that shares most of the question's rare words. From DATA/context_relevance
(PrivacyQA): people judged whether the clause matters for the question; as many relevant as
irrelevant clauses of each question, so that the question tells nothing. `source` tells which.
OUT/train.jsonl then varies as `augment.py` tells, but each row keeps its only document.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from random import Random

from augment import augmented
from passages import mentions, overlap, rarity, shuffled, take, words
from surroundings import distinct_passages
from variety import Row, read, with_system, write

COUNTS = {  # pairs of each kind
    "train": {"another article": 100, "same article": 400, "alike": 150, "PrivacyQA": 200},
    "dev": {"another article": 25, "same article": 60, "alike": 40, "PrivacyQA": 40},
    "test": {"another article": 60, "same article": 130, "alike": 90, "PrivacyQA": 120},
}
PAIRS_PER_QUESTION = 4
LONGEST = 150  # words of a document


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


class Passages:
    """The passages of SQuAD 2.0 by article, to take a question's negatives from."""

    def __init__(self, rows: list[Row], random: Random) -> None:
        self._random = random
        self._articles: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            passage = row["documents"][0]
            group = self._articles[passage["id"]]
            if passage not in group and len(words(passage["text"])) <= LONGEST:
                group.append(passage)
        self._rare = rarity(p["text"] for group in self._articles.values() for p in group)

    def pair(self, row: Row, kind: str) -> tuple[Row, Row] | None:
        """A question with its own passage and with one of a kind, if there is one."""
        own, question = row["documents"][0], row["messages"][-1]["content"]
        same = self._articles[own["id"]]
        if own not in same:
            return None
        if kind == "another article":
            others = [p for id, g in sorted(self._articles.items()) if id != own["id"] for p in g]
        else:
            others = [passage for passage in same if passage != own]
        others = [passage for passage in others if not mentions(passage["text"], row["answers"])]
        if not others:
            return None
        if kind == "alike":
            other = max(others, key=lambda p: overlap(question, p["text"], self._rare))
        else:
            other = self._random.choice(others)
        source = f"SQuAD 2.0, {kind}"
        return _row(row, own, "relevant", source), _row(row, other, "irrelevant", source)


def _row(row: Row, passage: Row, label: str, source: str) -> Row:
    document = {"id": "passage", "text": passage["text"]}
    kept = {key: row[key] for key in ("messages", "license")}
    told = {"id": f"{row['id']}-{label}", **kept, "source": source}
    return {**told, "documents": [document], "label": label}


def build(people: list[Row], squad: list[Row], split: str) -> list[Row]:
    """The rows of one split, in a random order; a question is asked of one kind only."""
    random = Random(split)
    passages = Passages(squad, random)
    questions = shuffled((row for row in squad if row["label"] == "answerable"), split)
    rows: list[Row] = []
    for kind, count in COUNTS[split].items():
        if kind == "PrivacyQA":
            rows += take(judged(people, split), count, split)
            continue
        left = count
        while left and questions:
            pair = passages.pair(questions.pop(), kind)
            rows += pair or ()
            left -= pair is not None
    random.shuffle(rows)
    return [with_system(row) for row in rows]


def main(source: Path, target: Path) -> None:
    """Write OUT/{train,dev,test}.jsonl."""
    for split in COUNTS:
        people = read(source / "context_relevance" / f"{split}.jsonl")
        squad = read(source / "answerability" / f"{split}.jsonl")
        rows = build(people, squad, split)
        if split == "train":
            rows = augmented(rows, distinct_passages(squad), without=["documents"])
        write(target / f"{split}.jsonl", rows)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
