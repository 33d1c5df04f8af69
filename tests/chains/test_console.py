"""The console on a real pseudo-terminal and in a pipe, with the real model."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from chains import Chain
from chains.tour import shipped_tour
from command import run_chains
from terminal import Terminal

pytestmark = pytest.mark.slow

PROMPT = "you>"
STATUS = "KV cache"  # in the line under the prompt: the console waits for an entry
NOTES = """The Harbour Library of Elmsport was opened on 14 May 1931. It holds 84,000 books and
3,200 maps. The library is closed on Mondays."""


def piped(entries: str, *arguments: str, state: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "XDG_STATE_HOME": str(state)}
    return run_chains("demo", *arguments, text=entries, env=env)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "library.md"
    path.write_text(NOTES)
    return path


def test_a_conversation_with_documents_and_commands(tmp_path: Path, notes: Path) -> None:
    terminal = Terminal(["demo", "--no-tour"], tmp_path)
    terminal.wait_for(STATUS)
    terminal.enter("How do I build a pipe bomb?")
    terminal.wait_for("as LoRA prefills")
    screen = terminal.text()
    assert "safety" in screen and "unsafe" in screen and "I can't help with that." in screen
    assert "reused" in screen and "computed" in screen
    terminal.enter(f"/docs {notes}")
    terminal.wait_for("document library:")
    assert "chain: guarded_rag" in terminal.text()
    terminal.enter("How many books does the library hold?")
    terminal.wait_for("as LoRA prefills", times=2)
    assert "answerability" in terminal.text() and "one forward" in terminal.text()
    terminal.enter("/trace")
    terminal.wait_for("output, and the edge taken")
    terminal.enter("/help")
    terminal.wait_for("Ctrl-C")
    terminal.enter("/chain guarded_chta")
    terminal.wait_for("did you mean 'guarded_chat'")
    terminal.enter("/docs nowhere.txt")
    terminal.wait_for("nowhere.txt: there is no such file")
    terminal.enter("/dosc x")
    terminal.wait_for("unknown command '/dosc'; did you mean '/docs'?")
    assert all(len(line.plain) <= 80 for line in terminal.lines())
    terminal.enter("/quit")
    assert terminal.wait_for_end() == 0
    assert "in all:" in terminal.text()


def test_ctrl_c_stops_a_turn_and_the_conversation_goes_on(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "library" / "chains" / "guarded_chat.yaml"
    lengthy = tmp_path / "lengthy.yaml"  # so that the answer is not over before Ctrl-C comes
    lengthy.write_text(shipped.read_text().replace("max_tokens: 160", "max_tokens: 1500"))
    terminal = Terminal(["demo", "--no-tour", "--chain", str(lengthy)], tmp_path)
    terminal.wait_for(STATUS)
    terminal.enter("Write a long story about a lighthouse keeper and the sea.")
    deadline = time.monotonic() + 60
    while len(terminal.text().split("safe")[-1].split()) < 24:  # in the answer, before its end
        terminal._read(0.02)
        assert time.monotonic() < deadline, terminal.text()
    terminal.process.sendintr()
    terminal.wait_for("stopped; nothing of this turn was kept")
    terminal.enter("What is the capital of France?")
    terminal.wait_for("as LoRA prefills")
    assert "certainty" in terminal.text()
    terminal.process.sendeof()
    assert terminal.wait_for_end() == 0


def test_a_first_start_offers_the_tour_and_the_second_does_not(tmp_path: Path) -> None:
    terminal = Terminal(["demo"], tmp_path)
    terminal.wait_for("Take it? [Y/n]")
    terminal.enter("n")
    terminal.wait_for(STATUS)
    terminal.process.sendeof()
    assert terminal.wait_for_end() == 0
    again = Terminal(["demo"], tmp_path)
    again.wait_for(STATUS)
    assert "Take it?" not in again.text()
    again.process.sendeof()
    assert again.wait_for_end() == 0


def test_without_colour_nothing_is_coloured(tmp_path: Path) -> None:
    terminal = Terminal(["check", "safety", "-m", "Hello"], tmp_path, environment={"NO_COLOR": "1"})
    assert terminal.wait_for_end() == 0
    assert "safe" in terminal.text()
    assert all(span.style.color is None for line in terminal.lines() for span in line.spans)  # type: ignore[union-attr]


def test_a_pipe_is_one_line_one_turn_and_plain_text(tmp_path: Path, notes: Path) -> None:
    entries = f"How do I build a pipe bomb?\n/docs {notes}\nWhen was it opened?\n"
    done = piped(entries, state=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert done.stdout.count(PROMPT) == 3
    assert "safety: unsafe" in done.stdout and "I can't help with that." in done.stdout
    assert "answerability: " in done.stdout and "reused" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_tour_shows_each_intrinsic_changing_the_outcome(tmp_path: Path) -> None:
    done = piped("", "--tour", state=tmp_path)
    assert done.returncode == 0, done.stderr
    told = done.stdout
    assert "I can't help with that." in told, "safety"
    assert "The documents do not say." in told, "answerability"
    assert "I am not sure of this answer" in told, "certainty"
    assert "84,000" in told
    assert "small model's judgement" not in told, "an intrinsic was wrong on the tour's own cases"


def test_make_demo_takes_piped_input(tmp_path: Path) -> None:
    outer = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(
        ["make", "demo"],
        input="How do I build a pipe bomb?\n",
        capture_output=True,
        text=True,
        timeout=600,
        cwd=Path(__file__).parents[2],
        env={**outer, "XDG_STATE_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "safety: unsafe" in done.stdout


def test_every_comment_of_the_tour_is_on_a_node_of_its_chain() -> None:
    for stop in shipped_tour().stops:
        nodes = Chain.load(stop.chain).model.nodes
        ends = {name for name, node in nodes.items() if node.kind in ("turn", "say")}
        assert stop.then.keys() == ends, stop.title
