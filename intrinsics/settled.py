"""Verdicts that nobody needs to be asked for: without documents no question is answerable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .conversation import Conversation
from .fanout import FanOut, Verdict
from .job import Steps
from .ledger import Ledger
from .reads import settled_distribution
from .spec import Definition


@dataclass(frozen=True)
class SettledVerdict(Verdict):
    """A verdict that follows from the definition alone; no token was computed for it."""

    @property
    def asked(self) -> bool:
        """It was not."""
        return False


def settled(
    definition: Definition, conversation: Conversation, arguments: Mapping[str, str]
) -> SettledVerdict | None:
    """The verdict on a conversation without documents, where the definition says what holds then.

    Raises: ConversationError: it does not end with the message that is judged; RequestError: an
    argument is missing or unknown.
    """
    found = settled_distribution(definition, conversation)
    if found is None:
        return None
    definition.check_arguments(arguments)
    value = definition.value_of(found)
    return SettledVerdict(definition.name, value, found, found, Ledger(), (), {})


def with_settled(
    asked: Steps[FanOut] | None, known: Mapping[str, SettledVerdict], order: Sequence[str]
) -> Steps[FanOut]:
    """The verdicts of those that were asked and of those that need not be, in order."""
    if asked is not None and not known:
        return (yield from asked)
    found = FanOut((), Ledger())
    if asked is not None:
        found = yield from asked
    verdicts = {**known, **{one.intrinsic: one for one in found.verdicts}}
    return FanOut(tuple(verdicts[name] for name in order), found.ledger)
