"""A recorded run is told as its events tell it, however it ended; what was recalled is shown."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from chains import Chain, ChainRunError
from chains.cli import main
from chains.events import Event, NodeStarted
from chains.recorder import Recorder, recorded, resumed
from chains.replay import replayed
from chains.runner import Run
from chains.store import Store
from chains.tracing import page
from chains.tracing.record import told
from chains.tracing.story import Story, Visit, tell
from flows import HELLO
from flows import chain_of as plain_chain
from intrinsics.engine import Engine
from traced import GIVEN, HOSTILE, YAML, chain_of, traced_engine


def heard(recorder: Recorder, engine: Engine | None = None) -> list[Event]:
    """The events of a recorded run, up to a failure or a question."""
    found: list[Event] = []

    async def go() -> None:
        run = Run(recorder.chain, engine, recorder.given, recorder=recorder)
        async for event in run.events():
            found.append(event)

    with suppress(ChainRunError):
        asyncio.run(go())
    return found


def begun(store: Store, chain: Chain, engine: Engine | None = None) -> tuple[str, list[Event]]:
    with recorded(store, chain, HELLO if engine is None else GIVEN) as recorder:
        return recorder.run_id, heard(recorder, engine)


def visit(one: Visit) -> dict[str, Any]:
    """A visit without what only tokens tell, and without times, which are read twice."""
    return {**vars(one), "said": "", "at": 0, "until": one.until is not None, "ledger": {}}


def story(store: Store, run_id: str) -> Story:
    return tell(*told(store, run_id))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(tmp_path / "runs.db") as store:
        yield store


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return traced_engine(tmp_path_factory.mktemp("intrinsics"))


def test_the_record_tells_what_the_events_told(engine: Engine, store: Store) -> None:
    chain = chain_of(YAML, engine)
    run_id, events = begun(store, chain, engine)
    live, kept = tell(events, chain.model), story(store, run_id)
    assert [visit(one) for one in kept.visits] == [visit(one) for one in live.visits]
    assert [one.prompts for one in kept.visits] == [one.prompts for one in live.visits]
    assert kept.path == live.path and kept.status == "finished"
    assert (kept.output, kept.run, kept.given) == (live.output, run_id, live.given)
    assert kept.ledger["computed"] == live.ledger["computed"]
    assert page.render(*told(store, run_id)).count("&lt;/style&gt;") >= 5 and HOSTILE


FLAKY = """\
chain: flaky
budget: {steps: 5}
nodes:
  first: {say: Hi.}
  both: {parallel: {branches: {a: {function: "m:f"}, b: {function: "m:g"}}, join: all}, retry: 1}
  which: {ask: "Which?"}
  again: {say: "{{ which.text }}"}
flow:
  - start -> first
  - first -> both
  - both -> which
  - which -> again
  - again -> again: {at_most: 9, then: end}
"""


def test_every_status_is_told_and_so_is_what_was_recalled(store: Store) -> None:
    failures = [True, True, True, False, True]

    def f() -> int:
        if failures and failures.pop(0):
            raise OSError("no disk")
        return 1

    def g() -> int:
        return 2

    chain = plain_chain(FLAKY, f=f, g=g)
    run_id, events = begun(store, chain)
    failed = story(store, run_id)
    live = tell(events, chain.model)
    assert failed.status == live.status == "failed" and failed.error == live.error
    assert [visit(one) for one in failed.visits] == [visit(one) for one in live.visits]

    with resumed(store, run_id, chain) as recorder:
        events = heard(recorder)
    waiting, live = story(store, run_id), tell(events, chain.model)
    assert waiting.status == live.status == "waiting" and waiting.question == "Which?"
    assert [one.node for one in live.visits if one.recalled] == ["first", "b"]
    assert waiting.visits[-1].node == "which" and waiting.path.nodes["which"] == 1
    shown = page.render(*told(store, run_id))
    assert 'class="status waiting">waiting' in shown and "Which?" in shown

    store.answer(run_id, "river")
    with resumed(store, run_id, chain) as recorder:
        events = heard(recorder)
    stopped, live = story(store, run_id), tell(events, chain.model)
    assert stopped.status == live.status == "stopped" and stopped.output == "river"
    done = [one.node for one in live.visits if one.recalled and not one.branch]
    assert done == ["first", "both"]
    own = [one for one in stopped.visits if not one.branch]
    assert [one.node for one in own if one.recalled] == done
    assert [one.node for one in own if not one.recalled][-3:] == ["which", "again", "again"]
    assert "recalled from the record" in page.render(*told(store, run_id))
    assert page.render(events, chain.model).count("recalled from the record") >= 2


def test_a_replay_shows_what_it_shares_as_recalled(store: Store) -> None:
    text = "chain: two\nnodes: {a: {say: A.}, b: {say: B.}}\nflow: [start -> a, a -> b, b -> end]\n"
    chain = plain_chain(text)
    run_id, _ = begun(store, chain)
    with replayed(store, run_id, chain, "b") as recorder:
        heard(recorder)
    told_now = story(store, recorder.run_id)
    assert [(one.node, one.recalled) for one in told_now.visits] == [("a", True), ("b", False)]
    assert told_now.run == recorder.run_id and told_now.status == "finished"
    store.fork(run_id, 2)
    assert story(store, store.fork(run_id, 2)).status == "cut short"


ASKING = """\
chain: asking
nodes: {a: {say: A.}, b: {ask: "?"}}
flow: [start -> a, a -> b, b -> end]
"""


def test_resuming_again_and_again_adds_no_events(store: Store) -> None:
    chain = plain_chain(ASKING)
    run_id, _ = begun(store, chain)
    for _ in range(3):
        with resumed(store, run_id, chain) as recorder:
            heard(recorder)
    store.answer(run_id, "x")
    with resumed(store, run_id, chain) as recorder:
        heard(recorder)
    events, _ = told(store, run_id)
    assert [one.node for one in events if isinstance(one, NodeStarted)] == ["a", "b"]


def test_the_command_takes_a_run(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "chain: two\nnodes: {a: {say: A.}}\nflow: [start -> a, a -> end]\n"
    run_id, _ = begun(store, plain_chain(text))

    def trace(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            main(["trace", *map(str, arguments), "--html", str(tmp_path / "run.html")])
        return int(str(caught.value.code)), capsys.readouterr().err

    record = ("--record", tmp_path / "runs.db")
    assert trace(run_id, *record) == (0, "")
    assert run_id in (tmp_path / "run.html").read_text()
    assert trace("nobody", *record) == (
        2,
        "chains: no run 'nobody'; `chains runs` lists those there are\n",
    )
    code, err = trace("run.jsonl")
    assert code == 2 and "by --chain, or give --record" in err
    code, err = trace(run_id, *record, "--chain", "two.yaml")
    assert code == 2 and "leave --chain out" in err
