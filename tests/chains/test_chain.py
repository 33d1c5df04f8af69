"""Chains: two spellings of one model, faults with their places, and runs on a tiny engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as cases
from hypothesis import strategies as st

from chains import (
    END,
    START,
    Chain,
    ChainDefinitionError,
    ChainRunError,
    Definition,
    InputError,
    RunInput,
    ask,
    check,
    function,
    given,
    say,
    turn,
)
from chains.expression import Compare, Constant, Member, Not, Ref, Tree, join
from chains.loader import read
from chains.parsing import parse
from conftest import check_integrity
from flows import judging_engine
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.messages import Message

YAML = """\
chain: guarded
version: 1
system: Be brief.
nodes:
  screen: {check: [tone, topic]}
  reply: {turn: {max_tokens: 6, temperature: 1.5}}
  sure: {check: quality}
  refuse: {say: "No: {{ user }}"}
flow:
  - start -> screen
  - screen -> refuse: {when: screen.tone.p('rude') > 1.0e-09}
  - screen -> reply: otherwise
  - refuse -> end
  - reply -> sure
  - sure -> reply: {when: sure.value == 'bad', at_most: 2, then: refuse}
  - sure -> end: otherwise
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("intrinsics")
    return judging_engine(folder)


def chain_of(text: str, catalogue: Catalogue, functions: dict[str, Any] | None = None) -> Chain:
    model, places = read(text, "chain.yaml")
    return Chain(model, places, catalogue, functions)


HELLO = RunInput(messages=(Message(role="user", content="Hello"),))


def test_python_and_yaml_are_two_spellings_of_one_chain(engine: Engine) -> None:
    class Guarded(Definition):
        system = "Be brief."
        screen = check("tone", "topic")
        reply = turn(max_tokens=6, temperature=1.5)
        sure = check("quality")
        refuse = say("No: {{ user }}")
        flow = (
            START >> screen,
            screen.when(screen["tone"].p("rude") > 1e-9) >> refuse,
            screen.otherwise >> reply,
            refuse >> END,
            reply >> sure,
            sure.when(sure.value == "bad").again(reply, at_most=2, then=refuse),
            sure.otherwise >> END,
        )

    written = chain_of(YAML, engine.catalogue)
    python = Guarded.chain(engine.catalogue)
    assert python == written
    assert chain_of(python.to_yaml(), engine.catalogue) == written


names = st.sampled_from(["screen.value", "reply.text", "sure.score.value", "input.tone"])
scalars = st.one_of(
    st.booleans(), st.integers(-99, 99), st.floats(-9, 9), st.text("abc' \"", max_size=5)
)
operands = st.builds(lambda name: Ref(tuple(name.split("."))), names) | st.builds(Constant, scalars)
leaves: st.SearchStrategy[Tree] = st.builds(
    Compare, operands, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), operands
) | st.builds(Member, operands, st.lists(st.builds(Constant, scalars), min_size=1).map(tuple))
trees = st.recursive(
    leaves,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(
            join, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3).map(tuple)
        )
    ),
    max_leaves=6,
)


@cases(trees)
def test_the_text_of_a_condition_reads_back_to_an_equal_tree(tree: Tree) -> None:
    assert parse(str(tree)) == tree


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        (("> 1.0e-09", "> 'high'"), "11:54", "never compare"),
        (("p('rude')", "p('rood')"), "11:45", "unknown label of tone 'rood'; known: rude, kind"),
        (("'bad'", "'bda'"), "15:41", "unknown label of quality 'bda'; did you mean 'bad'"),
        (("> 1.0e-09", "> 2"), "11:30", "is never true"),
        (("screen.tone", "scren.tone"), "11:30", "unknown name 'scren'; did you mean 'screen'"),
        (("  - refuse -> end\n", ""), "8:3", "dead end: no edge leaves 'refuse'"),
        (("reply -> sure", "reply -> suer"), "14:14", "unknown node 'suer'; did you mean 'sure'"),
        (("  - sure -> end: otherwise\n", ""), "15:27", "no edge is taken when this is false"),
        ((", at_most: 2, then: refuse", ""), "15:13", "unbounded loop through reply -> sure"),
        (("[tone, topic]", "[tone, tpic]"), "5:", "unknown intrinsic 'tpic'; did you mean 'topic'"),
        (("max_tokens", "max_token"), "6:18", "unknown key 'max_token'; did you mean 'max_tokens'"),
        (("{{ user }}", "{{ usr }}"), "8:25", "unknown template variable 'usr'"),
        (("{{ user }}", "{{ reply.text }}"), "8:", "which may not have run by then"),
        (("version: 1", "versoin: 1"), "2:1", "unknown key 'versoin'; did you mean 'version'"),
        (("{turn:", "{trun:"), "6:11", "unknown kind of node 'trun'; did you mean 'turn'"),
        (
            ("  - start -> screen\n", "  - start - screen\n"),
            "10:5",
            "an edge is 'source -> target'",
        ),
        (("check: quality", "check: tone"), "7:", "tone judges the last user message"),
    ],
)
def test_a_fault_is_placed_and_its_remedy_told(
    engine: Engine, change: tuple[str, str], place: str, message: str
) -> None:
    assert change[0] in YAML
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(YAML.replace(*change, 1), engine.catalogue)
    told = str(caught.value)
    assert message in told
    assert f"chain.yaml:{place}" in told


