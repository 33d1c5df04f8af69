"""What a run draws on a terminal: each block once, the tail in place, what is taken back struck."""

from __future__ import annotations

import io
from collections.abc import Callable

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from chains.live import Live
from chains.markdown import Blocks, rendered
from chains.runview import RunView
from chains.screen import Screen
from chains.sheet import Paper, Slate
from flows import chain_of, events_of
from intrinsics.catalogue import Catalogue

MARKDOWN = """\
# Lighthouses

The **first** one was built in 1931, of `stone`.

1. It burns oil.

2. It turns.

```python
for ship in sea:
    warn(ship)

    count += 1
```

| name | height |
|---|---|
| Elm | 30 m |

<b>Not</b> a tag but [text](https://example.org).
"""


class Tty(io.StringIO):
    """Output that says it is a terminal, and can be looked at as one shows it."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def display(self, rows: int = 30, columns: int = 80) -> pyte.HistoryScreen:
        screen = pyte.HistoryScreen(columns, rows, history=1000)
        stream = pyte.Stream(screen)
        screen.set_mode(pyte.modes.LNM)  # as a terminal's driver: a line feed returns too
        stream.feed(self.getvalue())
        return screen


def shown(screen: pyte.HistoryScreen) -> str:
    above = ["".join(row[x].data for x in range(screen.columns)) for row in screen.history.top]
    return "\n".join(line.rstrip() for line in (*above, *screen.display)).rstrip()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], tuple[Tty, Screen]]:
    def make(rows: int = 30) -> tuple[Tty, Screen]:
        for key, value in {"TERM": "xterm", "COLUMNS": "80", "LINES": str(rows)}.items():
            monkeypatch.setenv(key, value)
        monkeypatch.delenv("NO_COLOR", raising=False)
        out = Tty()
        return out, Screen(out)

    return make


@given(st.lists(st.integers(1, 40), max_size=60))
def test_blocks_are_the_text_in_order_however_it_comes(sizes: list[int]) -> None:
    blocks, found, at = Blocks(), [], 0
    for size in sizes:
        found += blocks.push(MARKDOWN[at : at + size])
        at += size
    found += blocks.push(MARKDOWN[at:]) + blocks.flush()
    assert "".join(found) == MARKDOWN
    assert len(found) == 6, "heading, paragraph, the whole list, code, table, paragraph"


def test_a_tag_and_an_address_are_shown() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(rendered("<b>Not</b> a [tag](https://example.org)\n\n<hr>"))
    assert "<b>Not</b> a tag (https://example.org)" in out.getvalue() and "<hr>" in out.getvalue()


@pytest.mark.parametrize("rows", [6, 30])
def test_a_long_reply_is_shown_once_and_whole(
    terminal: Callable[[int], tuple[Tty, Screen]], rows: int
) -> None:
    out, screen = terminal(rows)
    slate = Slate(screen, list)
    slate.begin()
    text = "".join(f"Paragraph {n} is here.\n\n" for n in range(40)) + MARKDOWN
    for piece in text.split(" "):
        slate.say(f"{piece} ")
        screen.tick()
    slate.settle()
    told = shown(out.display(rows))
    assert all(told.count(f"Paragraph {n} is here.") == 1 for n in range(40))
    assert "warn(ship)" in told and told.count("Elm") == 1 and "<b>Not</b>" in told
    assert "replying" not in told and "\x1b[2J" not in out.getvalue(), "nothing is ever cleared"


def test_a_frame_writes_only_what_changed() -> None:
    out = Tty()
    live = Live(Console(file=out, width=80, height=30, force_terminal=True), out)
    rows = [Text(f"row {n}") for n in range(10)]
    live.draw(rows)
    before = len(out.getvalue())
    live.draw([*rows[:9], Text("row ten")])
    frame = out.getvalue()[before:]
    assert "row ten" in frame and "row 3" not in frame
    assert frame.startswith("\x1b[?2026h") and frame.endswith("\x1b[?2026l")
    live.draw(rows[:2])
    live.above(Text("printed"), rows[:1])
    assert shown(out.display()) == "printed\nrow 0"
    live.close()
    assert shown(out.display()) == "printed" and out.getvalue().endswith("\x1b[?25h\x1b[?2026l")


def test_what_is_taken_back_is_struck_where_it_stands(
    terminal: Callable[[int], tuple[Tty, Screen]],
) -> None:
    out, screen = terminal(30)
    slate = Slate(screen, list)
    slate.begin()
    slate.say("Kept.")
    slate.said()
    slate.begin()
    slate.say("Wrong.")
    slate.said()
    slate.strike(Text("  taken back: too unsure"))
    slate.settle()
    display = out.display()
    struck = {
        "".join(row[x].data for x in range(80)).strip()
        for row in display.buffer.values()
        if any(row[x].strikethrough for x in range(80))
    }
    assert struck == {"Wrong."}
    assert "taken back: too unsure" in shown(display)


def test_what_has_left_the_screen_is_quoted_when_it_is_taken_back(
    terminal: Callable[[int], tuple[Tty, Screen]],
) -> None:
    out, screen = terminal(6)
    slate = Slate(screen, list)
    slate.begin()
    slate.say("".join(f"Part {n}.\n\n" for n in range(20)))
    screen.tick()
    slate.said()
    slate.strike(Text("  taken back"))
    slate.settle()
    assert "Part 0. Part 1." in shown(out.display(6)).split("taken back")[1]


def test_paper_tells_what_is_taken_back() -> None:
    out = io.StringIO()
    paper = Paper(Screen(out))
    paper.begin()
    paper.say("Wrong\x1b[2J.")
    paper.said()
    paper.strike(Text("  taken back: too unsure"))
    assert out.getvalue() == "  Wrong\ufffd[2J.\n  taken back: too unsure\n    Wrong\ufffd[2J.\n"


@pytest.mark.parametrize(
    ("output", "times"),
    [("", 1), ("output: '{{ said }}'\n", 1), ("output: '{{ said }} 3 of 3'\n", 2)],
)
def test_what_a_chain_gives_is_shown_unless_it_was_said_last(output: str, times: int) -> None:
    chain = chain_of(
        f"chain: c\n{output}nodes: {{a: {{say: Found.}}}}\nflow: [start -> a, a -> end]\n"
    )
    out = io.StringIO()
    view = RunView(Screen(out, plain=True), chain, Catalogue())
    for event in events_of(chain):
        view.show(event)
    assert out.getvalue().count("Found.") == times
    assert ("3 of 3" in out.getvalue()) == (times == 2)
