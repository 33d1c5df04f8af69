"""The Python spelling: everything YAML can say, and mistakes told at their own line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from chains import END, START, Chain, ChainDefinitionError, Definition, check, function, say, turn
from chains.dsl import Node
from chains.loader import read
from conftest import tiny_engine, write_intrinsic
from intrinsics.catalogue import Catalogue


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    folder = tmp_path_factory.mktemp("intrinsics")
    write_intrinsic(tiny_engine(), folder, "tone", ("rude", "kind"), seed=1)
    return Catalogue([folder])


@dataclass
class Found:
    title: str
    score: float


def look_up(text: str) -> Found:
    return Found(text, 0.5)


def test_all_that_yaml_says_can_be_said_in_python(catalogue: Catalogue) -> None:
    class Everything(Definition):
        found = function(look_up, text="abc")
        reply = turn("Go on.", max_tokens=3, temperature=1.0)
        cut = say("? Cut off.")
        done = say(": Done.")
        flow = (
            START >> found,
            found.when(found.value.field("score") > 0.2) >> reply,
            found.otherwise >> done,
            reply.when((reply.finish == "length") & (reply.attempts < 3)) >> cut,
            reply.otherwise >> done,
            cut >> done,
            done.again(found, at_most=2, then=END),
        )

    text = f"""\
chain: everything
nodes:
  found: {{function: {{call: "{__name__}:look_up", arguments: {{text: "'abc'"}}}}}}
  reply: {{turn: {{prompt: Go on., max_tokens: 3, temperature: 1.0}}}}
  cut: {{say: "? Cut off."}}
  done: {{say: ": Done."}}
flow:
  - start -> found
  - found -> reply: {{when: found.value.score > 0.2}}
  - found -> done: otherwise
  - reply -> cut: {{when: reply.finish == 'length' and reply.attempts < 3}}
  - reply -> done: otherwise
  - cut -> done
  - done -> found: {{at_most: 2, then: end}}
"""
    model, _ = read(text, "chain.yaml")
    chain: Chain = Everything.chain(catalogue)
    assert chain.model == model
    assert read(chain.to_yaml(), "again")[0] == model


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: turn(max_tokns=5), "unknown argument 'max_tokns'; did you mean 'max_tokens'"),
        (lambda: turn(max_tokens=0), "max_tokens: Input should be greater than or equal to 1"),
        (lambda: say(""), "text: String should have at least 1 character"),
        (lambda: check(), "intrinsics: Dictionary should have at least 1 item"),
        (
            lambda: check("tone", arguments={"tne": {}}),
            "unknown intrinsic in arguments: 'tne'; did you mean 'tone'",
        ),
    ],
)
def test_a_mistake_is_told_at_the_line_of_the_call(build: Callable[[], Node], message: str) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        build()
    [fault] = caught.value.faults
    assert message in fault.message
    assert fault.file == __file__
    assert "lambda:" in fault.source and fault.source[fault.column - 1 :].startswith(
        ("turn", "say", "check")
    )


def test_a_node_can_not_be_named_as_a_setting() -> None:
    with pytest.raises(ChainDefinitionError, match="'output' is a setting of the chain"):

        class Wrong(Definition):
            output = say("Hi.")
            flow = (START >> output >> END,)


def test_an_empty_flow_is_told(catalogue: Catalogue) -> None:
    class Empty(Definition):
        hello = say("Hi.")
        flow = ()

    with pytest.raises(ChainDefinitionError, match="the flow of Empty is empty"):
        Empty.chain(catalogue)


def test_literals_that_no_condition_can_hold_are_refused() -> None:
    node = check("tone")
    with pytest.raises(ValueError, match="is_in needs at least one literal"):
        node.value.is_in()
    with pytest.raises(ValueError, match="beyond 1e"):
        _ = node.value < 1e16
    with pytest.raises(ValueError, match="beyond 1e"):
        _ = node.value < float("nan")
