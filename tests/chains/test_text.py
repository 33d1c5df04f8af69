"""A text that an intrinsic writes, in a chain: typed, used later, traced and shown."""

from __future__ import annotations

import asyncio
import io
import json

import pytest
from rich.console import Console

from chains import Chain, ChainDefinitionError, RunInput
from chains.commands.run import to_dict
from chains.events import NodeFinished, VerdictReached
from chains.loader import read
from chains.render import ASCII, badges, in_words
from chains.runview import RunView
from chains.screen import Screen
from chains.trace import trace_table
from conftest import tiny_engine, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.fanout import TextVerdict
from intrinsics.messages import Message

HELLO = RunInput(messages=(Message(role="user", content="Who closed it, and when?"),))
SEARCH = """\
chain: search
nodes:
  both: {check: [rewrite, tone]}
  found: {function: {call: 'search:look_up', arguments: {query: both.rewrite.value}}}
  told: {say: "{{ both.rewrite.value }} | {{ found.value }}"}
flow: [start -> both, both -> found, found -> told, told -> end]
"""
ALONE = """\
chain: alone
nodes:
  again: {check: rewrite}
  empty: {say: Nothing.}
  reply: {turn: {prompt: "{{ again.value }}?", max_tokens: 4}}
flow:
  - start -> again
  - again -> empty: {when: "CONDITION"}
  - again -> reply: otherwise
  - empty -> end
  - reply -> end
"""


def look_up(query: str) -> str:
    """What a search finds."""
    return f"found {query!r}"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("intrinsics")
    engine = tiny_engine()
    write_intrinsic(engine, folder, "rewrite", writes=12, seed=4)
    write_intrinsic(engine, folder, "tone", ("rude", "kind"), seed=1)
    engine.catalogue = Catalogue([folder])
    return engine


def chain_of(text: str, engine: Engine) -> Chain:
    model, places = read(text, "chain.yaml")
    return Chain(model, places, engine.catalogue, {"search:look_up": look_up})


def text_of(engine: Engine) -> str:
    value = engine.call(engine.conversation(HELLO.messages), "rewrite").value
    assert isinstance(value, str) and value
    return value


def test_a_text_is_the_query_of_a_function_and_part_of_what_is_said(engine: Engine) -> None:
    result = chain_of(SEARCH, engine).run(engine, HELLO)
    text = text_of(engine)
    assert result.output == f"{text} | found {text!r}"
    both = next(node for node in result.nodes if node.name == "both")
    assert both.output["rewrite"]["value"] == text
    assert both.output["tone"]["distribution"].keys() == {"rude", "kind"}
    json.dumps(result.to_dict())


@pytest.mark.parametrize(
    ("condition", "taken"),
    [("again.value == 'something else'", "reply"), ("again.value != 'x'", "empty")],
)
def test_a_text_compares_as_plain_text(engine: Engine, condition: str, taken: str) -> None:
    result = chain_of(ALONE.replace("CONDITION", condition), engine).run(engine, HELLO)
    assert [node.name for node in result.nodes] == ["again", taken]
    if taken == "reply":
        assert result.messages[-2]["content"] == f"{text_of(engine)}?"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("again.p('yes') > 0.5", "'again' has no labels, so no .p"),
        ("again.value > 'a'", "text has no order; use == or !="),
        ("again.value == true", "they never compare"),
        ("again == 'a'", "compare 'again.value'"),
        ("again.text == 'a'", "unknown name after 'again': 'text'"),
    ],
)
def test_a_condition_that_wants_more_than_text_is_refused_at_load(
    engine: Engine, condition: str, message: str
) -> None:
    with pytest.raises(ChainDefinitionError, match=message):
        chain_of(ALONE.replace("CONDITION", condition), engine)


def test_a_template_that_reads_a_label_of_a_text_is_refused_at_load(engine: Engine) -> None:
    wrong = SEARCH.replace("{{ both.rewrite.value }}", "{{ both.rewrite.p.yes }}")
    with pytest.raises(ChainDefinitionError, match=r"unknown name after 'both\.rewrite': 'p'"):
        chain_of(wrong, engine)


@pytest.mark.parametrize("plain", [True, False])
def test_a_run_shows_the_text_without_a_probability(engine: Engine, plain: bool) -> None:
    chain = chain_of(SEARCH, engine)
    out = io.StringIO()
    view = RunView(Screen(out, plain=plain), chain, engine.catalogue)
    for event in events_of(chain, engine):
        view.show(event)  # type: ignore[arg-type]
    line = next(line for line in out.getvalue().splitlines() if "rewrite" in line)
    assert line.rstrip().endswith(" ".join(text_of(engine).split()))


def events_of(chain: Chain, engine: Engine) -> list[object]:
    async def collect() -> list[object]:
        return [event async for event in chain.stream(engine, HELLO)]

    return asyncio.run(collect())


def test_the_trace_tells_the_text(engine: Engine) -> None:
    events = events_of(chain_of(SEARCH, engine), engine)
    finished = [one for one in events if isinstance(one, NodeFinished | VerdictReached)]
    console = Console(file=io.StringIO(), width=200)
    console.print(trace_table(finished, 200, ASCII))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"rewrite {' '.join(text_of(engine).split())!r}" in shown


def test_texts_stand_below_the_bracket_of_the_verdicts() -> None:
    text = in_words("Who closed\nthe harbour?", {}, None)
    assert (text.words, text.probability) == ("Who closed the harbour?", None)
    label = in_words("rude", {"rude": 0.9, "kind": 0.1}, None)
    lines = badges([text, label, label], 80, ASCII, "one forward")
    assert [line.plain.split()[0] for line in lines] == ["rude", "rude", "Who"]
    assert "one forward" in lines[1].plain and "one forward" not in lines[2].plain
    [alone] = badges([text], 80, ASCII, "9 forwards")
    assert alone.plain.strip() == "Who closed the harbour?  | 9 forwards"


def test_the_json_of_a_check_has_the_text_and_its_ids(engine: Engine) -> None:
    found = engine.fan_out(engine.conversation(HELLO.messages), ["tone", "rewrite"])
    told = to_dict(found, tokens=True)["results"][1]
    verdict = found["rewrite"]
    assert isinstance(verdict, TextVerdict)
    assert (told["value"], told["distribution"]) == (text_of(engine), {})
    assert told["finish"] == verdict.finish
    assert (told["written"], told["candidates"]) == (list(verdict.written), {})
    json.dumps(told)
