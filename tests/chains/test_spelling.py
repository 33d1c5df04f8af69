"""The Python and the YAML spelling of everything a chain can hold say the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chains import (
    END,
    START,
    Budget,
    ChainDefinitionError,
    Definition,
    ask,
    best_of,
    check,
    function,
    given,
    map_over,
    parallel,
    read,
    retrieve,
    say,
    subchain,
    turn,
)
from conftest import tiny_engine, write_intrinsic
from flows import chain_of
from intrinsics.catalogue import Catalogue


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    folder = tmp_path_factory.mktemp("intrinsics")
    engine = tiny_engine()
    write_intrinsic(engine, folder, "tone", ("rude", "kind"), seed=1)
    write_intrinsic(engine, folder, "quality", ("bad", "good"), last="assistant", seed=3)
    return Catalogue([folder])


def split(text: str) -> list[str]:
    return text.split()


def size(text: str) -> float:
    return float(len(text))


def never() -> str:
    return "?"


class Inner(Definition):
    inputs = {"subject": str}  # noqa: RUF012
    hello = say("About {{ input.subject }}.")
    flow = (START >> hello >> END,)


class Everything(Definition):
    inputs = {"topic": (str, "tea")}  # noqa: RUF012
    sorry = say("No time.")
    budget = Budget(steps=40, seconds=60, then=sorry)
    found = retrieve("docs", top=2).retry(2, wait=0.5)
    words = function(split, text=given("topic"))
    sizes = map_over(words.value, do=function(size, text=read("item")).within(3), failed="drop")
    both = parallel(tone=check("tone"), words=function(split, text=read("user")))
    race = parallel(join="first", one=function(never), two=function(never)).within(2, idle=1)
    inner = subchain(Inner, subject=given("topic"))
    which = ask("Which {{ input.topic }}?")
    draft = best_of(
        3,
        turn("Go on.", max_tokens=4, temperature=1.0),
        judge=function(size, text=read("candidate.text")),
    )
    judged = best_of(
        2, turn("More.", temperature=0.5), judge=check("quality"), by=read("judge").p("good")
    )
    reply = turn("Again.", max_tokens=4, temperature=1.0)
    sure = check("quality")
    flow = (
        START >> found,
        found.on_error("engine", "timeout") >> sorry,
        found >> words >> sizes >> both,
        both.when(both["tone"].p("rude") > 0.5) >> sorry,
        both.otherwise >> race >> inner >> which >> draft >> judged >> reply >> sure,
        sure.until(sure.value == "good").again(
            reply, at_most=3, then=END, best=sure.p("good"), budget=Budget(tokens=900)
        ),
        race.on_error() >> sorry,
        sorry >> END,
    )


TEXT = f"""\
chain: everything
input: {{topic: {{type: str, default: tea}}}}
budget: {{steps: 40, seconds: 60, then: sorry}}
nodes:
  sorry: {{say: No time.}}
  found: {{retrieve: {{folder: docs, top: 2}}, retry: {{times: 2, wait: 0.5}}}}
  words: {{function: {{call: "{__name__}:split", arguments: {{text: input.topic}}}}}}
  sizes:
    map:
      over: words.value
      failed: drop
      do: {{function: {{call: "{__name__}:size", arguments: {{text: item}}}}, timeout: 3}}
  both:
    parallel:
      branches:
        tone: {{check: tone}}
        words: {{function: {{call: "{__name__}:split", arguments: {{text: user}}}}}}
  race:
    parallel:
      join: first
      branches: {{one: {{function: "{__name__}:never"}}, two: {{function: "{__name__}:never"}}}}
    timeout: 2
    idle_timeout: 1
  inner:
    subchain:
      of:
        chain: inner
        input: {{subject: str}}
        nodes: {{hello: {{say: "About {{{{ input.subject }}}}."}}}}
        flow: [start -> hello, hello -> end]
      arguments: {{subject: input.topic}}
  which: {{ask: "Which {{{{ input.topic }}}}?"}}
  draft:
    best_of:
      n: 3
      turn: {{prompt: Go on., max_tokens: 4, temperature: 1.0}}
      judge: {{function: {{call: "{__name__}:size", arguments: {{text: candidate.text}}}}}}
  judged:
    best_of:
      n: 2
      turn: {{prompt: More., temperature: 0.5}}
      judge: {{check: quality}}
      by: judge.p('good')
  reply: {{turn: {{prompt: Again., max_tokens: 4, temperature: 1.0}}}}
  sure: {{check: quality}}
