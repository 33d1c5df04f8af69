"""Judges that know no language model: the commonest label, lengths alone, words alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from intrinsics.data import Example
from intrinsics.metrics import Floats
from scores import predictions, quality
from task import Found, Task

STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # C of the logistic regression: the inverse of its penalty
WORDS = {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"}
CHARACTERS = {"analyzer": "char_wb", "ngram_range": (2, 5)}
FEATURES: dict[str, tuple[dict[str, Any], ...]] = {
    "words": (WORDS,),
    "characters": (CHARACTERS,),
    "words and characters": (WORDS, CHARACTERS),
}


def majority(task: Task) -> Found:
    """The commonest label of the training and development rows, with its share."""
    counts = Counter(row.label for row in (*task.all_train, *task.dev))
    shares = np.array([counts[label] for label in task.labels], dtype=np.float64)
    row = shares / shares.sum()
    label = task.labels[int(row.argmax())]
    told = {name: np.tile(row, (len(rows), 1)) for name, rows in task.splits.items()}
    return Found({"label": label}, told)


def length_only(task: Task) -> Found:
    """Logistic regression on how long the last message and the documents are, and no word."""
    return _best(task, {"lengths": (lambda: (StandardScaler(),), _lengths)})


def tfidf(task: Task) -> Found:
    """TF-IDF with logistic regression on the whole text, documents and arguments included.

    Which n-grams are counted, and the penalty, are chosen on dev.
    """
    return _best(
        task,
        {
            name: (lambda kinds=kinds: (_vectorizer(kinds),), _texts)
            for name, kinds in FEATURES.items()
        },
    )


def text_of(row: Example) -> str:
    """Everything a judge may read: arguments, documents, and the messages with their roles."""
    arguments = [f"{name}: {value}" for name, value in row.arguments.items()]
    documents = [document.text for document in row.documents]
    messages = [f"{message.role}: {message.content}" for message in row.messages]
    return "\n".join([*arguments, *documents, *messages])


def _best(task: Task, ways: dict[str, Any]) -> Found:
    """Fit every way at every strength on train; the best on dev judges all splits."""
    truth = [row.label for row in task.all_train]
    fitted: list[tuple[tuple[float, float], dict[str, Any], Any, Any]] = []
    for (name, (steps, read)), strength in product(ways.items(), STRENGTHS):
        model = make_pipeline(*steps(), LogisticRegression(C=strength, max_iter=5000))
        model.fit(read(task.all_train), truth)
        found = predictions(task, task.dev, _shares(task, model, read(task.dev)))
        fitted.append((quality(found), {"features": name, "C": strength}, model, read))
    score, chosen, model, read = max(fitted, key=lambda one: one[0])
    told = {"dev_balanced_accuracy": score[0], "runs": len(fitted)}
    shares = {name: _shares(task, model, read(rows)) for name, rows in task.splits.items()}
    return Found({**chosen, **told}, shares)


def _vectorizer(kinds: Sequence[dict[str, Any]]) -> Any:
    return make_union(*(TfidfVectorizer(sublinear_tf=True, min_df=2, **kind) for kind in kinds))


def _shares(task: Task, model: Any, inputs: Any) -> Floats:
    known = list(model.classes_)
    order = [known.index(label) for label in task.labels]
    shares: Floats = model.predict_proba(inputs)[:, order]
    return shares


def _texts(rows: Sequence[Example]) -> list[str]:
    return [text_of(row) for row in rows]


def _lengths(rows: Sequence[Example]) -> list[list[float]]:
    """Shapes: (rows, 4): logarithms of characters and words of last message and documents."""
    told = []
    for row in rows:
        texts = (row.messages[-1].content, " ".join(d.text for d in row.documents))
        told.append([math.log1p(size) for text in texts for size in (len(text), len(text.split()))])
    return told
