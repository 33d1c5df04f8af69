"""Build training data for answerability with realistic negatives.

    python scripts/answerability_data.py DATA/answerability OUT

Positive: an answerable question with its own passage. Negative: the same kind of question with
another passage of the same article that does not contain any of its answers; such a passage shares
topic and rare words, so that word overlap tells little. The rows of SQuAD 2.0 whose questions were
written to look answerable are kept apart in OUT/hard_SPLIT.jsonl, to be reported on their own.
OUT/train.jsonl then varies as `augment.py` tells, and so do OUT/both_train.jsonl and
OUT/both_dev.jsonl, which hold both kinds for an intrinsic that learns them together.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path
from random import Random

from augment import augmented
from surroundings import distinct_passages
from variety import Row, read, with_system, write


def build(rows: list[Row], seed: int) -> list[Row]:
    """Positives and negatives, each answerable question used once, half and half."""
    passages: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        passage = row["documents"][0]
        if passage not in passages[passage["id"]]:
            passages[passage["id"]].append(passage)
    random = Random(seed)
    answerable = [row for row in rows if row["label"] == "answerable"]
    random.shuffle(answerable)
    built = []
    for i, row in enumerate(answerable):
        if i % 2 == 0:
            built.append(row)
            continue
        own = row["documents"][0]
        others = [
            p for p in passages[own["id"]] if p != own and not _contains(p["text"], row["answers"])
        ]
        if others:
            built.append(
                {
                    **row,
                    "id": f"{row['id']}-elsewhere",
                    "documents": [random.choice(others)],
                    "label": "unanswerable",
                }
            )
    return built


def _contains(text: str, answers: list[str]) -> bool:
    return any(answer.lower() in text.lower() for answer in answers)


def main(source: Path, target: Path) -> None:
    """Write OUT/{,hard_}{train,dev,test}.jsonl and OUT/both_{train,dev}.jsonl."""
    for split in ("train", "dev", "test"):
        rows = read(source / f"{split}.jsonl")
        built = [with_system(row) for row in build(rows, seed=0)]
        hard = [with_system(row) for row in rows]
        if split != "test":
            pool = distinct_passages(rows)
            varied = augmented(built, pool)
            again = [{**row, "id": f"{row['id']}-hard"} for row in hard]  # ids are unique in a file
            write(target / f"both_{split}.jsonl", [*varied, *augmented(again, pool)])
            if split == "train":
                built = varied
        write(target / f"{split}.jsonl", built)
        write(target / f"hard_{split}.jsonl", hard)
        counts = Counter(row["label"] for row in built)
        print(f"{split}: {dict(counts)}, hard {len(hard)}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
