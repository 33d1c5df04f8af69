"""Nodes that run others at once: parallel branches, maps, best of n."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chains import ChainDefinitionError, ChainRunError, RunInput
from chains.events import AttemptChosen, Cancelled
from conftest import check_integrity
from flows import HELLO, Failing, chain_of, events_of, judging_engine, run
from intrinsics.engine import Engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return judging_engine(tmp_path_factory.mktemp("intrinsics"))


def fan(join: str, *names: str, more: str = "") -> str:
    branches = ", ".join(f"{name}: {{function: 'm:{name}'}}" for name in names)
    return f"""\
chain: fan
nodes:
  both: {{parallel: {{branches: {{{branches}}}, join: {join}}}{more}}}
  fallback: {{say: "{{{{ error.message }}}}"}}
flow:
  - start -> both
  - both -> fallback: {{on_error: branches}}
  - both -> end
  - fallback -> end
"""


async def quick() -> int:
    return 1


async def slow() -> int:
    await asyncio.sleep(0.05)
    return 2


async def never() -> int:
    await asyncio.sleep(3600)
    return 3


async def broken() -> int:
    raise ValueError("no")


def test_a_join_of_all_has_every_branch_and_runs_them_at_once() -> None:
    begun: list[str] = []

    async def one() -> int:
        begun.append("one")
        while len(begun) < 2:
            await asyncio.sleep(0.001)
        return 1

    async def two() -> int:
        begun.append("two")
        while len(begun) < 2:
            await asyncio.sleep(0.001)
        return 2

    result = run(chain_of(fan("all", "one", "two"), one=one, two=two))
    assert result.nodes[0].output == {"one": 1, "two": 2}


def test_sync_functions_in_branches_run_at_once() -> None:
    import threading

    barrier = threading.Barrier(2, timeout=5)

    def one() -> int:
        return barrier.wait()

    def two() -> int:
        return barrier.wait()

    result = run(chain_of(fan("all", "one", "two"), one=one, two=two))
    assert sorted(result.nodes[0].output.values()) == [0, 1]


@pytest.mark.parametrize(
    ("join", "winner"), [("any", {"winner": "slow", "output": 2}), ("first", None)]
)
def test_any_takes_the_first_success_and_first_the_first_end(join: str, winner: Any) -> None:
    chain = chain_of(fan(join, "broken", "slow", "never"), broken=broken, slow=slow, never=never)
    events = events_of(chain)
    result = run(chain)
    if winner is None:
        assert result.output == "1 of 3 branches failed: broken: broken raised ValueError: no"
    else:
        assert result.nodes[0].output == winner
        assert [e.node for e in events if isinstance(e, Cancelled)] == ["never"]


def test_a_cancelled_branch_has_ended_when_the_run_goes_on() -> None:
    ended: list[str] = []

    async def patient() -> int:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("patient")
        return 1

    run(chain_of(fan("first", "quick", "patient"), quick=quick, patient=patient))
    assert ended == ["patient"]


def test_a_failing_branch_loses_no_finished_sibling_and_a_retry_does_not_repeat_it() -> None:
    once, flaky = Failing(0), Failing(1)
    text = fan("all", "sure", "flaky", more=", retry: 2")
    result = run(chain_of(text, sure=once.function(), flaky=flaky.function()))
    assert result.nodes[0].output == {"sure": 1, "flaky": 2}
    assert (once.calls, flaky.calls) == (1, 2)
    text = fan("all", "quick", "broken")
    assert run(chain_of(text, quick=quick, broken=broken)).output == (
        "1 of 2 branches failed: broken: broken raised ValueError: no (finished: quick)"
    )


def test_two_parallel_writers_of_the_conversation_are_named() -> None:
    text = """\
chain: both
nodes:
  both:
    parallel:
      branches:
        hello: {say: Hello.}
        quiet: {function: 'm:quick'}
        goodbye: {say: Goodbye.}