flow:
  - start -> found
  - found -> sorry: {{on_error: [engine, timeout]}}
  - found -> words
  - words -> sizes
  - sizes -> both
  - both -> sorry: {{when: both.tone.p('rude') > 0.5}}
  - both -> race: otherwise
  - race -> inner
  - inner -> which
  - which -> draft
  - draft -> judged
  - judged -> reply
  - reply -> sure
  - sure -> reply:
      until: sure.value == 'good'
      at_most: 3
      then: end
      best: sure.p('good')
      budget: {{tokens: 900}}
  - race -> sorry: {{on_error: any}}
  - sorry -> end
"""
CALLS: dict[str, Callable[..., Any]] = {"split": split, "size": size, "never": never}


def test_everything_is_the_same_in_python_and_yaml(catalogue: Catalogue) -> None:
    from chains import Chain
    from chains.loader import read as read_yaml

    model, places = read_yaml(TEXT, "chain.yaml")
    calls = {f"{__name__}:{name}": call for name, call in CALLS.items()}
    written = Chain(model, places, catalogue, calls)
    python = Everything.chain(catalogue)
    assert python.model == written.model
    assert read_yaml(python.to_yaml(), "again.yaml")[0] == written.model
    for drawing in (python.mermaid(), python.dot()):
        assert all(name in drawing for name in model.nodes)


def test_a_fault_inside_a_node_is_told_at_the_call_that_made_it(catalogue: Catalogue) -> None:
    class Wrong(Definition):
        both = parallel(
            one=check("tone"),
            two=say("{{ usr }}"),
        )
        inner = subchain(Inner, subjct=given("topic"))
        flow = (START >> both >> inner >> END,)

    with pytest.raises(ChainDefinitionError) as caught:
        Wrong.chain(catalogue)
    told = {fault.message.split(";")[0]: fault.source.strip() for fault in caught.value.faults}
    assert told["unknown template variable 'usr'"] == 'two=say("{{ usr }}"),'
    assert told["unknown input of inner 'subjct'"].startswith("inner = subchain(Inner")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: say("Hi.").retry(0), "greater than or equal to 1"),
        (lambda: say("Hi.").within(-1), "a time-out is a number of seconds above 0; it is -1"),
        (lambda: retrieve("docs", top=0), "top: Input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_limit_is_told_at_its_line(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        build()
    [fault] = caught.value.faults
    assert message in fault.message and fault.file == __file__


def test_values_that_only_fail_when_all_is_known_are_placed(catalogue: Catalogue) -> None:
    class Wrong(Definition):
        one = best_of(1, turn("Go.", temperature=1.0), judge=check("quality"))
        flow = (START >> one >> END,)

    with pytest.raises(ChainDefinitionError, match="n: Input should be greater than or equal to 2"):
        Wrong.chain(catalogue)


def test_a_key_of_a_node_inside_a_node_is_checked() -> None:
    text = """\
chain: x
nodes:
  each: {map: {over: documents, doo: {say: Hi.}}}
  both: {parallel: {branches: {a: {sya: Hi.}, winner: {say: Hi.}}}}
flow: [start -> each, each -> both, both -> end]
"""
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(text)
    told = str(caught.value)
    assert "chain.yaml:3:33: unknown key 'doo'; did you mean 'do'?" in told
    assert "chain.yaml:4:36: unknown kind of node 'sya'; did you mean 'say'?" in told
