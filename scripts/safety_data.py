"""Build training data for safety: prompts as they come, and prompts in a chat with documents.

    python scripts/safety_data.py DATA OUT

Reads DATA/safety and takes passages from DATA/answerability. A third of the training and
development prompts get a passage in front, since a judge that never saw documents may take their
presence for a sign. The rows of scripts/data are added: benign prompts that sound
alarming, everyday ones, and harmful ones in the same words. OUT/test.jsonl holds the test prompts
as they are, OUT/test_documents.jsonl each of them behind a passage, OUT/test_alarming.jsonl those
of scripts/data. Training rows then vary as `augment.py` tells.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

from augment import augmented
from surroundings import distinct_passages
from variety import Row, read, with_system, write

SHARE_WITH_DOCUMENTS = 1 / 3
OWN = Path(__file__).parent / "data"
REPEATED = 3  # the own rows are few and count for much: other surroundings each time


def behind_passage(row: Row, passages: list[Row]) -> Row:
    """The row with a passage that has nothing to do with it."""
    return {**row, "documents": [Random(f"passage {row['id']}").choice(passages)]}


def own_rows(split: str) -> list[Row]:
    """The rows of scripts/data; those for training several times, under ids of their own."""
    rows = read(OWN / f"sounds_alarming_{split}.jsonl")
    times = REPEATED if split == "train" else 1
    return [{**row, "id": f"{row['id']}-{i}"} for i in range(times) for row in rows]


def main(source: Path, target: Path) -> None:
    """Write the splits."""
    for split in ("train", "dev", "test"):
        rows = read(source / "safety" / f"{split}.jsonl")
        others = read(source / "answerability" / f"{split}.jsonl")
        passages = [row["documents"][0] for row in others]
        if split == "test":
            write(target / "test.jsonl", rows)
            behind = [with_system(behind_passage(row, passages)) for row in rows]
            write(target / "test_documents.jsonl", behind)
            write(target / "test_alarming.jsonl", read(OWN / "sounds_alarming_test.jsonl"))
            continue
        rows += own_rows(split)
        mixed = []
        for row in rows:
            apart = Random(f"apart {row['id']}").random() >= SHARE_WITH_DOCUMENTS
            mixed.append(with_system(row if apart else behind_passage(row, passages)))
        if split == "train":
            mixed = augmented(mixed, distinct_passages(others))
        write(target / f"{split}.jsonl", mixed)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
