"""Everything at once, at random, for long: the results of a reference, and nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import check_integrity
from faults import Fault, Faults
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.fanout import FanOut
from intrinsics.job import Job
from intrinsics.messages import Message
from intrinsics.sampling import Sampling
from stress import TOLERANCE, Stress, judged_engine

ROUNDS = 200
KINDS = ["done", "look", "abandoned", "Fault", "MemoryBudgetError", "TimedOut"]
KINDS += ["Cancelled", "ContextTooLong", "RequestError", "ConversationError", "Guarded"]
DRAWN = Sampling(max_tokens=5, temperature=0.7, seed=3)
ALIKE = Message(role="system", content="Answer briefly, and only what was asked.")


@pytest.mark.parametrize("seed", [0])
def test_no_interleaving_makes_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    stress = Stress(tmp_path / "intrinsics", seed, monkeypatch)
    for number in range(1, ROUNDS + 1):
        stress.round()
        if number % 40 == 0:
            stress.rest()
    assert all(stress.seen[kind] for kind in KINDS), stress.seen  # each kind of outcome was met
    assert stress.engine.stats().kv.evictions > 100
    stress.talks.clear()
    stress.engine.release()
    assert stress.engine.kv_bytes == 0


def talks_of(engine: Engine) -> list[Conversation]:
    """Four conversations; all but the last begin alike."""
    asked = [Message(role="user", content=f"Question {i}?") for i in range(4)]
    return [engine.conversation([ALIKE, one]) for one in asked[:3]] + [engine.conversation(asked)]


def answers(engine: Engine, talks: list[Conversation]) -> list[object]:
    """Verdicts on two of them and replies to two, asked for at once; None where one failed."""

    def verdicts(job: Job[FanOut]) -> object:
        return {verdict.intrinsic: verdict.p("calm") for verdict in job.result().verdicts}

    def unless_lost(run: Callable[[], object]) -> object:
        try:
            return run()
        except Fault:
            return None

    with engine.model.lock:
        jobs = [engine.submit(talk, ["aloud", "whole"]) for talk in talks[:2]]
        streams = [engine.stream(talk, DRAWN) for talk in talks[2:]]
    found = [unless_lost(lambda job=job: verdicts(job)) for job in jobs]  # type: ignore[misc]
    return found + [unless_lost(lambda s=stream: "".join(s)) for stream in streams]  # type: ignore[misc]


def test_a_fault_anywhere_in_a_forward_harms_at_most_the_request_it_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One operation fails in a forward of all; a second one too, in that of one request."""
    engine = judged_engine(tmp_path / "intrinsics")
    one, two, *replies = answers(engine, talks_of(engine))
    expected = [*(pytest.approx(verdicts, abs=TOLERANCE) for verdicts in (one, two)), *replies]
    lost = 0
    failing = Faults(monkeypatch)
    for at in range(1, 61):
        engine.release()
        talks = talks_of(engine)
        before = [(talk.ids, talk.messages) for talk in talks]
        failing.reset(at, at + 1 + at % 7)
        found = answers(engine, talks)
        failing.reset()
        assert all(one in (None, wanted) for one, wanted in zip(found, expected, strict=True))
        changed = [
            (talk.ids, talk.messages) != was for talk, was in zip(talks, before, strict=True)
        ]
        assert changed == [False, False, found[2] is not None, found[3] is not None]
        lost += found.count(None)
        check_integrity(engine)
        assert answers(engine, talks_of(engine)) == expected
    assert 20 <= lost <= 60, "a second fault takes one request with it, unless none is left"


def test_two_hundred_conversations_in_four_threads_leave_nothing_behind(tmp_path: Path) -> None:
    engine = judged_engine(tmp_path / "intrinsics", queue=3)
    threads_before, failed = threading.active_count(), []

    def fifty(first: int) -> None:
        try:
            for i in range(first, first + 50):
                talk = engine.conversation([ALIKE, Message(role="user", content=f"Number {i}?")])
                verdict = engine.call(talk, "aloud")
                fork = talk.fork()
                reply = engine.generate(talk, DRAWN)
                fork.add("user", "And then?")
                assert engine.generate(fork, DRAWN).finish
                talk.rollback(2)
                assert engine.generate(talk, DRAWN).ids == reply.ids
                talk.rollback(2)
                again = engine.call(talk, "aloud").distribution
                assert again == pytest.approx(verdict.distribution, abs=TOLERANCE)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=fifty, args=(50 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    check_integrity(engine)
    engine.release()
    assert engine.kv_bytes == 0
    deadline = time.monotonic() + 60
    while threading.active_count() > threads_before:
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.001)