def test_all_faults_come_at_once(engine: Engine) -> None:
    broken = YAML.replace("'rude'", "'rood'").replace("'bad'", "'bda'").replace("user }", "usr }")
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(broken, engine.catalogue)
    assert [fault.line for fault in caught.value.faults] == [8, 11, 15]


def test_a_run_takes_the_edge_its_verdict_says(engine: Engine) -> None:
    result = chain_of(YAML, engine.catalogue).run(engine, HELLO)
    assert [node.name for node in result.nodes] == ["screen", "refuse"]
    assert result.output == "No: Hello"
    assert [m["role"] for m in result.messages] == ["system", "user", "assistant"]
    told = result.to_dict()
    assert set(told) == {"chain", "status", "output", "messages", "nodes", "ledger"}
    assert told["nodes"][0]["output"]["tone"]["distribution"].keys() == {"rude", "kind"}
    assert told["ledger"]["forwards"] == 1


def test_a_loop_ends_at_its_bound_and_leaves_one_reply(engine: Engine) -> None:
    always = YAML.replace("> 1.0e-09", "> 0.9999999").replace(
        "sure.value == 'bad'", "sure.p('bad') > 1.0e-12"
    )
    result = chain_of(always, engine.catalogue).run(engine, HELLO)
    assert [n.name for n in result.nodes] == ["screen", *["reply", "sure"] * 3, "refuse"]
    assert [m["role"] for m in result.messages] == ["system", "user", "assistant", "assistant"]


def test_neighbouring_checks_share_one_forward(engine: Engine) -> None:
    apart = """\
chain: apart
nodes:
  first: {check: tone}
  second: {check: topic}
  done: {say: Done.}
flow: [start -> first, first -> second, second -> done, done -> end]
"""
    result = chain_of(apart, engine.catalogue).run(engine, HELLO)
    assert result.ledger["forwards"] == 1
    together = chain_of(YAML, engine.catalogue).run(engine, HELLO)
    fused = result.nodes[0].output["tone"]["distribution"]["rude"]
    assert isinstance(fused, float) and 0 <= fused <= 1
    assert together.nodes[0].kind == "check"


def double(number: int) -> int:
    return 2 * number


def fail(number: int) -> int:
    raise ValueError(f"no {number}")


class Asking(Definition):
    inputs = {"number": (int, 4)}  # noqa: RUF012
    twice = function(double, number=given("number"))
    question = ask("Is {{ twice.value }} right?")
    done = say("You said {{ question.text }}.")
    flow = (START >> twice >> question >> done >> END,)


def test_functions_inputs_and_questions(engine: Engine) -> None:
    async def answer(question: str) -> str:
        assert question == "Is 14 right?"
        return "yes"

    asked = RunInput(messages=HELLO.messages, inputs={"number": 7})
    chain = Asking.chain(engine.catalogue)
    result = asyncio.run(chain.arun(engine, asked, answer=answer))
    assert result.output == "You said yes."
    with pytest.raises(ChainRunError, match="node 'question': asks a human, and nobody is there"):
        chain.run(engine, asked)
    functions: dict[str, Callable[..., Any]] = {f"{__name__}:double": double}
    assert chain_of(chain.to_yaml(), engine.catalogue, functions) == chain


def test_a_failing_node_leaves_the_conversation_as_it_was(engine: Engine) -> None:
    class Failing(Definition):
        hello = say("Hello.")
        broken = function(fail, number=1)
        flow = (START >> hello >> broken >> END,)

    talk = engine.conversation(HELLO.messages)
    before = talk.ids
    with pytest.raises(ChainRunError, match="node 'broken': fail raised ValueError: no 1"):
        Failing.chain(engine.catalogue).run(engine, RunInput(), talk)
    assert talk.ids == before


def test_a_run_given_up_leaves_the_conversation_as_it_was(engine: Engine) -> None:
    talk = engine.conversation([Message(role="system", content="Be brief.")])
    before = talk.ids
    answering = YAML.replace("> 1.0e-09", "> 0.9999999")

    async def stop_early() -> None:
        stream = chain_of(answering, engine.catalogue).stream(engine, HELLO, talk)
        async for event in stream:
            if event.event == "token":
                break
        await stream.aclose()

    asyncio.run(stop_early())
    assert talk.ids == before
    check_integrity(engine)


def test_a_condition_is_no_truth_value() -> None:
    node = check("tone")
    with pytest.raises(TypeError, match="join conditions by &"):
        bool(node.value == "rude")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "must be an object with messages, documents or inputs"),
        ({"mesages": []}, "unknown key 'mesages'; did you mean 'messages'"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages.0: the content is empty"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"documents": [{"id": "a"}]}, "documents.0.text"),
    ],
)
def test_input_faults_are_named(data: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RunInput.of(data, "input.json")


def test_what_can_not_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown chain 'guarded_chta'; did you mean"):
        Chain.load("guarded_chta")
    with pytest.raises(InputError, match="there is no such file"):
        Chain.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", ["guarded_chat", "guarded_rag"])
def test_shipped_chains_are_drawn_as_they_run(name: str) -> None:
    chain = Chain.load(name)
    for edge in chain.model.flow:
        target = "end_" if edge.target == "end" else edge.target
        assert f"{edge.source} -->" in chain.mermaid() and target in chain.mermaid()
        assert f'"{edge.source}" -> "{edge.target}"' in chain.dot()
    assert chain_of(chain.to_yaml(), Catalogue()) == chain