flow: [start -> both, both -> end]
"""
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(text, quick=quick)
    assert str(caught.value).startswith("chain.yaml:8:")
    assert "two parallel writers of the conversation, 'hello' and 'goodbye'" in str(caught.value)
    result = run(
        chain_of(text.replace("      branches:", "      join: any\n      branches:"), quick=quick)
    )
    assert result.status == "finished"
    one = text.replace("        goodbye: {say: Goodbye.}\n", "")
    assert run(chain_of(one, quick=quick)).output == "Hello."


MAP = """\
chain: each
input: {words: "list[str]"}
nodes:
  each: {map: {over: input.words, do: {function: {call: "m:f", arguments: {word: item}}}}}
  told: {say: "{{ each.count }} of {{ input.words | length }}: {{ each['values'] }}"}
flow: [start -> each, each -> told, told -> end]
"""
WORDS = RunInput(messages=HELLO.messages, inputs={"words": ["one", "three", "seven"]})


def letters(word: str) -> int:
    if word == "three":
        raise ValueError("an even number of es")
    return len(word)


def test_a_map_names_the_input_that_failed() -> None:
    with pytest.raises(ChainRunError) as caught:
        chain_of(MAP, f=letters).run(None, WORDS)
    assert "1 of 3 items failed; item 2, 'three': letters raised ValueError" in str(caught.value)


@pytest.mark.parametrize(
    ("failed", "values"),
    [("drop", [{"value": 3}, {"value": 5}]), ("keep", [{"value": 3}, None, {"value": 5}])],
)
def test_a_map_drops_or_keeps_the_place_of_what_failed(failed: str, values: list[Any]) -> None:
    text = MAP.replace("input.words, do", f"input.words, failed: {failed}, do")
    result = chain_of(text, f=letters).run(None, WORDS)
    assert result.output == f"2 of 3: {values}"
    [told] = result.nodes[0].output["failed"]
    assert (told["index"], told["item"]) == (2, "three")


def test_an_item_has_the_type_of_the_list() -> None:
    with pytest.raises(ChainDefinitionError, match="takes a number for 'word', but is given text"):

        def f(word: int) -> int:
            return word

        chain_of(MAP, f=f)
    with pytest.raises(ChainDefinitionError, match="'user' is text, not a list"):
        chain_of(MAP.replace("over: input.words", "over: user"), f=letters)


BEST = """\
chain: best
nodes:
  draft:
    best_of:
      n: 3
      turn: {max_tokens: 6, temperature: 1.5, seed: 7}
      judge: {check: quality}
      by: judge.p('good')
  sure: {check: quality}
flow: [start -> draft, draft -> sure, sure -> end]
"""


def test_the_best_candidate_becomes_the_reply_and_its_context_is_kept(engine: Engine) -> None:
    events = events_of(chain_of(BEST, engine.catalogue), engine)
    [chosen] = [event for event in events if isinstance(event, AttemptChosen)]
    scores = [score for score in chosen.scores if score is not None]
    assert len(scores) == 3 and scores[chosen.chosen - 1] == max(scores)
    result = chain_of(BEST, engine.catalogue).run(engine, HELLO)
    told = result.nodes[0].output
    assert told["chosen"] == chosen.chosen
    assert result.messages[-1]["content"] == told["candidates"][chosen.chosen - 1]["text"]
    found = result.nodes[1].output["quality"]["distribution"]["good"]
    assert found == pytest.approx(max(scores), abs=1e-5)
    assert result.nodes[1].ledger["computed"] < 80  # the winner's keys and values are there
    check_integrity(engine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("by: judge.p('good')", "by: judge.value"), "take a label's probability, judge.p('bad')"),
        (("temperature: 1.5", "temperature: 0"), "candidates at temperature 0 are all the same"),
        (("n: 3", "n: 1"), "greater than or equal to 2"),
        (("judge: {check: quality}", "judge: {check: qualty}"), "did you mean 'quality'"),
        (("judge: {check: quality}", "judge: {check: tone}"), "tone judges the last user message"),
    ],
)
def test_a_wrong_best_of_is_told(engine: Engine, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(BEST.replace(*change, 1), engine.catalogue)
    assert message in str(caught.value)


def test_a_chain_that_calls_the_model_needs_an_engine(engine: Engine) -> None:
    from chains import InputError

    with pytest.raises(InputError, match="best calls the model; give it an engine"):
        run(chain_of(BEST, engine.catalogue))
