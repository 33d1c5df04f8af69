"""How close a text is to its reference: exact match, token F1 and ROUGE-L, with intervals."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .metrics import RESAMPLES, Floats

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def words(text: str) -> list[str]:
    """Lower-case words without punctuation or articles. Source: arXiv 1606.05250, its script."""
    return re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split()


def exact_match(found: str, target: str) -> float:
    """1 where both have the same words in the same order."""
    return float(words(found) == words(target))


def token_f1(found: str, target: str) -> float:
    """The harmonic mean of precision and recall of words, whatever their order.

    Source: arXiv 1606.05250 §6.1.
    """
    a, b = words(found), words(target)
    return _f1((Counter(a) & Counter(b)).total(), len(a), len(b))


def rouge_l(found: str, target: str) -> float:
    """The same of the longest common subsequence of words, articles included.

    Source: Lin, ROUGE: A Package for Automatic Evaluation of Summaries, ACL 2004 §3.1, beta 1.
    """
    a, b = (re.findall(r"\w+", text.lower()) for text in (found, target))
    row = [0] * (len(b) + 1)
    for word in a:
        before = row
        row = [0]
        for j, other in enumerate(b):
            row.append(before[j] + 1 if word == other else max(row[j], before[j + 1]))
    return _f1(row[-1], len(a), len(b))


def _f1(common: int, found: int, target: int) -> float:
    if not found or not target:
        return float(found == target)
    return 2 * common / (found + target)


TEXT_METRICS: Mapping[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "token_f1": token_f1,
    "rouge_l": rouge_l,
}


def scores(found: Sequence[str], targets: Sequence[str]) -> dict[str, Floats]:
    """Each metric of each pair. Shapes: each (len(found),)."""
    pairs = list(zip(found, targets, strict=True))
    return {name: np.array([one(*pair) for pair in pairs]) for name, one in TEXT_METRICS.items()}


def mean_intervals(values: Mapping[str, Floats], seed: int = 0) -> dict[str, tuple[float, float]]:
    """The 2.5th and 97.5th percentile of each mean over resampled rows."""
    random = np.random.default_rng(seed)
    count = len(next(iter(values.values())))
    index = random.integers(0, count, (RESAMPLES, count))
    found = {}
    for name, each in values.items():
        low, high = np.percentile(each[index].mean(axis=1), [2.5, 97.5])
        found[name] = (float(low), float(high))
    return found
