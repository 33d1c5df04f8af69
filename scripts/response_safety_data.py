"""Build training data for response_safety: replies that people judged harmful or harmless.

    python scripts/response_safety_data.py DATA DOWNLOADS OUT

PyRIT (wheel in DOWNLOADS) ships replies of chat models to harmful and odd requests, scored by
people from 0 to 1: up to .25 is safe, from .6 unsafe, what lies between is left out. Its replies of
which people only said whether they do what was asked join the training split, and its refusals all
splits. The texts of OpenAI's moderation set (DATA/safety), judged by people too, stand as
replies to a neutral request, and sentences that answer a question of SQuAD 2.0
(DATA/answerability) as harmless help. Splits share no request; both labels have the same lengths.
No harmful text was written for this.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import mean

from downloads import texts
from families import split_of
from lengths import matched
from passages import mentions, sentences, shuffled, words
from variety import Row, read, with_system, write

SPLITS = ("train", "dev", "test")
COUNTS = {"train": 2000, "dev": 400, "test": 600}
SAFE_UP_TO, UNSAFE_FROM = 0.25, 0.6
PYRIT = "pyrit==1.1.0"
FOLDER = "pyrit/datasets/scorer_evals/"
SCORED = "Scored replies (in PyRIT 1.1.0)"
REACHED = "Replies that do what was asked or not (in PyRIT 1.1.0)"
REFUSALS = "Refusals (in PyRIT 1.1.0)"
MODERATION = "OpenAI moderation evaluation set"
LONGEST = 180  # words of a request
REQUESTS = (
    "Write something for my page.",
    "Give me a text that I can post.",
    "Continue in your own words.",
    "Write a comment for the discussion.",
    "Write a short text.",
    "Make up a post.",
    "Say something.",
    "Write the next part.",
)


def scored(downloads: Path) -> Iterator[Row]:
    """Replies with a score from people, where it is clear."""
    for row in _table(downloads, "harm/"):
        score = mean(float(row[key]) for key in row if key.startswith("human_score") and row[key])
        if score <= SAFE_UP_TO or score >= UNSAFE_FROM:
            label = "safe" if score <= SAFE_UP_TO else "unsafe"
            yield _row(row["objective"], row["assistant_response"], label, SCORED, "MIT")


def reached(downloads: Path) -> Iterator[Row]:
    """Replies to harmful requests of which people said whether they do what was asked."""
    for row in _table(downloads, "objective/"):
        label = "unsafe" if row["human_score"] == "1" else "safe"
        yield _row(row["objective"], row["assistant_response"], label, REACHED, "MIT")


def refusals(downloads: Path) -> Iterator[Row]:
    """Replies in which people saw a refusal."""
    for row in _table(downloads, "refusal_scorer/"):
        if row["human_score"] == "1":
            yield _row(row["objective"], row["assistant_response"], "safe", REFUSALS, "MIT")


def moderated(data: Path, split: str) -> Iterator[Row]:
    """Texts of the moderation set as replies to a request that tells nothing."""
    for row in read(data / "safety" / f"{split}.jsonl"):
        if row["source"] == MODERATION:
            text = row["messages"][-1]["content"]
            request = Random(f"request {row['id']}").choice(REQUESTS)
            yield _row(request, text, row["label"], MODERATION, row["license"], row["id"])


def helpful(data: Path, split: str) -> Iterator[Row]:
    """Sentences of a passage from the one that answers the question on."""
    for row in read(data / "answerability" / f"{split}.jsonl"):
        if row["label"] == "answerable":
            said = sentences(row["documents"][0]["text"])
            first = next((i for i, s in enumerate(said) if mentions(s, row["answers"])), None)
            if first is not None:
                count = Random(f"help {row['id']}").randint(1, 5)
                text = " ".join(said[first : first + count])
                question = row["messages"][-1]["content"]
                yield _row(question, text, "safe", row["source"], row["license"], row["id"])


def _table(downloads: Path, folder: str) -> Iterator[dict[str, str]]:
    """The rows of PyRIT's CSV files of a folder, without their comment lines."""
    for _, text in texts(downloads, PYRIT, FOLDER + folder, ".csv"):
        lines = [line for line in text.splitlines(keepends=True) if not line.startswith("#")]
        for row in csv.DictReader(lines):
            yield {key: value for key, value in row.items() if key and value is not None}


def _row(
    request: str, reply: str, label: str, source: str, licence: str, name: str | None = None
) -> Row:
    # The same reply comes in several of PyRIT's files, and once is enough: its text is its id.
    given = name or f"{Random(reply).getrandbits(48):012x}"
    return {
        "id": f"response-{given}",
        "messages": [
            {"role": "user", "content": request.strip()},
            {"role": "assistant", "content": reply.strip()},
        ],
        "documents": [],
        "label": label,
        "source": source,
        "license": licence,
    }


def of_pyrit(downloads: Path) -> dict[str, list[Row]]:
    """PyRIT's replies by split, each once; a request lies in one split with all its replies."""
    shared: dict[str, list[Row]] = {split: [] for split in SPLITS}
    seen: set[str] = set()
    for row in (*scored(downloads), *refusals(downloads), *reached(downloads)):
        request, reply = (message["content"] for message in row["messages"])
        split = split_of(" ".join(words(request)))
        elsewhere = row["source"] == REACHED and split != "train"
        too_long = len(words(request)) > LONGEST
        if row["id"] in seen or elsewhere or too_long or not words(reply):
            continue
        seen.add(row["id"])
        shared[split].append(row)
    return shared


def main(data: Path, downloads: Path, target: Path) -> None:
    """Write OUT/{train,dev,test}.jsonl."""
    pyrit = of_pyrit(downloads)
    for split in SPLITS:
        rows = [*pyrit[split], *moderated(data, split), *helpful(data, split)]
        unsafe, safe = ([r for r in rows if r["label"] == label] for label in ("unsafe", "safe"))
        chosen = matched(unsafe, safe, COUNTS[split], split, {})
        write(target / f"{split}.jsonl", map(with_system, shuffled(chosen, split)))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
