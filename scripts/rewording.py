"""The same request in other letters: mistyped, in other cases, politer, shorter, in other words.

Every function takes a text and gives a text that asks the same; what it can't change it returns as
it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random

_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NEIGHBOURS = {
    key: row[max(i - 1, 0) : i] + row[i + 1 : i + 2]
    for row in _KEYBOARD
    for i, key in enumerate(row)
}
OPENERS = (
    "Can you tell me: {}",
    "I was wondering: {}",
    "Hello! {} Thanks a lot.",
    "Could you please help me with this? {}",
    "I have a question. {}",
)
REQUESTS = ("Please {}", "I would like you to {}", "Would you be so kind and {}")
REMARKS = ("Hello! {}", "{} Thank you.", "Good morning. {}")
IMPERATIVES = {
    "add", "answer", "calculate", "change", "classify", "compare", "complete", "compose",
    "convert", "create", "define", "describe", "design", "develop", "draft", "edit", "explain",
    "find", "generate", "give", "help", "identify", "imagine", "list", "make", "name", "pick",
    "predict", "propose", "provide", "recommend", "rewrite", "say", "show", "suggest",
    "summarize", "teach", "tell", "think", "translate", "turn", "use", "write",
}  # fmt: skip
_POLITE = re.compile(
    r"^(hello|hi|hey|please|can you( please)?|could you( please)?|would you( please)?|"
    r"(can|could) you tell me|tell me|i was wondering|i would like you to|i want you to)"
    r"\b[,:!]*\s*",
    re.IGNORECASE,
)
_ARTICLES = re.compile(r"\b(the|a|an)\s+(?=\w)", re.IGNORECASE)
SYNONYMS = {
    "amount": "quantity", "answer": "reply", "approximately": "about", "areas": "regions",
    "assist": "help", "become": "turn into", "began": "started", "begin": "start",
    "big": "large", "biggest": "largest", "build": "construct", "built": "constructed",
    "buy": "purchase", "called": "named", "car": "automobile", "children": "kids",
    "city": "town", "clever": "smart", "create": "make", "died": "passed away",
    "difficult": "hard", "during": "in the course of", "explain": "describe", "film": "movie",
    "gift": "present", "happen": "occur", "happened": "occurred", "helped": "assisted",
    "important": "significant", "job": "occupation", "kind": "sort", "large": "big",
    "largest": "biggest", "located": "situated", "movie": "film", "near": "close to",
    "occur": "happen", "occurred": "happened", "often": "frequently", "purchase": "buy",
    "quickly": "fast", "require": "need", "sick": "ill", "sort": "kind", "start": "begin",
    "started": "began", "stop": "halt", "street": "road", "type": "kind", "under": "below",
    "used": "employed", "way": "manner", "wrote": "authored",
}  # fmt: skip
LONG_FORMS = {
    "can't": "cannot", "couldn't": "could not", "didn't": "did not", "doesn't": "does not",
    "don't": "do not", "how's": "how is", "i'm": "I am", "i've": "I have", "isn't": "is not",
    "it's": "it is", "that's": "that is", "there's": "there is", "wasn't": "was not",
    "what's": "what is", "where's": "where is", "who's": "who is", "won't": "will not",
    "you're": "you are",
}  # fmt: skip
_SHORT_FORMS = {long.lower(): short for short, long in LONG_FORMS.items()}


def typos(text: str, share: float, random: Random) -> str:
    """Mistype letters: the key beside, a letter lost, a letter doubled.

    `share`: of all characters, at least one; a letter that stands alone may name an option, and
    stays.
    """
    words = re.finditer(r"[^\W\d_]{2,}", text)
    letters = [i for word in words for i in range(*word.span()) if text[i].isalpha()]
    count = min(len(letters), max(1, round(share * len(text))))
    wrong = set(random.sample(letters, count))
    return "".join(
        _mistyped(text, i, random) if i in wrong else character for i, character in enumerate(text)
    )


def _mistyped(text: str, at: int, random: Random) -> str:
    letter = text[at]
    beside = NEIGHBOURS.get(letter.lower(), "")
    ways = ["doubled"]
    if beside:
        ways.append("beside")
    if at and text[at - 1].isalpha():  # the first letter of a word is seldom lost
        ways.append("lost")
    way = random.choice(ways)
    if way == "beside":
        other = random.choice(beside)
        return other.upper() if letter.isupper() else other
    return letter * 2 if way == "doubled" else ""


def lower_bare(text: str) -> str:
    """Lower case without punctuation; what stands between two digits stays."""
    bare = re.sub(r"(?<!\d)[^\w\s]|[^\w\s](?!\d)", "", text.lower())
    return bare if bare.strip() else text


def polite(text: str, random: Random) -> str:
    """With an opener that fits a question, a request or a remark."""
    first = text.split(maxsplit=1)[0].strip(",.:").lower()
    if first in IMPERATIVES:
        return random.choice(REQUESTS).format(text[0].lower() + text[1:])
    asks = text.rstrip().endswith("?")
    return random.choice(OPENERS if asks else REMARKS).format(text)


def terse(text: str) -> str:
    """As it is typed in a hurry: no greeting, no articles, no full stop at the end.

    Only the first line changes: what follows may be the options of a choice.
    """
    head, line, rest = text.partition("\n")
    short = head
    while (less := _POLITE.sub("", short, count=1)) != short:
        short = less
    short = _ARTICLES.sub("", short).rstrip(" ?.!")
    return short + line + rest if short.strip() else text


def synonyms(text: str) -> str:
    """With other words from a small table; contractions are written out, and made where they can.

    Only the first line changes, and no name: a capital inside a sentence stays.
    """
    head, line, rest = text.partition("\n")
    return _contracted(_replaced(head)) + line + rest


def _replaced(text: str) -> str:
    def other(found: re.Match[str]) -> str:
        word = found[0]
        if word[0].isupper() and found.start():
            return word
        new = SYNONYMS.get(word.lower(), word)
        return new[0].upper() + new[1:] if word[0].isupper() else new

    return re.sub(r"[A-Za-z]+", other, text)


def _contracted(text: str) -> str:
    plain = text.replace("\u2019", "'")
    for table in (LONG_FORMS, _SHORT_FORMS):
        found = _swapped(plain, table)
        if found != plain:
            return found
    return text


def _swapped(text: str, table: Mapping[str, str]) -> str:
    def other(found: re.Match[str]) -> str:
        return _cased(found[0], table[found[0].lower()])

    return re.sub(r"\b(" + "|".join(table) + r")\b(?!')", other, text, flags=re.IGNORECASE)


def _cased(old: str, new: str) -> str:
    return new[0].upper() + new[1:] if old[0].isupper() else new
