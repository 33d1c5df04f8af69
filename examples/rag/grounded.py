"""Whether a reply keeps to the passages: plain Python, since no model is needed to miss a number.

An adapter trained for it judged worse than a comparison of words (docs/quality.md), so none ships.
"""

import re

from intrinsics import Document

WORD = re.compile(r"[^\W_]+")
NUMBER = re.compile(r"\d[\d,.]*\d|\d")
# A capital letter that merely begins a sentence makes no name.
NAME = re.compile(r"(?<![.!?\"] )(?<!^)\b[A-Z][^\W_]+")


def unfounded(reply: str, question: str, passages: list[Document]) -> str:
    """The names and numbers of a reply that neither the question nor a passage has, each once."""
    known = plain(" ".join([question, *(one.text for one in passages)]))
    said = dict.fromkeys([*NUMBER.findall(reply), *NAME.findall(reply)])
    return ", ".join(one for one in said if not plain(one) <= known)


def plain(text: str) -> set[str]:
    """The words in lower case, and numbers without the commas of thousands."""
    return set(WORD.findall(re.sub(r"(?<=\d),(?=\d{3})", "", text.lower())))
