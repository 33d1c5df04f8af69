"""Requirements a program can check: what each kind asks, and whether a reply meets it.

Each kind can propose a value (a number, a word, a language) that tells two replies apart, so that
one requirement is met by one reply and not by another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from passages import content, words

NUMBER_WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 8: "eight"}
YEAR = re.compile(r"1\d{3}|20\d\d")
SALUTATION = re.compile(r"(dear |to whom it may concern|esteemed |honou?red )", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """A reply, and what of it is known from how it was made."""

    text: str
    question: str
    language: str
    origin: str
    license: str


Holds = Callable[[Reply, str], bool]
Propose = Callable[[Reply, Reply, Random], str | None]


@dataclass(frozen=True)
class Kind:
    """A kind of requirement.

    `holds` says whether a reply meets it with a value; `propose` finds a value which the first
    reply meets and the second does not, or None.
    """

    holds: Holds
    propose: Propose


def word_count(reply: Reply) -> int:
    """Words as a reader counts them: what stands between spaces."""
    return len(re.findall(r"\S*\w\S*", reply.text))


def sentence_count(reply: Reply) -> int:
    """Ends of sentences; a reply without any is one sentence."""
    return max(1, len(re.findall(r"[.!?](?=\W*(?:\s|$))", reply.text)))


def first_word(reply: Reply) -> str:
    """The first word, in lower case; "" in JSON, where it is a key."""
    return "" if reply.text.startswith("{") else all_words(reply)[0]


def last_word(reply: Reply) -> str:
    """The last word, in lower case; "" in JSON."""
    return "" if reply.text.endswith(("}", "]")) else all_words(reply)[-1]


def all_words(reply: Reply) -> list[str]:
    """Its words in lower case, without the numbers of a list; one empty word if it has none."""
    bare = re.sub(r"^\d+[.)] ", "", reply.text, flags=re.MULTILINE)
    return words(bare) or [""]


def lines(reply: Reply) -> list[str]:
    """Its lines that are not empty."""
    return [line for line in reply.text.splitlines() if line.strip()]


def is_json(reply: Reply) -> bool:
    """Whether it parses as a JSON object or list."""
    try:
        return isinstance(json.loads(reply.text), dict | list)
    except ValueError:
        return False


def all_lines(reply: Reply, pattern: str) -> bool:
    """Whether there are two lines or more and each begins so."""
    found = lines(reply)
    return len(found) > 1 and all(re.match(pattern, line) for line in found)


def yes_or_no(holds: Callable[[Reply], bool]) -> Kind:
    """A kind without a value."""
    return Kind(
        lambda reply, _: holds(reply),
        lambda meets, fails, _: "" if holds(meets) and not holds(fails) else None,
    )


def limit(count: Callable[[Reply], int], most: bool, apart: float) -> Kind:
    """At most or at least a number of something; the replies differ by `apart` and more."""

    def holds(reply: Reply, value: str) -> bool:
        number = _number(value)
        return count(reply) <= number if most else count(reply) >= number

    def propose(meets: Reply, fails: Reply, random: Random) -> str | None:
        small, large = (meets, fails) if most else (fails, meets)
        low, high = count(small), count(large)
        if high < low + 1 or high < low * apart:
            return None
        number = random.randint(low, high - 1) + (0 if most else 1)
        return _shown(number, random) if number > 1 or count is sentence_count else None

    return Kind(holds, propose)


def exact(count: Callable[[Reply], int]) -> Kind:
    """Exactly a number of something."""
    return Kind(
        lambda reply, value: count(reply) == _number(value),
        lambda meets, fails, random: (
            _shown(count(meets), random) if count(meets) != count(fails) else None
        ),
    )


def same(word: Callable[[Reply], str]) -> Kind:
    """A word in a certain place is the value."""
    return Kind(
        lambda reply, value: word(reply) == value.lower(),
        lambda meets, fails, _: word(meets) if word(meets) and word(meets) != word(fails) else None,
    )


def _number(value: str) -> int:
    spelt = {word: number for number, word in NUMBER_WORDS.items()}
    return spelt[value] if value in spelt else int(value)


def _shown(number: int, random: Random) -> str:
    spelt = NUMBER_WORDS.get(number)
    return spelt if spelt and random.random() < 0.5 else str(number)


def _words(reply: Reply) -> set[str]:
    return {word for word in content(reply.text) if len(word) > 3 and word.isalpha()}


def _only_in(one: Reply, other: Reply, random: Random) -> str | None:
    free = sorted(_words(one) - set(all_words(other)))
    return random.choice(free) if free else None


def _has_word(reply: Reply, value: str) -> bool:
    return value.lower() in all_words(reply)


def _letters(reply: Reply) -> bool:
    return reply.text.lower() != reply.text.upper()


def _digits(reply: Reply) -> bool:
    return any(character.isdigit() for word in all_words(reply) for character in word)


KINDS = {
    "at most words": limit(word_count, most=True, apart=1.3),
    "at least words": limit(word_count, most=False, apart=1.3),
    "at most sentences": limit(sentence_count, most=True, apart=1),
    "at least sentences": limit(sentence_count, most=False, apart=1),
    "contains a word": Kind(_has_word, _only_in),
    "avoids a word": Kind(
        lambda reply, value: not _has_word(reply, value),
        lambda meets, fails, random: _only_in(fails, meets, random),
    ),
    "is a list": yes_or_no(lambda reply: all_lines(reply, r"[-*•] ")),
    "ends with a question": yes_or_no(lambda reply: reply.text.rstrip().endswith("?")),
    "is in lower case": yes_or_no(
        lambda reply: _letters(reply) and reply.text == reply.text.lower()
    ),
    "is in upper case": yes_or_no(
        lambda reply: _letters(reply) and reply.text == reply.text.upper()
    ),
    "is JSON": yes_or_no(is_json),
    "mentions a number": yes_or_no(_digits),
    "has no number": yes_or_no(lambda reply: not _digits(reply)),
    "begins with a word": same(first_word),
    "is in a language": Kind(
        lambda reply, value: reply.language == value,
        lambda meets, fails, _: meets.language if meets.language != fails.language else None,
    ),
    "greets formally": yes_or_no(lambda reply: bool(SALUTATION.match(reply.text))),
    "has no exclamation mark": yes_or_no(lambda reply: "!" not in reply.text),
    "is a numbered list": yes_or_no(lambda reply: all_lines(reply, r"\d+[.)] ")),
    "exactly sentences": exact(sentence_count),
    "ends with a word": same(last_word),
    "has no comma": yes_or_no(lambda reply: "," not in reply.text),
    "mentions a year": yes_or_no(
        lambda reply: any(YEAR.fullmatch(word) for word in all_words(reply))
    ),
    "has an exclamation mark": yes_or_no(lambda reply: "!" in reply.text),
}
