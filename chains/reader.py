"""Where a user's lines come from: an editable prompt on a terminal, or a plain stream of lines."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document
    from prompt_toolkit.formatted_text import FormattedText
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings

Choices = Callable[[], Sequence[str]]
"""The words that can follow a command."""
Status = Callable[[], str]
"""A line that may change while an entry is being typed."""


class Reader(Protocol):
    """Gives one entry at a time."""

    def read(self, prompt: str, status: Status | None = None, given: str = "") -> str | None:
        """The next entry, None at the end; `status` may be shown meanwhile.

        `given` stands there already, to be edited, where anything can be edited.
        Raises: KeyboardInterrupt: the user pressed Ctrl-C.
        """
        ...

    async def read_answer(self, prompt: str) -> str | None:
        """The same from within a running turn."""
        ...

    def interject(self, call: Callable[[], None]) -> None:
        """Let something print as soon as that disturbs no entry and no turn. For any thread."""
        ...

    def refresh(self) -> None:
        """Show the status anew. For any thread."""
        ...


class LineReader:
    """Lines of a stream, one entry each; what nobody sees being typed is written out."""

    def __init__(self, source: TextIO, out: TextIO) -> None:
        self._source, self._out = source, out
        self._typed = source.isatty()

    def read(self, prompt: str, status: Status | None = None, given: str = "") -> str | None:
        """The next line without its end."""
        if self._typed:
            self._write(prompt)
        line = self._source.readline()
        if not line:
            return None
        entry = line.rstrip("\r\n")
        if not self._typed:
            self._write(f"{prompt}{entry}\n")
        return entry

    async def read_answer(self, prompt: str) -> str | None:
        """The next line; nothing else happens until it is there."""
        return self.read(prompt)

    def interject(self, call: Callable[[], None]) -> None:
        """At once: nothing here is ever rewritten."""
        call()

    def refresh(self) -> None:
        """There is none."""

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


class TerminalReader:
    """A prompt with history, completion of commands, and pasting of several lines."""

    def __init__(
        self, commands: Mapping[str, Choices], files: Container[str], history: Path
    ) -> None:
        """`commands` are completed, each with what can follow it; for those in `files` a path too.

        `history` is the file that keeps what was entered.
        """
        from prompt_toolkit import PromptSession  # 0.3 s, only where somebody types
        from prompt_toolkit.styles import Style

        self._waiting: deque[Callable[[], None]] = deque()
        self._session: PromptSession[str] = PromptSession(
            history=_history(history),
            completer=_completer(commands, files),
            complete_while_typing=False,
            key_bindings=_keys(),
            style=Style.from_dict(
                {"prompt": "bold ansibrightcyan", "bottom-toolbar": "noreverse ansibrightblack"}
            ),
        )

    def read(self, prompt: str, status: Status | None = None, given: str = "") -> str | None:
        """What the user enters; `status` stands in the last line of the screen meanwhile."""
        self._print_waiting()
        try:
            return self._session.prompt(
                _styled(prompt),
                bottom_toolbar=status,
                default=given,
                pre_run=self._print_above,
            )
        except EOFError:
            return None

    async def read_answer(self, prompt: str) -> str | None:
        """The same while a turn is waiting for it."""
        try:
            return await self._session.prompt_async(_styled(prompt), bottom_toolbar=None)
        except EOFError:
            return None

    def interject(self, call: Callable[[], None]) -> None:
        """Above the entry that is being typed, or before the next one is asked for."""
        self._waiting.append(call)
        app = self._session.app
        if app.is_running and app.loop is not None:
            app.loop.call_soon_threadsafe(self._print_above)

    def refresh(self) -> None:
        """Ask the status for its text again."""
        self._session.app.invalidate()

    def _print_above(self) -> None:
        from prompt_toolkit.application import run_in_terminal  # as above
        from prompt_toolkit.application.current import set_app

        if self._waiting:
            with set_app(self._session.app):
                run_in_terminal(self._print_waiting)

    def _print_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft()()


def _styled(prompt: str) -> FormattedText:
    from prompt_toolkit.formatted_text import FormattedText  # as above

    return FormattedText([("class:prompt", prompt)])


def _history(path: Path) -> History:
    from prompt_toolkit.history import FileHistory, InMemoryHistory  # as above

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError:  # a read-only home: the session's own history has to do
        return InMemoryHistory()
    return FileHistory(str(path))


def _keys() -> KeyBindings:
    """Enter sends, Alt-Enter begins a new line."""
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent  # as above

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def _completer(commands: Mapping[str, Choices], files: Container[str]) -> Completer:
    """Completes a command at the beginning of an entry, and the word after it."""
    from prompt_toolkit.completion import Completer, Completion, PathCompleter  # as above
    from prompt_toolkit.document import Document

    paths = PathCompleter(expanduser=True)

    class Commands(Completer):
        def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
            name, space, rest = document.text_before_cursor.partition(" ")
            if not name.startswith("/"):
                return
            if not space:
                yield from _words(name, commands)
            elif name in commands:
                yield from _words(rest, commands[name]())
                if name in files:
                    yield from paths.get_completions(Document(rest), event)

    def _words(typed: str, known: Iterable[str]) -> Iterator[Completion]:
        yield from (Completion(word, -len(typed)) for word in known if word.startswith(typed))

    return Commands()


@contextmanager
def unechoed(stream: TextIO) -> Iterator[None]:
    """Keys pressed meanwhile are not written into the output; the next prompt gets them."""
    import termios  # there is a terminal, so there is this module

    settings = termios.tcgetattr(stream)
    quiet = [*settings]
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(stream, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(stream, termios.TCSANOW, settings)
