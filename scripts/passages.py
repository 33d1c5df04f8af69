"""Words and sentences of passages, and how much of a question's rare words a passage shares."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from random import Random

from variety import Row

SENTENCE_END = r"(?<!\bSt\.)(?<!\b[DM]r\.)(?<!\bMrs\.)(?<=[a-z\d)\"”][.!?]) +(?=[A-Z\"“])"


def words(text: str) -> list[str]:
    """Lower-case words and numbers, in order."""
    return re.findall(r"[^\W_]+", text.lower())


COMMON = frozenset(
    words(
        "a an and are as at be been being but by can could did do does for from had has have "
        "he her his how i if in into is it its many may me much my no not of on or our she "
        "should so some such than that the their them then there these they this those to was "
        "we were what when where which while who whom whose why will with would you your"
    )
)


def content(text: str) -> set[str]:
    """The words that carry meaning."""
    return {word for word in words(text) if word not in COMMON}


def sentences(text: str) -> list[str]:
    """The text cut after full stops, question and exclamation marks that end a sentence."""
    cut = re.split(SENTENCE_END, text.replace("\n", " ").strip())
    return [sentence for sentence in cut if sentence]


def rarity(texts: Iterable[str]) -> dict[str, float]:
    """Each word's inverse document frequency, in nats."""
    listed = list(texts)
    counts = Counter(word for text in listed for word in set(words(text)))
    return {word: math.log((len(listed) + 1) / count) for word, count in counts.items()}


def overlap(question: str, passage: str, rare: Mapping[str, float]) -> float:
    """The share, 0 to 1, of the question's words found in the passage, weighted by rarity."""
    asked = content(question)
    weights = {word: rare.get(word, max(rare.values(), default=1.0)) for word in asked}
    found = content(passage)
    # An exact sum: that of floats would depend on the order of a set, and so on the process.
    shared = math.fsum(weights[word] for word in asked & found)
    return shared / max(math.fsum(weights.values()), 1e-9)


def mentions(text: str, answers: Iterable[str]) -> bool:
    """Whether one of the answers stands in the text, as whole words."""
    padded = f" {' '.join(words(text))} "
    return any(f" {' '.join(words(answer))} " in padded for answer in answers)


def shuffled(rows: Iterable[Row], seed: str) -> list[Row]:
    """The rows in an order drawn from the seed."""
    listed = list(rows)
    Random(seed).shuffle(listed)
    return listed


def take(pairs: Sequence[tuple[Row, Row]], count: int, seed: str) -> list[Row]:
    """The rows of `count` pairs drawn at random, fewer if there are fewer, in a random order."""
    chosen = Random(seed).sample(list(pairs), min(count, len(pairs)))
    return shuffled((row for pair in chosen for row in pair), seed)
