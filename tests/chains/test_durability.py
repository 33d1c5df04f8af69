"""Recorded runs: killed after any record they resume to the same outcome, and repeat nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as cases
from hypothesis import strategies as st

from chains import Chain
from chains.errors import ChainChanged, RunIsHeld, StoreError, StoreRequestError
from chains.model import ChainModel
from chains.recorder import recorded, resumed
from chains.runner import RunResult
from chains.store import Store
from conftest import check_integrity
from drawn import Nowhere, flows
from flows import HELLO, chain_of, judging_engine
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from recording import killed_and_resumed, play, races, steady, told


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@cases(flows(), st.booleans(), st.booleans(), st.integers(0, 40))
def test_any_chain_killed_after_any_record_comes_to_the_same_end(
    tmp_path_factory: pytest.TempPathFactory,
    model: ChainModel,
    heads: bool,
    broken: bool,
    after: int,
) -> None:
    chain = Chain(model, Nowhere(), Catalogue(), steady(heads, broken))
    path = tmp_path_factory.mktemp("runs") / "runs.db"
    with Store.open(path) as store, recorded(store, chain, HELLO) as recorder:
        undisturbed = play(chain, recorder)
    _, result = killed_and_resumed(chain, path, after, None)
    if not races(model):
        assert told(result) == told(undisturbed)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("intrinsics")
    return judging_engine(folder)


TALK = """\
chain: talk
system: Be brief.
nodes:
  first: {check: tone}
  second: {check: topic}
  reply: {turn: {max_tokens: 6, temperature: 1.5}}
  sure: {check: quality}
  both:
    parallel:
      branches:
        more: {turn: {prompt: "Go on.", max_tokens: 4}}
        tone: {check: quality}
  best:
    best_of:
      n: 2
      turn: {prompt: And now?, max_tokens: 4, temperature: 1.0}
      judge: {check: quality}
      by: judge.p('good')
flow:
  - start -> first
  - first -> second
  - second -> reply
  - reply -> sure
  - sure -> reply: {until: sure.p('good') > 0.99999, at_most: 2, then: both, best: sure.p('good')}
  - both -> best
  - best -> end
"""


def test_a_conversation_killed_after_any_record_goes_on_with_the_very_tokens(
    engine: Engine, tmp_path: Path
) -> None:
    chain = chain_of(TALK, engine.catalogue)
    plain = chain.run(engine, HELLO)
    after, going = 0, True
    while going:
        going, result = killed_and_resumed(chain, tmp_path / "runs.db", after, engine)
        assert told(result) == told(plain), f"killed after {after} records"
        after += 1
    assert after > 12
    check_integrity(engine)


ASK = """\
chain: asking
nodes:
  first: {function: "m:first"}
  which: {ask: "Which {{ first.value }}?"}
  last: {function: {call: "m:last", arguments: {text: which.text}}}
flow: [start -> first, first -> which, which -> last, last -> end]
output: "{{ last.value }}"
"""


def asking(calls: list[str]) -> Chain:
    def first() -> str:
        calls.append("first")
        return "bank"

    def last(text: str) -> str:
        calls.append("last")
        return text.upper()

    return chain_of(ASK, first=first, last=last)


def test_an_ask_waits_for_its_answer_and_repeats_nothing(tmp_path: Path) -> None:
    calls: list[str] = []
    chain = asking(calls)
    with Store.open(tmp_path / "runs.db") as store:
        with recorded(store, chain, HELLO) as recorder:
            waiting = play(chain, recorder)
        run_id = recorder.run_id
        assert isinstance(waiting, RunResult)
        assert (waiting.status, waiting.output) == ("waiting", "Which bank?")
        assert store.run(run_id).status == "waiting"
        with resumed(store, run_id, chain) as again:
            assert getattr(play(chain, again), "status", "") == "waiting"
        store.answer(run_id, "the river")
        with resumed(store, run_id, chain) as again:
            result = play(chain, again)
        assert isinstance(result, RunResult) and result.output == "THE RIVER"
        assert store.run(run_id).status == "finished"
        with resumed(store, run_id, chain) as again:  # an ended run is only told again
            assert told(play(chain, again)) == told(result)
        assert [one.kind for one in store.records(run_id)] == [
            *("started", "node", "asked", "answered", "node", "node", "finished")
        ]
    assert calls == ["first", "last"]
    assert [m["content"] for m in result.messages] == ["Hello", "Which bank?", "the river"]


def test_a_failed_run_tries_the_node_again_that_it_failed_at(tmp_path: Path) -> None:
    calls: list[int] = []

    def first() -> int:
        calls.append(1)
        return 1

    def f() -> int:
        calls.append(2)
        if calls.count(2) < 3:
            raise OSError("no disk")
        return 2

    text = """\
