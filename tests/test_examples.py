"""The examples do what their index says: played without a model, run once on it, and drawn."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from chains import Chain, RunInput
from chains.commands.common import functions_of
from chains.loader import read
from chains.testing import Script, no_models
from chains.testing.cases import Cases
from intrinsics.engine import Engine
from intrinsics.messages import Document, Message

EXAMPLES = Path(__file__).parent.parent / "examples"
INDEX = (EXAMPLES / "README.md").read_text()
WRITTEN = ["best_of_n", "clarify", "guarded_chat", "rag", "screening"]
CALLED = {"rag": "grounded", "screening": "screening"}  # modules of functions
GIVEN = {
    "best_of_n": RunInput(messages=(Message(role="user", content="Who wrote Hamlet?"),)),
    "clarify": RunInput(
        messages=(Message(role="user", content="Who painted the ceiling?"),),
        documents=(Document(id="library", text=(EXAMPLES / "clarify" / "library.md").read_text()),),
    ),
    "guarded_chat": RunInput(messages=(Message(role="user", content="Where is Paris?"),)),
    "rag": RunInput(),
    "screening": RunInput(),
}


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Goes to an example's folder, as its reader does."""

    def go(name: str) -> Path:
        monkeypatch.chdir(EXAMPLES / name)
        monkeypatch.syspath_prepend(str(EXAMPLES / name))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        return EXAMPLES / name

    return go


def functions(name: str) -> list[Any]:
    return functions_of([CALLED[name]]) if name in CALLED else []


def agent(at: Any) -> Any:
    at("agent")
    return importlib.import_module("agent")


@pytest.mark.parametrize("name", WRITTEN)
def test_the_cases_of_an_example_pass_without_a_model_and_take_every_edge(
    name: str, at: Any
) -> None:
    cases = Cases.load(at(name) / f"{name}.yaml", functions=functions(name))
    with no_models():
        told = [cases.run(case) for case in cases.cases]
    assert {one.case: one.faults for one in told if one.faults} == {}
    assert cases.never_taken(told) == []


@pytest.mark.parametrize("name", WRITTEN)
def test_the_picture_of_an_example_is_its_chain(name: str, at: Any) -> None:
    chain = Chain.load(at(name) / f"{name}.yaml", functions=functions(name))
    drawn = (EXAMPLES / name / f"{name}.svg").read_text()
    assert drawn == chain.svg(), f"chains graph {name}.yaml --format svg > {name}.svg"


def test_the_picture_of_the_agent_is_its_chain(at: Any) -> None:
    assert (EXAMPLES / "agent" / "agent.svg").read_text() == agent(at).Agent.chain().svg()


def test_the_index_names_and_shows_every_example() -> None:
    for path in EXAMPLES.iterdir():
        if path.name not in ("README.md", "__pycache__"):
            assert f"]({path.name})" in INDEX
    for name in (*WRITTEN, "agent"):
        assert f"]({name}/{name}.svg)" in INDEX


@pytest.mark.parametrize(
    ("reply", "unfounded"),
    [
        ("It has 120 seats.", ""),
        ("There are 120. Seats are free until 9.", "9"),
        ("Elmsport opened it in 1,931.", ""),
        ("It was opened by Ada Lovelace in 1932.", "1932, Ada, Lovelace"),
        ("", ""),
    ],
)
def test_names_and_numbers_that_the_notes_lack_are_found(
    reply: str, unfounded: str, at: Any
) -> None:
    at("rag")
    notes = [Document(id="a", text="Elmsport's library has 120 seats. It was opened in 1931.")]
    found = importlib.import_module("grounded").unfounded(reply, "Who opened it?", notes)
    assert found == unfounded


QUESTION = RunInput(inputs={"question": "Is there a rope?"})


def test_the_agent_repairs_a_reply_told_what_was_missing(at: Any) -> None:
    turns = ["a rope", "We have it.", "We have 1 rope at 15 euros."]
    with Script(turns) as script:
        result = agent(at).Agent.chain().run(script, QUESTION)
    assert [one.name for one in result.nodes] == ["plan", "stock", "reply", "bar", "reply", "bar"]
    assert result.output == turns[-1]
    prompt = result.messages[-2]["content"]
    assert prompt.endswith(
        "Do not leave out the word rope and the number 1 and the price of 15 euros."
    )
    assert "We have it." not in [one["content"] for one in result.messages]


def test_the_agent_keeps_its_best_reply_and_repairs_three_times_at_most(at: Any) -> None:
    with Script(["rope", "No.", "1 rope.", "A rope.", "Yes."]) as script:
        assert agent(at).Agent.chain().run(script, QUESTION).output == "1 rope."


def test_the_agent_says_what_it_did_not_understand(at: Any) -> None:
    with Script(["an umbrella"] * 4) as script:
        result = agent(at).Agent.chain().run(script, QUESTION)
    assert result.output == "I did not understand what you are looking for."


def brief(chain: Chain) -> Chain:
    """The chain with replies of a few tokens."""
    text = re.sub(r"max_tokens:\s+\d+", "max_tokens: 6", chain.to_yaml())
    return Chain(*read(text, chain.name), functions=chain.functions)


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITTEN)
def test_an_example_runs_on_the_model(name: str, at: Any, engine: Engine) -> None:
    async def answer(question: str) -> str:
        return "How many books does the library hold?"

    loaded = Chain.load(at(name) / f"{name}.yaml", functions=functions(name))
    result = asyncio.run(brief(loaded).arun(engine, GIVEN[name], answer=answer))
    assert result.status == "finished"
    assert result.output
    assert result.ledger["computed"] > 0


@pytest.mark.slow
def test_the_agent_runs_on_the_model(
    at: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = agent(at)
    monkeypatch.setattr(Engine, "load", staticmethod(lambda: engine))
    monkeypatch.setattr(sys, "argv", ["agent.py"])
    module.main()
    assert re.search(r"^plan .*^\{'reused'", capsys.readouterr().out, re.DOTALL | re.MULTILINE)
