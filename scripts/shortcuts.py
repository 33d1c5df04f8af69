"""Measure what gives labels away without reading: length, shared words, a bag of words.

    python scripts/shortcuts.py FOLDER...

Reads FOLDER/{train,test}.jsonl (and further test_*.jsonl) and writes FOLDER/shortcuts.json: the
majority class, AUROC of the length alone and of the words shared between the judged text and the
documents, and accuracy and AUROC of TF-IDF with logistic regression on the whole row, on each part
alone, all trained on train. An AUROC below .5 is turned round, since a shortcut may be used either
way. Needs scikit-learn.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline

from passages import content, words
from variety import Row, read


def last(row: Row) -> str:
    """The message that is judged, or the question that is."""
    return str(row["messages"][-1]["content"])


def before(row: Row) -> str:
    """The messages before the last, but the system message."""
    return "\n".join(m["content"] for m in row["messages"][:-1] if m["role"] != "system")


def documents(row: Row) -> str:
    """All documents."""
    return "\n".join(document["text"] for document in row.get("documents", []))


def arguments(row: Row) -> str:
    """All arguments."""
    return "\n".join(row.get("arguments", {}).values())


def whole(row: Row) -> str:
    """Everything an intrinsic reads, but the system message."""
    said = [m["content"] for m in row["messages"] if m["role"] != "system"]
    return "\n".join([documents(row), *said, arguments(row)])


PARTS: dict[str, Callable[[Row], str]] = {
    "whole row": whole,
    "last message": last,
    "messages before": before,
    "documents": documents,
    "arguments": arguments,
}


def shared(row: Row) -> float:
    """The share of the last message's content words that stand in the documents or arguments."""
    asked = content(last(row))
    return len(asked & content(documents(row) + "\n" + arguments(row))) / max(len(asked), 1)


def auroc(labels: Sequence[str], scores: Sequence[float]) -> float | None:
    """The better of both directions; None where one label is missing."""
    names = sorted(set(labels))
    if len(names) != 2:
        return None
    found = float(roc_auc_score([label == names[1] for label in labels], scores))
    return round(max(found, 1 - found), 3)


def measure(train: list[Row], test: list[Row]) -> dict[str, Any]:
    """Every shortcut on one test set."""
    labels = [row["label"] for row in test]
    counts = Counter(labels)
    found: dict[str, Any] = {
        "n": len(test),
        "labels": dict(counts),
        "majority": round(max(counts.values()) / len(test), 3),
        "auroc_length_of_last_message": auroc(labels, [len(words(last(row))) for row in test]),
        "auroc_length_of_row": auroc(labels, [len(words(whole(row))) for row in test]),
        "auroc_shared_words": auroc(labels, [shared(row) for row in test]),
        "tfidf": {},
        "by_source": {},
    }
    for name, part in PARTS.items():
        if any(part(row) for row in train):
            found["tfidf"][name] = _tfidf(train, test, part)
    for source in sorted({row["source"] for row in test}):
        rows = [row for row in test if row["source"] == source]
        own = [row["label"] for row in rows]
        found["by_source"][source] = {
            "labels": dict(Counter(own)),
            "auroc_length_of_last_message": auroc(own, [len(words(last(row))) for row in rows]),
            "auroc_shared_words": auroc(own, [shared(row) for row in rows]),
        }
    return found


def _tfidf(train: list[Row], test: list[Row], part: Callable[[Row], str]) -> dict[str, Any]:
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\S+"),
        LogisticRegression(C=10, max_iter=1000),
    )
    model.fit([part(row) for row in train], [row["label"] for row in train])
    labels = [row["label"] for row in test]
    found = model.predict([part(row) for row in test])
    scores = model.decision_function([part(row) for row in test])
    names = sorted(set(labels))
    if len(names) != 2:
        return {"accuracy": round(float((found == labels).mean()), 3)}
    return {
        "balanced_accuracy": round(float(balanced_accuracy_score(labels, found)), 3),
        "auroc": round(float(roc_auc_score([label == names[1] for label in labels], scores)), 3),
    }


def main(folders: Sequence[Path]) -> None:
    """Measure each folder and write its shortcuts.json."""
    for folder in folders:
        train = read(folder / "train.jsonl")
        found = {
            path.stem: measure(train, read(path)) for path in sorted(folder.glob("test*.jsonl"))
        }
        (folder / "shortcuts.json").write_text(json.dumps(found, indent=2) + "\n")
        print(folder.name, json.dumps(found, indent=2))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main([Path(folder) for folder in sys.argv[1:]])
