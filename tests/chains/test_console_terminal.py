"""The console as somebody sits before it: typed into and read on real terminals, a tiny model."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.style import Style
from rich.text import Text

import tiny_console
from terminal import Terminal
from tiny_console import Tiny

STATUS = "KV cache"  # in the line under the prompt: the console waits for an entry
DONE = "as LoRA prefills"  # at the end of a turn
STOPPED = "stopped; nothing of this turn was kept"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_console.build(tmp_path_factory.mktemp("tiny"))


def test_a_session_at_eighty_columns(tiny: Tiny, tmp_path: Path) -> None:
    terminal = Terminal(tiny.arguments, tmp_path, rows=30)
    terminal.wait_for(STATUS)
    terminal.paste("first line\nsecond line")
    terminal.enter("")
    terminal.wait_for(DONE)
    assert "you> first line\nsecond line" in terminal.text(), "a paste is one entry"
    terminal.process.send("/rac\t")
    terminal.wait_for("you> /race")  # completed
    terminal.enter("")
    terminal.wait_for("the same verdicts")
    assert "race for 2 verdicts" in terminal.text()
    terminal.enter("/fork other")
    terminal.enter(f"/chain {tiny.folder / 'abstains.yaml'}")
    terminal.enter("what")
    terminal.wait_for("taken back")
    struck = [line for line in terminal.lines() if any(s.strike for s in styles([line]))]
    assert len(struck) == 1, "the reply, where it stands"
    assert "I do not know." in terminal.text()
    terminal.enter("/edit 1")
    terminal.wait_for("second line", times=2)  # to be edited
    terminal.enter(" and a third")
    terminal.wait_for("other is as it was")
    terminal.process.send("/switch mai\t")
    terminal.wait_for("/switch main")
    terminal.enter("")
    terminal.wait_for("fork main,")
    terminal.enter("/tree")
    terminal.wait_for("main + ")
    assert all(len(line.plain) <= 80 for line in terminal.lines())
    terminal.enter("/quit")
    assert terminal.wait_for_end() == 0
    again = Terminal(tiny.arguments, tmp_path)
    again.wait_for(STATUS)
    again.process.send("\x1b[A\x1b[A")
    again.wait_for("you> /tree")  # the history of the session before
    again.process.sendintr()
    again.wait_for("/quit or Ctrl-D leaves")
    again.process.sendeof()
    assert again.wait_for_end() == 0


def test_a_long_reply_is_drawn_live_resized_and_stopped(tiny: Tiny, tmp_path: Path) -> None:
    terminal = Terminal(tiny.arguments, tmp_path, rows=30)
    terminal.wait_for(STATUS)
    terminal.enter(f"/chain {tiny.folder / 'long.yaml'}")
    terminal.enter("tell")
    terminal.wait_for_any("at work")  # in the tree below the reply
    assert "replying" in terminal.text()
    terminal.resize(60, 26)
    terminal.watch(1.0)
    assert all(len(line) <= 60 for line in terminal.screen.display)
    assert "replying" in "\n".join(terminal.screen.display)
    for _ in range(5):  # somebody is impatient
        terminal.process.sendintr()
    terminal.wait_for(STOPPED)
    assert "replying" not in "\n".join(terminal.screen.display)
    terminal.enter(f"/chain {tiny.folder / 'chat.yaml'}")
    terminal.enter("hello")
    terminal.wait_for(DONE)
    assert "2 turns" not in terminal.text()
    terminal.enter(f"/save {tmp_path / 'chat.json'}")
    terminal.wait_for("1 fork, 1 turn")
    terminal.process.sendeof()
    assert terminal.wait_for_end() == 0


def test_without_colour_what_is_taken_back_is_still_struck(tiny: Tiny, tmp_path: Path) -> None:
    terminal = Terminal(
        [*tiny.arguments, "--chain", str(tiny.folder / "abstains.yaml")],
        tmp_path,
        environment={"NO_COLOR": "1"},
    )
    terminal.wait_for(STATUS)
    terminal.enter("what")
    terminal.wait_for("taken back")
    shown = [line for line in terminal.lines() if not line.plain.startswith(("you>", " tiny"))]
    assert any(style.strike for style in styles(shown))
    assert all(style.color is None for style in styles(shown))
    terminal.process.sendeof()
    assert terminal.wait_for_end() == 0


def test_a_dumb_terminal_gets_plain_lines(tiny: Tiny, tmp_path: Path) -> None:
    terminal = Terminal(tiny.arguments, tmp_path, environment={"TERM": "dumb"})
    terminal.wait_for("you>")
    terminal.process.send("hello\n")
    terminal.wait_for(DONE)
    terminal.process.send("/race\n")
    terminal.wait_for("the same verdicts")
    terminal.process.send(f"/chain {tiny.folder / 'long.yaml'}\n")
    terminal.process.send("tell\n")
    terminal.wait_for_any("mood: ", times=2)
    terminal.process.sendintr()
    terminal.wait_for(STOPPED)
    found = styles(terminal.lines())
    assert not [style for style in found if style.color or style.bold or style.strike]
    terminal.process.sendintr()
    terminal.wait_for("/quit or Ctrl-D leaves")
    terminal.process.sendeof()
    assert terminal.wait_for_end() == 0


def styles(lines: list[Text]) -> list[Style]:
    return [s.style for line in lines for s in line.spans if isinstance(s.style, Style)]


class Tmux:
    """`chains` in a tmux of its own."""

    def __init__(self, arguments: list[str], state: Path, columns: int, rows: int) -> None:
        self._tmux = ["tmux", "-S", str(state / "tmux"), "-f", "/dev/null"]
        main = "from chains.cli import main; main()"
        command = shlex.join([sys.executable, "-c", main, *arguments])
        self(
            *("new-session", "-d", "-x", str(columns), "-y", str(rows)),
            f"env XDG_STATE_HOME={shlex.quote(str(state))} {command}",
        )

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run([*self._tmux, *arguments], capture_output=True, text=True)
        return done.stdout

    def screen(self) -> str:
        return self("capture-pane", "-p", "-S", "-1000")

    def enter(self, entry: str) -> None:
        self("send-keys", "-l", entry)
        self("send-keys", "Enter")

    def wait_for(self, text: str, seconds: float = 120) -> str:
        deadline = time.monotonic() + seconds
        while text not in (screen := self.screen()):
            assert time.monotonic() < deadline, f"{text!r} did not come:\n{screen}"
            time.sleep(0.1)
        return screen


@pytest.fixture
def tmux(tiny: Tiny, tmp_path: Path) -> Iterator[Tmux]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    if len(os.fspath(tmp_path)) > 90:
        pytest.skip("the folder's name is too long for a socket")
    session = Tmux(tiny.arguments, tmp_path, 80, 30)
    yield session
    session("kill-server")


def test_in_tmux_a_reply_is_stopped_and_the_next_one_stands(tiny: Tiny, tmux: Tmux) -> None:
    tmux.wait_for(STATUS)
    tmux.enter(f"/chain {tiny.folder / 'long.yaml'}")
    tmux.enter("tell")
    tmux.wait_for("at work")
    tmux("resize-window", "-x", "70", "-y", "24")
    time.sleep(0.5)
    tmux("send-keys", "C-c")
    screen = tmux.wait_for(STOPPED)
    assert "replying" not in screen.split("tell")[-1].splitlines()[-4:]
    tmux("set-buffer", "pasted one\npasted two")
    tmux.enter(f"/chain {tiny.folder / 'abstains.yaml'}")
    tmux("paste-buffer", "-p")
    tmux("send-keys", "Enter")
    screen = tmux.wait_for(DONE)
    assert "you> pasted one\npasted two" in screen
    assert "taken back" in screen and "I do not know." in screen
    tmux.enter("/quit")
