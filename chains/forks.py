"""Forks of a conversation: each goes its own way from where it left another, on shared KV."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from intrinsics.located import unknown

from . import events as ev
from .chain import Chain
from .errors import InputError

if TYPE_CHECKING:
    from intrinsics.conversation import Conversation
    from intrinsics.fanout import FanOut

FIRST = "main"
_NAME = re.compile(r"[\w.-]{1,40}")


@dataclass(frozen=True)
class Turn:
    """What the user said, where it began, and what happened.

    `mark` is the conversation's before it, `documents` how many there were after it.
    """

    text: str
    mark: int
    documents: int
    events: tuple[ev.Event, ...] = ()
    found: tuple[FanOut, ...] = ()


@dataclass
class Fork:
    """A conversation under a name, the chain it goes through, and the turns that were kept."""

    name: str
    chain: Chain
    conversation: Conversation
    turns: list[Turn] = field(default_factory=list)

    def twin(self, name: str) -> Fork:
        """Another one at the same place. No keys and values are copied."""
        return Fork(name, self.chain, self.conversation.fork(), list(self.turns))

    def before(self, number: int, name: str) -> Fork:
        """Another one as this was before its turn `number`, from 1. Raises: InputError."""
        turn = self.turn(number)
        twin = self.twin(name)
        del twin.turns[number - 1 :]
        twin.conversation.rewind(turn.mark)
        return twin

    def turn(self, number: int) -> Turn:
        """The turn of that number, from 1. Raises: InputError: there is none."""
        if not 1 <= number <= len(self.turns):
            raise InputError(f"{self.name} has no message {number}; {self._told()}")
        return self.turns[number - 1]

    def undo(self) -> Turn:
        """Roll the last turn back; documents that were added after it stay. Changes: in place.

        Raises: InputError: there is none.
        """
        if not self.turns:
            raise InputError("there is no turn to undo")
        turn = self.turns.pop()
        later = self.conversation.documents[turn.documents :]
        self.conversation.rewind(turn.mark)
        self.conversation.add_documents(later)
        return turn

    def _told(self) -> str:
        count = len(self.turns)
        if not count:
            return "nothing was said yet"
        return "it has message 1" if count == 1 else f"it has messages 1 to {count}"


class Forks:
    """All forks by name, and the one that is talked on."""

    def __init__(self, first: Fork) -> None:
        self._forks = {first.name: first}
        self.current = first

    @property
    def names(self) -> list[str]:
        """In the order they were made."""
        return list(self._forks)

    def all(self) -> Iterable[Fork]:
        """In the order they were made."""
        return tuple(self._forks.values())

    def check_new(self, name: str) -> str:
        """The name, if a new fork may have it. Raises: InputError."""
        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r} is no name; use letters, digits, '.', '_' and '-'")
        if name in self._forks:
            raise InputError(f"there is a fork {name!r} already; /switch {name} goes there")
        return name

    def free(self, like: str) -> str:
        """A name that no fork has, like that one: `main`, `main-2`, `main-3`."""
        root, number = re.sub(r"-\d+$", "", like), 2
        name = like
        while name in self._forks:
            name, number = f"{root}-{number}", number + 1
        return name

    def add(self, fork: Fork) -> None:
        """Take a fork in and talk on it. Raises: InputError: its name is taken."""
        self.check_new(fork.name)
        self._forks[fork.name] = self.current = fork

    def drop(self, fork: Fork, back: Fork) -> None:
        """Forget a fork, and talk on another."""
        del self._forks[fork.name]
        self.current = back

    def switch(self, name: str) -> Fork:
        """Talk on another. Raises: InputError: there is none of that name."""
        if name not in self._forks:
            raise InputError(unknown("fork", name, self._forks))
        self.current = self._forks[name]
        return self.current
