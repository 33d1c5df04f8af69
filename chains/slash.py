"""The console's commands as one table: from it come the help, the completion and the errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.table import Table
from rich.text import Text

from intrinsics.located import unknown

from .errors import InputError

Needs = Literal["nothing", "maybe", "something"]


def _none() -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Command:
    """A command: its name with the slash, what follows it, what it does, in words and in fact.

    `argument` is what the help calls what follows: "" nothing, "[NAME]" may be left out.
    `choices` complete it, and with `file` the paths of files too.
    """

    name: str
    argument: str
    help: str
    call: Callable[[str], None]
    choices: Callable[[], Sequence[str]] = _none
    file: bool = False

    @property
    def needs(self) -> Needs:
        """Whether something must follow it."""
        if not self.argument:
            return "nothing"
        return "maybe" if self.argument.startswith("[") else "something"

    def __call__(self, argument: str) -> None:
        """Do it. Raises: InputError: it needs an argument, or takes none."""
        if self.needs == "something" and not argument:
            raise InputError(f"{self.name} needs more, as in: {self}")
        if self.needs == "nothing" and argument:
            raise InputError(f"{self.name} takes nothing after it, and there is {argument!r}")
        self.call(argument)

    def __str__(self) -> str:
        return f"{self.name} {self.argument}".rstrip()


KEYS = {
    "Ctrl-C": "stop a turn; the conversation is then as it was before",
    "Alt-Enter": "begin a new line; pasted lines stay together",
    "Tab": "complete a command, a file or a fork",
}


class Commands:
    """The commands by name."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self.table = {command.name: command for command in commands}

    def do(self, entry: str) -> None:
        """Do what an entry that begins with a slash says. Raises: InputError: it can't be done."""
        name, _, argument = entry.partition(" ")
        if name not in self.table:
            raise InputError(f"{unknown('command', name, self.table)} /help lists all")
        self.table[name](argument.strip())

    def help(self) -> Table:
        """All commands and keys."""
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
        table.add_column(no_wrap=True)
        table.add_column()
        told = {str(command): command.help for command in self.table.values()}
        for key, what in (told | KEYS).items():
            table.add_row(Text(key, "bold"), Text(what))
        return table
