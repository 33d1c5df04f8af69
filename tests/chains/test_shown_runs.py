"""What a person sees of a run: values in short, what is kept, and what was there already."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from chains import Chain
from chains.cli import main
from chains.events import AttemptChosen, NodeFinished, NodeStarted
from chains.inputs import RunInput
from chains.runview import RunView
from chains.screen import Screen
from chains.short import in_short
from chains.testing import Script
from intrinsics.messages import Message

BANKS = """\
chain: banks
nodes:
  which: {ask: Which bank?}
  told: {say: "Bank: {{ which.text }}"}
flow: [start -> which, which -> told, told -> end]
"""
GUARDED = """\
chain: guarded
nodes:
  found: {retrieve: {folder: notes, query: "{{ user }}"}}
  able: {check: answerability}
  reply: {turn: {max_tokens: 9}}
flow: [start -> found, found -> able, able -> reply, reply -> end]
"""


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"count": 2, "ledger": {"reused": 3}}, "count: 2"),
        ({"a": [0.123456, True, None], "b": {"c": "x\ny"}}, "a: [0.123, true, none], b: {c: x y}"),
        (0.123456, "0.123456"),  # alone it is what somebody asked for
        (None, ""),
        ("word " * 9, "word word w ..."),
    ],
)
def test_a_value_in_short(value: object, told: str) -> None:
    assert in_short(value, 11 if isinstance(value, str) else 99) == told


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    with pytest.raises(SystemExit):
        main(list(arguments))
    found = capsys.readouterr()
    return found.out, found.err


class Seat(io.StringIO):
    """Somebody at a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stdin", [io.StringIO(), Seat("\n")], ids=["nobody", "an empty line"])
def test_a_waiting_run_tells_the_command_that_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stdin: io.StringIO,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", stdin)
    Path("banks.yaml").write_text(BANKS)
    out, err = shown(capsys, "run", "banks.yaml", "--record", "my runs.db")
    assert "? Which bank?" in out
    command = re.findall(r"waiting for the answer: chains (.*)", err)[0]
    arguments = [one.replace("TEXT", "The blue one.") for one in shlex.split(command)]
    out, _ = shown(capsys, *arguments)
    assert "Bank: The blue one." in out
    again, _ = shown(capsys, *arguments[:-2])  # an ended run is shown
    assert "which: The blue one." in again and "Bank: The blue one." in again


def test_a_definition_in_python_waits_and_goes_on_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("asked_banks.py").write_text(
        "from chains import END, START, Definition, ask, function, say\n"
        "def price(text: str) -> int:\n    return len(text)\n"
        "class Banks(Definition):\n"
        "    which = ask('Which bank?')\n"
        "    cost = function(price, text=which.text)\n"
        "    told = say('{{ cost.value }} euros')\n"
        "    flow = [START >> which >> cost >> told >> END]\n"
    )
    _, err = shown(capsys, "run", "asked_banks:Banks", "--record", "r.db")
    command = re.findall(r"waiting for the answer: chains (.*)", err)[0]
    out, _ = shown(capsys, *(one.replace("TEXT", "blue") for one in shlex.split(command)))
    assert "4 euros" in out
    _, err = shown(capsys, "run", "asked_banks:Banks", "--allow", "elsewhere")
    assert "leave out --functions and --allow" in err


@pytest.mark.parametrize(
    ("output", "times"),
    [("{{ a.text }} {{ b.text }}", 1), ("{{ b.text }}", 1), ("Both: {{ a.text }}", 2)],
)
def test_what_a_run_gives_is_shown_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str, times: int
) -> None:
    (tmp_path / "two.yaml").write_text(
        f"chain: two\nnodes: {{a: {{say: One.}}, b: {{say: Two.}}}}\n"
        f'flow: [start -> a, a -> b, b -> end]\noutput: "{output}"\n'
    )
    out, _ = shown(capsys, "run", str(tmp_path / "two.yaml"))
    assert out.count("One.") == times and out.count("Two.") == 1


def test_a_run_shows_what_was_found_before_and_which_attempt_is_kept(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("The bakery opens at six.")
    (tmp_path / "guarded.yaml").write_text(GUARDED)
    chain = Chain.load(tmp_path / "guarded.yaml")
    script = Script(["Six."], {"answerability": "answerable"})
    given = RunInput(messages=(Message(role="user", content="When does the bakery open?"),))
    result = chain.run(script, given)
    out = io.StringIO()
    view = RunView(Screen(out, plain=True), chain, chain.catalogue)
    stamp: dict[str, Any] = {"run": "r", "at": 0.0, "branch": ""}
    for node in result.nodes:
        view.show(NodeStarted(**stamp, node=node.name, kind=node.kind, attempt=1))
        told = NodeFinished(
            **stamp,
            node=node.name,
            kind=node.kind,
            output=json.loads(json.dumps(node.output)),
            ledger={"reused": 0, "computed": 0, "forwards": 0, "seconds": 0.0},
            recalled=True,
        )
        view.show(told)
    view.show(AttemptChosen(**stamp, node="reply", chosen=2, scores=(0.1, 0.7, 0.4)))
    lines = out.getvalue()
    assert "answerability: answerable" in lines
    assert "found: a.md#1\n" in lines
    assert "reply: attempt 2 of 3 is kept" in lines
