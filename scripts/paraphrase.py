"""Paraphrases written by the base model itself, and a filter for those that keep the question.

A model of 135M parameters often answers the question, repeats it or changes it. What passes the
filter keeps names, numbers and half of the content words, so these are near paraphrases; nobody
read them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from intrinsics.engine import Engine
from intrinsics.messages import Message
from intrinsics.sampling import Sampling

LONGEST = 200  # characters of a question that the model is asked to reword
_TOGETHER = 16
_SAMPLING = Sampling(max_tokens=48, stop=("\n",))
_ASK = "Write this sentence in other words with the same meaning: {}"
_SHOWN = (
    ("Who painted the ceiling of the chapel?", "Which artist painted the ceiling of the chapel?"),
    ("How can I repair a flat tyre?", "What is the way to repair a flat tyre?"),
    ("Write a letter to my landlord.", "Compose a letter that I can send to my landlord."),
)


def fits(text: str) -> bool:
    """Whether the model is asked to reword it: one short line."""
    return len(text) <= LONGEST and "\n" not in text


def reworded(engine: Engine, texts: Sequence[str]) -> list[str | None]:
    """The model's own wording of each text; None where it does not pass the filter."""
    found: list[str | None] = []
    for first in range(0, len(texts), _TOGETHER):
        some = texts[first : first + _TOGETHER]
        running = [engine.stream(engine.conversation(_asked(text)), _SAMPLING) for text in some]
        for text, generation in zip(some, running, strict=True):
            for _ in generation:
                pass
            new = generation.reply.text.strip().strip('"')
            found.append(new if keeps(text, new) else None)
    return found


def _asked(text: str) -> list[Message]:
    messages = []
    for original, other in _SHOWN:
        messages.append(Message(role="user", content=_ASK.format(original)))
        messages.append(Message(role="assistant", content=other))
    return [*messages, Message(role="user", content=_ASK.format(text))]


def keeps(original: str, other: str) -> bool:
    """Whether a rewording may ask the same: other words, the same names, numbers and subject."""
    old, new = _words(original), _words(other)
    asks = [text.rstrip().endswith("?") for text in (original, other)]
    if not old or not new or old == new or asks[0] != asks[1]:
        return False
    stems, told = _stems(old), _stems(new)
    return (
        0.5 <= len(new) / len(old) <= 2
        and _fixed(original) <= set(new)
        and {word for word in new if word[0].isdigit()} <= set(old)
        and 2 * len(stems & told) >= len(stems)
    )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _stems(words: Sequence[str]) -> set[str]:
    return {word[:5] for word in words if len(word) > 3}


def _fixed(text: str) -> set[str]:
    """Numbers, and names: capitals that do not begin the text."""
    return {word.lower() for word in re.findall(r"(?<!^)\b[A-Z]\w+|\b\d\w*", text)}
