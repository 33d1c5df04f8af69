"""Abstaining: a reply whose probability of being right is too low is taken back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chains import (
    END,
    START,
    Chain,
    ChainDefinitionError,
    Definition,
    RunInput,
    check,
    say,
    turn,
)
from chains.events import EdgeTaken
from chains.loader import read
from conftest import check_integrity, tiny_engine, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.messages import Message

HELLO = RunInput(messages=(Message(role="user", content="Hello"),))
YAML = """\
chain: careful
nodes:
  reply: {turn: {max_tokens: 6, temperature: 1.5}}
  sure: {check: right}
  unsure: {say: I am not sure.}
flow:
  - start -> reply
  - reply -> sure
  - sure -> unsure: {abstain_below: 0.999999}
  - sure -> end: otherwise
  - unsure -> end
"""
NEVER = YAML.replace("0.999999", "0.000001")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("intrinsics")
    engine = tiny_engine()
    write_intrinsic(
        engine, folder, "right", ("correct", "incorrect"), last="assistant", kind="probability"
    )
    write_intrinsic(engine, folder, "tone", ("rude", "kind"), last="assistant", seed=1)
    engine.catalogue = Catalogue([folder])
    return engine


def chain_of(text: str, engine: Engine) -> Chain:
    model, places = read(text, "chain.yaml")
    return Chain(model, places, engine.catalogue)


class Careful(Definition):
    reply = turn(max_tokens=6, temperature=1.5)
    sure = check("right")
    unsure = say("I am not sure.")
    flow = (
        START >> reply >> sure,
        sure.abstain_below(0.999999) >> unsure,
        sure.otherwise >> END,
        unsure >> END,
    )


def test_python_and_yaml_abstain_alike(engine: Engine) -> None:
    chain = chain_of(YAML, engine)
    assert Careful.chain(engine.catalogue) == chain
    assert read(chain.to_yaml(), "again")[0] == chain.model


def test_what_is_not_believed_was_never_said(engine: Engine) -> None:
    talk = engine.conversation()
    result = chain_of(YAML, engine).run(engine, HELLO, talk)
    assert [node.name for node in result.nodes] == ["reply", "sure", "unsure"]
    assert [message["role"] for message in result.messages] == ["user", "assistant"]
    assert result.output == result.messages[-1]["content"] == "I am not sure."
    same = engine.conversation([*HELLO.messages, Message(role="assistant", content=result.output)])
    assert talk.ids == same.ids
    check_integrity(engine)


def test_what_is_believed_stays(engine: Engine) -> None:
    result = chain_of(NEVER, engine).run(engine, HELLO)
    assert [node.name for node in result.nodes] == ["reply", "sure"]
    assert result.output == result.nodes[0].output


def test_the_edge_tells_the_probability(engine: Engine) -> None:
    async def collect() -> list[Any]:
        return [event async for event in chain_of(YAML, engine).stream(engine, HELLO)]

    events = asyncio.run(collect())
    [taken] = [e for e in events if isinstance(e, EdgeTaken) and e.target == "unsure"]
    assert taken.condition == "abstain below 0.999999"
    assert taken.operands is not None and taken.operands.endswith("< 0.999999")


def test_abstaining_without_a_word_gives_no_output(engine: Engine) -> None:
    text = YAML.replace("  unsure: {say: I am not sure.}\n", "").replace("  - unsure -> end\n", "")
    result = chain_of(text.replace("sure -> unsure", "sure -> end"), engine).run(engine, HELLO)
    assert result.output == ""
    assert [message["role"] for message in result.messages] == ["user"]


def test_it_may_try_again_before_it_abstains(engine: Engine) -> None:
    bounds = "{abstain_below: 0.999999, at_most: 2, then: unsure}"
    text = YAML.replace("unsure: {abstain_below: 0.999999}", f"reply: {bounds}")
    result = chain_of(text, engine).run(engine, HELLO)
    assert [node.name for node in result.nodes] == [*["reply", "sure"] * 3, "unsure"]
    assert [message["role"] for message in result.messages] == ["user", "assistant"]
    replies = {node.output for node in result.nodes if node.name == "reply"}
    assert len(replies) == 3


def test_another_turn_may_reply_in_its_place(engine: Engine) -> None:
    text = YAML.replace("say: I am not sure.", "turn: {max_tokens: 3}")
    result = chain_of(text, engine).run(engine, HELLO)
    assert [message["role"] for message in result.messages] == ["user", "assistant"]
    assert result.output == result.nodes[-1].output


@pytest.mark.parametrize("form", ["mermaid", "dot"])
def test_it_is_drawn_on_the_edge(engine: Engine, form: str) -> None:
    assert "abstain below 0.999999" in getattr(chain_of(YAML, engine), form)()


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        (("0.999999", "1.5"), "9:37", "should be less than 1"),
        (("0.999999", "high"), "9:37", "should be a valid number"),
        (("abstain_below", "abstain_bellow"), "9:22", "did you mean 'abstain_below'"),
        (("check: right", "check: tone"), "9:37", "reads a probability, but tone answers with"),
        (("check: right", "check: [right, tone]"), "9:37", "judges with right, tone; check that"),
        (("sure -> unsure", "reply -> unsure"), "9:38", "'reply' judges nothing"),
        (("  - sure -> end: otherwise\n", ""), "9:37", "no edge is taken when this is false"),
        (("0.999999}", "0.9, when: sure.value < 1}"), "9:37", "an edge has one of 'when'"),
        (("start -> reply", "start -> sure"), "9:37", "the last message may be the input's"),
        (("{turn: {max_tokens: 6, temperature: 1.5}}", "{say: Hi.}"), "9:37", "a fixed text"),
    ],
)
def test_a_fault_is_placed_and_its_remedy_told(
    engine: Engine, change: tuple[str, str], place: str, message: str
) -> None:
    assert change[0] in YAML
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(YAML.replace(*change, 1), engine)
    told = str(caught.value)
    assert message in told
    assert f"chain.yaml:{place}" in told


def test_a_number_out_of_range_is_told_at_the_line_of_the_call() -> None:
    node = check("right")
    with pytest.raises(ChainDefinitionError, match="abstain_below is 60; it is a number between"):
        node.abstain_below(60)
