"""English made up from a seed, cut to a number of tokens: no two seeds share a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from intrinsics.conversation import Conversation
from intrinsics.errors import RequestError
from intrinsics.prompt import ChatFormat

_ONSETS = ("B", "D", "Gr", "H", "K", "L", "M", "N", "P", "R", "S", "St", "T", "V", "W")
_MIDDLES = ("al", "an", "ar", "en", "er", "il", "in", "ol", "or", "un")
_ENDS = ("burg", "dale", "field", "ford", "ham", "mere", "mouth", "port", "stead", "wick")
_THINGS = ("library", "harbour", "bridge", "museum", "market", "mill", "school", "station", "tower")
_FACTS = (
    "The {thing} of {place} was opened in {year} and has {number} visitors a month.",
    "In {year} the people of {place} built a {thing} that cost {number} crowns.",
    "{place} lies {number} miles from the sea; its {thing} was closed in {year}.",
    "A fire in {year} took the old {thing} of {place}, and {number} men came to help.",
    "Every spring {place} holds a fair beside the {thing}, with {number} guests in {year}.",
)


def place(random: Random) -> str:
    """The name of a town that does not exist."""
    return random.choice(_ONSETS) + random.choice(_MIDDLES) + random.choice(_ENDS)


def sentences(seed: int) -> Iterator[str]:
    """Facts about towns, without end, the same for the same seed."""
    random = Random(seed)
    while True:
        yield random.choice(_FACTS).format(
            thing=random.choice(_THINGS),
            place=place(random),
            year=random.randrange(1700, 2000),
            number=random.randrange(100, 10000),
        )


def passage(chat: ChatFormat, tokens: int, seed: int) -> str:
    """A passage of about `tokens` tokens."""
    text = ""
    for sentence in sentences(seed):
        text = f"{text} {sentence}".lstrip()
        ids = chat.text(text)
        if len(ids) >= tokens:
            return str(chat.tokenizer.decode(ids[:tokens]))
    raise AssertionError("sentences have no end")


def fitted(tokens: int, build: Callable[[int], Conversation]) -> Conversation:
    """What `build` makes of as many passage tokens as give a conversation of about `tokens`.

    Raises: RequestError: the rest of the conversation leaves the passage no room.
    """
    least = 4
    room = tokens - build(least).length + least
    if room < least:
        raise RequestError(
            f"{tokens} tokens of context are too few for this benchmark; give it at least "
            f"{tokens - room + least}"
        )
    return build(room)
