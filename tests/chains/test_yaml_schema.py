"""The schema for editors takes what the loader takes, and refuses wrong keys and values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML as Reader

from chains import Chain
from chains.cli import main
from chains.errors import ChainDefinitionError
from chains.loader import read
from chains.yaml_schema import yaml_schema
from intrinsics.library import library_path

ROOT = Path(__file__).parent.parent.parent
SHIPPED = sorted((library_path() / "chains").glob("*.yaml"))
LINE = "# yaml-language-server: $schema=../chain.schema.json\n"
EVERYTHING = """\
chain: everything
version: 2
description: Each spelling once.
system: Be brief.
input: {topic: str, tries: {type: int, default: 3}, names: "list[str]"}
nodes:
  bare: turn
  none: {turn: null}
  short: {turn: Tell me about it.}
  long: {turn: {prompt: Again., max_tokens: 9, temperature: 0.5, top_p: 1, seed: 7, stop: ["."]}}
  one: {check: safety}
  several: {check: [safety, certainty]}
  given: {check: {safety: {}, certainty: null, context_relevance: {question: "{{ user }}"}}}
  say: {say: Hello.}
  told: {say: {text: Hello.}}
  ask: {ask: Which?}
  asked: {ask: {question: Which?}}
  call: {function: "tools:search"}
  called: {function: {call: "tools:search", arguments: {a: input.topic, b: 3, c: true, d: "'x'"}}}
flow:
  - start -> bare
  - bare -> none: {when: input.tries > 2}
  - bare -> end: otherwise
  - none -> end: {when: none.finish == 'stop', at_most: 2, then: short}
  - none -> none: {otherwise: true, at_most: 2, then: end}
  - one -> say: {abstain_below: 0.5}
output: "{{ said }}"
"""
VALIDATOR = Draft202012Validator(yaml_schema())
WRONG = [
    ("chain: everything", "chian: everything"),
    ("chain: everything", "chain: Not a name"),
    ("version: 2", "version: two"),
    ("version: 2", "version: 0"),
    ("topic: str", "topic: string"),
    ("type: int", "type: int, typo: 1"),
    ("bare: turn", "bare: turned"),
    ("bare: turn", "bare: say"),
    ("none: {turn: null}", "none: {turn: null, say: Hi.}"),
    ("none: {turn: null}", "none: {trun: null}"),
    ("none: {turn: null}", "none: {}"),
    ("short: {turn: Tell me about it.}", "short: {turn: 7}"),
    ("max_tokens: 9", "max_token: 9"),
    ("max_tokens: 9", "max_tokens: 0"),
    ("temperature: 0.5", "temperature: hot"),
    ("top_p: 1,", "top_p: 1.5,"),
    ("[safety, certainty]", "[safety, safety]"),
    ("[safety, certainty]", "[safety, 3]"),
    ("{say: Hello.}", "{say: null}"),
    ("{text: Hello.}", "{txet: Hello.}"),
    ('tools:search"}', 'tools"}'),
    ("start -> bare", "start to bare"),
    ("start -> bare", "start -> bare -> none"),
    (": otherwise", ": otherwhise"),
    ("when: input.tries > 2", "wen: input.tries > 2"),
    ("when: input.tries > 2", "when: true"),
    ("{otherwise: true,", "{otherwise: false,"),
    ("at_most: 2, then: short", "at_most: 0, then: short"),
    ("abstain_below: 0.5", "abstain_below: 5"),
]


def data_of(text: str) -> Any:
    return Reader(typ="safe", pure=True).load(text)


def faults(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(data_of(text))]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(yaml_schema())


def test_every_spelling_is_taken_by_schema_and_loader() -> None:
    assert faults(EVERYTHING) == []
    read(EVERYTHING, "chain.yaml")


@pytest.mark.parametrize(("old", "new"), WRONG)
def test_what_is_wrong_is_refused_by_schema_and_loader(old: str, new: str) -> None:
    assert EVERYTHING.count(old) >= 1
    wrong = EVERYTHING.replace(old, new, 1)
    assert faults(wrong)
    with pytest.raises(ChainDefinitionError) as caught:
        read(wrong, "chain.yaml")
    assert caught.value.faults


def test_a_name_that_is_taken_is_refused() -> None:
    assert faults(EVERYTHING.replace("bare: turn", "start: turn"))
    assert faults(EVERYTHING.replace("topic: str", "messages: str"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_chains_are_valid_and_name_the_schema(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(LINE)
    assert (path.parent / "../chain.schema.json").is_file()
    assert faults(text) == []
    assert faults(Chain.load(path).to_yaml()) == []


def test_no_part_takes_unknown_keys() -> None:
    def walk(part: Any) -> None:
        if isinstance(part, dict):
            if part.get("type") == "object" and "properties" in part:
                assert part["additionalProperties"] is False, part
            for one in part.values():
                walk(one)
        for one in part if isinstance(part, list) else ():
            walk(one)

    walk(yaml_schema())


def test_the_shipped_schema_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["schema"])
    printed = capsys.readouterr().out
    assert json.loads(printed) == yaml_schema()
    shipped = (library_path() / "chain.schema.json").read_text()
    assert shipped == printed, "run: chains schema > library/chain.schema.json"
