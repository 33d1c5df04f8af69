"""A chain converted into its other spelling builds an equal chain; names that clash are settled."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given as cases
from hypothesis import settings

from chains import Chain, Definition, InputError
from chains.chain import shipped
from chains.cli import main
from chains.loader import read
from chains.model import ChainModel, Parallel
from chains.source import to_python
from drawn import Nowhere, flows
from intrinsics.catalogue import Catalogue

CLASHES = """\
chain: t2_x
version: 3
description: 'Says "hello", it''s said.'
system: "Two\\nlines"
input:
  say: {type: str, default: "it's"}
  many: {type: "list[str]", default: [a, 'b"c']}
  share: {type: float, default: 3}
  needed: bool
budget: {steps: 9, then: END_}
nodes:
  say: {say: "{{ input.say }}"}
  check: {check: safety, retry: 2, timeout: 1.5}
  f: {function: {call: "m:f", arguments: {call: input.say, share: 0.5, late: "m.value", of: user}}}
  m: {function: "n.o:f", idle_timeout: 3}
  START: {turn: {stop: ["a'b", c], seed: 7, max_tokens: 3}}
  Definition:
    subchain:
      of:
        chain: t2_x
        input: {of: str}
        nodes:
          Definition: {say: "{{ input.of }}"}
          f: {function: "m:f", retry: {times: 1, wait: 2}}
        flow: [start -> Definition, Definition -> f, f -> end]
      arguments: {of: input.say}
  same:
    parallel:
      join: any
      branches:
        one: {function: "m:f"}
        read: {function: {call: "m:f", arguments: {call: error.message}}}
  each:
    map:
      over: same.value.items
      failed: keep
      do: {function: {call: "m:g", arguments: {x: item}}}
  kept:
    retrieve:
      folder: docs
      query: "{{ user }}"
      top: 4
      guards: [{at: documents, check: context_relevance, label: irrelevant, then: drop}]
  END_:
    turn:
      prompt: "Why?"
      guards:
        - {at: input, check: safety, label: unsafe, then: replace, text: "No 'way'."}
        - {at: reply, check: certainty, label: incorrect, above: 0.7, then: again, at_most: 3}
flow:
  - start -> say
  - say -> check
  - check -> f:
      when: "not (0.25 < check.p('unsafe')) and (f.value or check.safety.value in ['safe'])"
  - check -> m: {when: check.safety.p('safe') != 1 or 2 >= check.p('safe')}
  - check -> check: {otherwise: true, at_most: 2, then: f, budget: {seconds: 2.5}}
  - f -> m
  - m -> START
  - START -> Definition
  - Definition -> same
  - same -> each
  - each -> kept
  - kept -> END_: {on_error: any}
  - kept -> END_
  - END_ -> end: {on_error: [timeout, guard]}
  - END_ -> END_: {at_most: 2, then: end}
output: "{{ say.text }} 'and' \\"so\\" \\\\ on"
"""


def built(source: str, functions: dict[str, Any]) -> ChainModel:
    """The model of the last class of a Python source, which imports these functions."""
    modules: dict[str, ModuleType] = {}
    for name, call in functions.items():
        module, _, attribute = name.partition(":")
        call.__module__, call.__qualname__ = module, attribute
        made = modules.setdefault(module, ModuleType(module))
        setattr(made, attribute, call)
    for module in list(modules):
        modules.setdefault(module.split(".")[0], ModuleType(module.split(".")[0]))
    names: dict[str, Any] = {"__name__": "written"}
    sys.modules |= modules
    try:
        exec(compile(source, "written.py", "exec"), names)
        last = [one for one in names.values() if isinstance(one, type)][-1]
        assert issubclass(last, Definition)
        return last.model()[0]
    finally:
        for module in modules:
            del sys.modules[module]


def callables(*names: str) -> dict[str, Callable[..., Any]]:
    def make() -> Callable[..., Any]:
        def call() -> bool:
            return True

        return call

    return {name: make() for name in names}


def test_names_that_clash_and_values_of_every_kind_are_kept() -> None:
    model, _ = read(CLASHES, "clashes.yaml")
    source = to_python(model)
    assert built(source, callables("m:f", "m:g", "n.o:f")) == model
    assert max(map(len, source.splitlines())) <= 100


@settings(max_examples=100)
@cases(flows())
def test_any_accepted_chain_is_the_same_in_python(model: ChainModel) -> None:
    joins = (node for _, node in model.parts() if isinstance(node, Parallel))
    assert all("join" not in node.branches for node in joins)
    python = built(to_python(model), callables("m:coin", "m:flaky"))
    assert python == model
    yaml = Chain(python, Nowhere(), Catalogue(), None).to_yaml()
    assert read(yaml, "again.yaml")[0] == model
    assert to_python(read(yaml, "again.yaml")[0]) == to_python(model)


@pytest.mark.parametrize("name", shipped())
def test_shipped_chains_are_the_same_in_python(name: str) -> None:
    model = Chain.load(name).model
    assert built(to_python(model), {}) == model


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("a: {say", "output: {say", "in Python 'output' is a setting of the chain; rename"),
        ("a: {say", "__a: {say", "in Python '__a' is a name of Python's own; rename"),
        ("{say: Hi.}", "{function: '__main__:f'}", "__main__:f is in no module"),
        ("{say: Hi.}", "{parallel: {branches: {join: {function: 'm:f'}}}}", "a branch 'join'"),
    ],
)
def test_what_python_can_not_say_is_told(old: str, new: str, message: str) -> None:
    text = "chain: c\nnodes: {a: {say: Hi.}}\nflow: [start -> a, a -> end]\n".replace(old, new)
    name = new.split(":")[0] if new.startswith(("output", "__a")) else "a"
    model, _ = read(text.replace("-> a", f"-> {name}").replace("a ->", f"{name} ->"), "c.yaml")
    with pytest.raises(InputError, match=message):
        to_python(model)


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["convert", *arguments])
        shown = capsys.readouterr()
        return int(str(caught.value.code)), shown.out, shown.err

    return call


def test_the_command_goes_both_ways(
    command: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = "chain: fine_day\nversion: 1\nnodes:\n  a: {say: Hi.}\nflow: [start -> a, a -> end]\n"
    (tmp_path / "fine.yaml").write_text(text)
    assert command("fine.yaml", "-o", "converted_day.py") == (0, "", "")
    editor = "# yaml-language-server: $schema=chain.schema.json\n"
    assert command("converted_day:FineDay") == (0, editor + text, "")
    assert command("converted_day:FineDay", "-o", "again.yaml") == (0, "", "")
    assert Chain.load(tmp_path / "again.yaml") == Chain.load(tmp_path / "fine.yaml")
    with pytest.raises(SystemExit):
        main(["graph", "converted_day:FineDay"])
    assert "start" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["run", "converted_day:FineDay", "--json", "--record", "runs.db"])
    assert json.loads(capsys.readouterr().out)["output"] == "Hi."
    code, _, err = command("converted_day:FineDy")
    assert code == 2 and "did you mean 'FineDay'" in err
    code, _, err = command("no_such_module:A")
    assert code == 2 and "no_such_module:A: ModuleNotFoundError" in err
    code, _, err = command("fine.yaml", "-o", "none/fine.py")
    assert code == 1 and "none/fine.py: can't be written" in err
    (tmp_path / "wrong_day.py").write_text(
        "from chains import *\nclass A(Definition):\n    output = say('x')\n"
    )
    code, _, err = command("wrong_day:A")
    assert code == 2 and "wrong_day.py:3:14: 'output' is a setting" in err
