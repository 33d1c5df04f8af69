"""The race: the same verdicts by whole prefills, beside turns that it does not disturb."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest

import tiny_console
from chains.console import Session, Settings
from chains.errors import InputError
from chains.race import Race
from chains.render import ASCII
from conftest import check_integrity
from intrinsics.engine import Engine
from intrinsics.fanout import FanOut, Verdict
from intrinsics.messages import Message
from intrinsics.prove import Prover
from tiny_console import Tiny, talk


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_console.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def engine(tiny: Tiny) -> Iterator[Engine]:
    yield tiny.engine
    check_integrity(tiny.engine)
    assert not [s for s in tiny.engine.model.tree.segments if s.owner], "nothing of it is left"


def judged(engine: Engine, words: int = 40) -> FanOut:
    conversation = engine.conversation([Message(role="user", content="word " * words)])
    engine.prefill(conversation)
    return engine.fan_out(conversation, ["mood"])


def test_the_verdict_is_the_same_and_every_token_is_computed(engine: Engine) -> None:
    found = judged(engine)
    scratch = engine.scratch(found["mood"])
    steps = 0
    while scratch.verdict is None:
        scratch.step()
        steps += 1
    assert scratch.verdict.raw_distribution == pytest.approx(
        found["mood"].raw_distribution, abs=1e-6
    )
    assert (scratch.ledger.reused, scratch.ledger.computed) == (0, scratch.tokens)
    assert scratch.tokens > len(found["mood"].token_ids) - 1 and steps == scratch.ledger.forwards
    Prover(engine.model).check_verdict(scratch.verdict)
    scratch.release()


def test_verdicts_again_are_the_same_and_reuse_what_is_there(engine: Engine) -> None:
    engine.release()  # of what other tests have left
    conversation = engine.conversation([Message(role="user", content="word " * 40)])
    first = engine.fan_out(conversation, ["mood"])
    again = engine.again(first)
    assert again["mood"].raw_distribution == pytest.approx(first["mood"].raw_distribution, abs=1e-6)
    assert again.ledger.computed == first["mood"].ledger.computed < first.ledger.computed
    engine.release()
    assert engine.again(first).ledger.computed == first.ledger.computed, "what went is computed"


def test_both_sides_are_told_in_tokens_and_seconds(engine: Engine) -> None:
    found = judged(engine)
    race = Race(engine, [found])
    race.start()
    race.wait()
    assert race.state == "finished" and race.theirs.computed == race.total
    assert min(race.theirs.seconds, race.ours.seconds) > 0
    assert (race.ours.reused, race.ours.computed) == (found.ledger.reused, found.ledger.computed)
    told = [line.plain for line in race.result(ASCII)]
    assert f"{found.ledger.computed} tokens" in told[1] and f"{race.total} tokens" in told[2]
    assert "x tokens" in told[2] and "the same verdicts" in told[3]
    assert f"{race.total}/{race.total} tokens" in race.clocks(ASCII).plain


def test_a_race_that_rests_computes_nothing_and_its_clock_stands(engine: Engine) -> None:
    race = Race(engine, [judged(engine, 300)])
    with race.resting():
        race.start()
        time.sleep(0.2)
        assert race.theirs.computed == 0 and race.running
        assert "rests" in race.clocks(ASCII).plain
        apart = engine.generate(engine.conversation([Message(role="user", content="Hello")]))
    race.wait()
    assert race.state == "finished"
    alone = engine.generate(engine.conversation([Message(role="user", content="Hello")]))
    assert apart.ids == alone.ids


def test_a_race_that_is_stopped_leaves_nothing_behind(engine: Engine) -> None:
    race = Race(engine, [judged(engine, 1200)] * 3)
    race.start()
    while race.theirs.computed == 0:
        time.sleep(0.001)
    race.stop()
    assert race.state == "stopped" and race.theirs.computed < race.total
    assert "stopped" in race.result(ASCII)[-1].plain


def test_its_clock_stands_below_the_prompt_and_below_a_turn(tiny: Tiny) -> None:
    settings = Settings(tiny.folder / "state", str(tiny.folder / "chat.yaml"))
    session = Session(tiny.engine, settings, io.StringIO(), io.StringIO())
    race = session.deeds.race = Race(tiny.engine, [judged(tiny.engine)])
    with race.resting():
        race.start()
        assert "activated" in session._status() and f"0/{race.total} tokens" in session._status()
        assert "LoRA" in session.deeds.panel()[-1].plain
    race.wait()
    assert "KV cache" in session._status()


def test_a_fault_in_a_race_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(verdict: Verdict) -> None:
        raise RuntimeError("no memory")

    race = Race(engine, [judged(engine)])
    monkeypatch.setattr(engine, "scratch", broken)
    race.start()
    race.wait()
    assert not race.running and "no memory" in race.result(ASCII)[-1].plain


def test_there_is_no_race_without_verdicts(engine: Engine) -> None:
    with pytest.raises(InputError, match="no verdict to race for"):
        Race(engine, [])


def test_in_a_pipe_the_result_stands_below_its_command(tiny: Tiny) -> None:
    told = talk(tiny, "hello", "/race", "bye")
    assert told.index("race for 2 verdicts") < told.index("the same verdicts")
    assert told.index("the same verdicts") < told.index("you> bye")
