"""Change a statement so that it is no longer what the passage says: a name, a number, a negation.

Every change gives a text of about the same length, or `None` where there is nothing to change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from passages import content, words

NAME = re.compile(r"[A-Z][\w\u2019'-]*(?: (?:of |the |de |von )?[A-Z][\w\u2019'-]*)*")
NUMBER = re.compile(r"(?<![\w.,])\d+(?:,\d{3})*(?:\.\d+)?(?![\w,]*\d)")
NEGATABLE = re.compile(
    r"\b(is|are|was|were|has been|have been|had been|can|could|will|would|may|must|should)\b"
)
NEGATED = re.compile(r"\b(is|are|was|were|can|could|will|would|may|must|should|did|does|do) not\b")
NEGATIONS = frozenset(words("not no never none nor neither cannot without but instead"))


def kind(text: str) -> str:
    """What sort of answer a text is: number, name or other."""
    if any(character.isdigit() for character in text):
        return "number"
    return "name" if NAME.match(text) else "other"


def alike(one: str, other: str) -> bool:
    """Whether two answers are of one kind and about as long, and share no word of meaning."""
    near = abs(len(words(one)) - len(words(other))) <= 1
    return kind(one) == kind(other) and near and not content(one) & content(other)


def changed_number(text: str, passage: str, random: Random) -> str | None:
    """The text with one number changed to another, as long and as round, that the passage lacks."""
    found = [m for m in NUMBER.finditer(text) if m[0].replace(",", "").isdigit()]
    if not found:
        return None
    match = random.choice(found)
    bare = match[0].replace(",", "")
    value, low = int(bare), 10 ** (len(bare) - 1)
    reach = 30 if len(bare) == 4 else max(3, value // 2)
    zeros = len(bare) - len(bare.rstrip("0"))
    decade = text[match.end() :].startswith("s")
    step = 10**zeros if value and (len(bare) != 4 or decade) else 1
    reach = max(reach, 5 * step)
    near = range(value - reach // step * step, value + reach + 1, step)
    taken = {m[0].replace(",", "") for m in NUMBER.finditer(passage)} | {bare}
    free = [n for n in near if low <= n < 10 * low and str(n) not in taken]
    if not free:
        return None
    new = random.choice(free)
    shown = f"{new:,}" if "," in match[0] else str(new)
    return text[: match.start()] + shown + text[match.end() :]


def changed_name(text: str, names: Sequence[str], random: Random) -> str | None:
    """The text with one name inside it changed to one of `names` that it does not hold."""
    inside = [m for m in NAME.finditer(text) if m.start() > 0]
    free = [
        (match, name)
        for match in inside
        for name in names
        if alike(match[0], name) and not content(name) & content(text)
    ]
    if not free:
        return None
    match, name = random.choice(free)
    return text[: match.start()] + name + text[match.end() :]


def names_of(passage: str) -> list[str]:
    """The names in a passage that do not merely begin a sentence."""
    found = [
        m[0]
        for m in NAME.finditer(passage)
        if m.start() > 0 and passage[m.start() - 2 : m.start() - 1] not in {".", "!", "?", ""}
    ]
    return sorted({name for name in found if content(name) and len(name) > 2})


def negated(text: str) -> str | None:
    """The text with a "not" where it has no negation, or without the one it has."""
    if NEGATED.search(text):
        return NEGATED.sub(r"\1", text, count=1)
    if NEGATIONS & set(words(text)) or not (match := NEGATABLE.search(text)):
        return None
    auxiliary = match[1].split()[0]
    rest = match[1][len(auxiliary) :]
    return f"{text[: match.start()]}{auxiliary} not{rest}{text[match.end() :]}"


def made_up_span(question: str, statement: str) -> re.Match[str] | None:
    """The only name or number of a made-up statement that is not from the question, if just one."""
    if NEGATIONS & set(words(statement)):
        return None
    asked = content(question)
    spans = [
        match
        for match in (*NAME.finditer(statement), *NUMBER.finditer(statement))
        if content(match[0]) - asked
    ]
    alone = len(spans) == 1 and not content(spans[0][0]) & asked
    return spans[0] if alone else None


def differs_only_in(span: re.Match[str], known: str) -> bool:
    """Whether the statement around the span holds only words of the known text."""
    rest = span.string[: span.start()] + span.string[span.end() :]
    return content(rest) <= content(known)