chain: failing
nodes: {first: {function: "m:first"}, second: {function: "m:f", retry: 1}}
flow: [start -> first, first -> second, second -> end]
output: "{{ second.value }}"
"""
    chain = chain_of(text, first=first, f=f)
    with Store.open(tmp_path / "runs.db") as store:
        with recorded(store, chain, HELLO) as recorder:
            assert "no disk" in str(play(chain, recorder))
        assert store.run(recorder.run_id).status == "failed"
        with resumed(store, recorder.run_id, chain) as again:
            assert getattr(play(chain, again), "output", "") == "2"
    assert calls == [1, 2, 2, 2]


def test_a_changed_chain_is_refused_with_the_difference_or_forced(tmp_path: Path) -> None:
    calls: list[str] = []
    chain = asking(calls)
    other = chain_of(
        ASK.replace("which.text", "first.value"),
        **{n.split(":")[1]: c for n, c in chain.functions.items()},
    )
    with Store.open(tmp_path / "runs.db") as store:
        with recorded(store, chain, HELLO) as recorder:
            play(chain, recorder)
        run_id = recorder.run_id
        store.answer(run_id, "the river")
        with pytest.raises(ChainChanged) as caught, resumed(store, run_id, other):
            pass
        assert "-      arguments: {text: which.text}" in str(caught.value)
        assert "+      arguments: {text: first.value}" in str(caught.value)
        with resumed(store, run_id, other, force=True) as again:
            result = play(other, again)
        assert getattr(result, "output", "") == "BANK"
        assert store.definition(run_id).chain_yaml == other.to_yaml()
        assert "changed" in [record.kind for record in store.records(run_id)]
    assert calls == ["first", "last"]


def test_a_run_is_run_by_one_at_a_time_and_on_one_model(engine: Engine, tmp_path: Path) -> None:
    chain = asking([])
    with Store.open(tmp_path / "runs.db") as store, recorded(store, chain, HELLO) as recorder:
        play(chain, recorder)
        with (
            pytest.raises(RunIsHeld, match="is being run by process"),
            resumed(store, recorder.run_id, chain),
        ):
            pass
    with (
        Store.open(tmp_path / "runs.db") as store,
        resumed(store, recorder.run_id, chain) as again,
        pytest.raises(ChainChanged, match="began on the model None"),
    ):
        play(chain, again, engine)


def test_a_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with Store.open(tmp_path / "runs.db") as store:
        run_id = store.create("asking", ASK)
        assert store.holder(run_id) is None
        with pytest.raises(StoreError, match="POSIX systems only"), store.lease(run_id):
            pass


def test_questions_of_several_branches_are_answered_one_by_one(tmp_path: Path) -> None:
    text = """\
chain: several
input: {names: {type: "list[str]", default: [Ada, Bob]}}
nodes: {all: {map: {over: input.names, do: {ask: "Is {{ item }} in?"}}}}
flow: [start -> all, all -> end]
output: "{{ all['values'] | map(attribute='text') | join(', ') }}"
"""
    chain = chain_of(text)
    with Store.open(tmp_path / "runs.db") as store:
        with recorded(store, chain, HELLO) as recorder:
            play(chain, recorder)
        run_id = recorder.run_id
        first, second = store.asks(run_id)
        assert [first.question, second.question] == ["Is Ada in?", "Is Bob in?"]
        with pytest.raises(StoreRequestError, match="asks several things"):
            store.answer(run_id, "yes")
        store.answer(run_id, "no", second.seq)
        with resumed(store, run_id, chain) as again:
            assert getattr(play(chain, again), "status", "") == "waiting"
        store.answer(run_id, "yes", first.seq)
        with resumed(store, run_id, chain) as again:
            assert getattr(play(chain, again), "output", "") == "yes, no"
