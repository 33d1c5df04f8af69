"""Markdown that arrives in pieces: blocks that are finished, and a tail that may still change."""

from __future__ import annotations

from markdown_it import MarkdownIt
from rich.markdown import Markdown
from rich.padding import Padding

_THEME = "ansi_dark"  # the terminal's own sixteen colours


class Blocks:
    """Splits a growing text where a block is certain to have ended."""

    def __init__(self) -> None:
        self.tail = ""
        self._parser = _parser()

    def push(self, text: str) -> list[str]:
        """Add text; the blocks that it finished."""
        self.tail += text
        if "\n" not in text:
            return []
        # a line that is not complete may still become part of the block above it
        complete = self.tail[: self.tail.rindex("\n") + 1]
        starts = [
            token.map[0]
            for token in self._parser.parse(complete)
            if token.level == 0 and token.map and token.nesting >= 0
        ]
        if len(starts) < 2:
            return []
        lines = self.tail.splitlines(keepends=True)
        ends = [*starts[1:-1], starts[-1]]
        blocks = [
            "".join(lines[start:end]) for start, end in zip([0, *starts[1:-1]], ends, strict=True)
        ]
        self.tail = "".join(lines[starts[-1] :])
        return blocks

    def flush(self) -> list[str]:
        """The last block, now that the text is over."""
        rest, self.tail = self.tail, ""
        return [rest] if rest.strip() else []


def rendered(block: str) -> Padding:
    """A block as it is shown. Tags of HTML are text: a reader must see all that was said."""
    shown = Markdown(block, code_theme=_THEME, hyperlinks=False)
    shown.parsed = _parser().parse(block)
    return Padding(shown, (0, 2))


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
