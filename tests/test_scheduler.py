"""Requests share forwards and never a fate: the same alone, in a crowd and beside failures."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import check_integrity, tiny_engine, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.errors import Cancelled, MemoryBudgetError, RequestError, TimedOut
from intrinsics.messages import Message
from intrinsics.model import Row
from intrinsics.sampling import Sampling
from intrinsics.scheduler import BUSY_CHUNK_TOKENS, IDLE_CHUNK_TOKENS, LIGHT_TOKENS

TOLERANCE = 1e-5  # on probabilities: float32 sums in another order
PICKED = Sampling(max_tokens=12, temperature=0.8, seed=7)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return with_judges(tiny_engine(), tmp_path)


def with_judges(engine: Engine, folder: Path) -> Engine:
    write_intrinsic(engine, folder, "judge", seed=1)
    write_intrinsic(engine, folder, "grade", [str(i) for i in range(12)], rank=2, seed=2)
    engine.catalogue = Catalogue([folder])
    return engine


def talk_of(engine: Engine, i: int, length: int = 20) -> Conversation:
    text = (f"Question {i}: " + "and so on, " * 40)[: length + 12] + "?"
    return engine.conversation([Message(role="user", content=text)])


def spy(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Row]]:
    """Every forward's rows, written down on the way."""
    forwards: list[Sequence[Row]] = []
    real = engine.model.forward

    def forward(rows: Sequence[Row]) -> list[torch.Tensor]:
        forwards.append(rows)
        return real(rows)

    monkeypatch.setattr(engine.model, "forward", forward)
    return forwards


@pytest.mark.parametrize("sampling", [Sampling(max_tokens=12), PICKED])
def test_a_reply_is_the_same_alone_and_in_a_crowd(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, sampling: Sampling
) -> None:
    alone = [engine.generate(talk_of(engine, i), sampling).ids for i in range(8)]
    judged = engine.call(talk_of(engine, 9), "judge").distribution
    engine.release()
    forwards = spy(engine, monkeypatch)
    with engine.model.lock:  # all are in line before the first forward
        replies = [engine.stream(talk_of(engine, i), sampling) for i in range(8)]
    first = [next(reply) for reply in replies]
    job = engine.submit(talk_of(engine, 9), ["judge"])
    assert job.result()["judge"].distribution == pytest.approx(judged, abs=TOLERANCE)
    texts = [head + "".join(reply) for head, reply in zip(first, replies, strict=True)]
    assert texts == [generation.reply.text for generation in replies]
    assert [generation.reply.ids for generation in replies] == alone
    assert len(forwards) < 3 * sampling.max_tokens
    check_integrity(engine)


def test_intrinsic_rows_ride_on_decode_steps(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwards = spy(engine, monkeypatch)
    writing = engine.stream(talk_of(engine, 1), Sampling(max_tokens=60))
    next(writing)
    engine.call(talk_of(engine, 1), "judge")
    list(writing)
    (judged,) = (rows for rows in forwards if any(row.adapter for row in rows))
    assert [len(row.tokens) for row in judged if row.adapter is None and row.read] == [1]


def test_many_threads_and_many_tasks_get_what_one_gets(engine: Engine) -> None:
    alone = [engine.generate(talk_of(engine, i), PICKED).text for i in range(24)]
    judged = [engine.call(talk_of(engine, i), "grade").value for i in range(24)]
    engine.release()
    found: dict[int, object] = {}

    def in_a_thread(i: int) -> None:
        verdict = engine.call(talk := talk_of(engine, i), "grade").value
        found[i] = (engine.generate(talk, PICKED).text, verdict)

    async def in_a_task(i: int) -> None:
        await engine.room()
        verdict = (await engine.submit(talk := talk_of(engine, i), ["grade"]))["grade"].value
        found[i] = ("".join([piece async for piece in engine.stream(talk, PICKED)]), verdict)

    async def tasks() -> None:
        await asyncio.gather(*map(in_a_task, range(12, 24)))

    threads = [threading.Thread(target=in_a_thread, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    asyncio.run(tasks())
    for thread in threads:
        thread.join()
    assert found == {i: (alone[i], judged[i]) for i in range(24)}
    check_integrity(engine)


def test_a_long_prefill_does_not_stop_others_from_decoding(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwards = spy(engine, monkeypatch)
    writing = engine.stream(talk_of(engine, 1), Sampling(max_tokens=40))
    next(writing)
    with engine.model.lock:
        long = [engine.submit(talk_of(engine, i, 380), ["judge"]) for i in (2, 3)]
        short = engine.submit(talk_of(engine, 4, 40), ["judge"])
    order = []
    for job in (short, *long):
        job.when_done(lambda _, job=job: order.append(job))  # type: ignore[misc]
        job.result()
    list(writing)
    assert order[0] is short, "what is short does not wait until all that is long is done"
    for rows in forwards:
        tokens = [len(row.tokens) for row in rows]
        decoding = any(row.read and row.store and len(row.tokens) == 1 for row in rows)
        chunk = BUSY_CHUNK_TOKENS if decoding else IDLE_CHUNK_TOKENS
        assert sum(tokens) <= chunk + LIGHT_TOKENS * len(rows)
    check_integrity(engine)


@pytest.mark.parametrize("stop", ["close", "drop", "timeout", "cancel"])
def test_who_gives_up_leaves_no_trace(engine: Engine, stop: str) -> None:
    talk, other = talk_of(engine, 1), talk_of(engine, 2)
    expected = engine.generate(other.fork(), PICKED).text
    before, length = talk.ids, Sampling(max_tokens=400)
    neighbour = engine.stream(other, PICKED)
    if stop in ("close", "drop"):
        generation = engine.stream(talk, length)
        next(generation)
        if stop == "close":
            generation.close()
            generation.close()
        del generation
    elif stop == "timeout":
        with pytest.raises(TimedOut, match=r"not done within 0\.02 seconds"):
            engine.generate(talk, length, timeout=0.02)
    else:
        with engine.model.lock:
            job = engine.submit(talk, ["judge"])
            job.cancel()
        with pytest.raises(Cancelled):
            job.result()
    assert "".join(neighbour) == expected
    assert talk.ids == before
    talk.add("assistant", "Go on.")
    check_integrity(engine)


def test_a_cancelled_task_frees_its_rows(engine: Engine) -> None:
    async def give_up() -> None:
        talk = talk_of(engine, 1)

        async def read() -> None:
            async for _ in engine.stream(talk, Sampling(max_tokens=400)):
                pass

        task = asyncio.create_task(read())
        while not engine.stats().active:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    check_integrity(engine)


def test_a_full_queue_lets_the_next_one_wait(tmp_path: Path) -> None:
    small = tiny_engine()
    engine = Engine(small.model, small.chat.tokenizer, Catalogue(), queue=2)
    talks = [talk_of(engine, i) for i in range(3)]
    with engine.model.lock:
        streams = [engine.stream(talk, PICKED) for talk in talks[:2]]
        with pytest.raises(TimedOut, match="2 others were before it"):
            engine.generate(talks[2], PICKED, timeout=0.02)
        assert talks[2].messages == talk_of(engine, 2).messages
        late: list[str] = []
        waiting = threading.Thread(target=lambda: late.append(engine.generate(talks[2]).text))
        waiting.start()
    for stream in streams:
        list(stream)
    waiting.join()
    assert late
    assert engine.stats().waiting == 0


@pytest.mark.parametrize("last", ["streams[0].close()", "del engine", "later.start()", "pass"])
def test_a_program_ends_whatever_its_engine_is_doing(tmp_path: Path, last: str) -> None:
    """Work that nobody can take any more is dropped; what a thread waits for is finished."""
    program = f"""
import sys, threading
sys.path.insert(0, {str(Path(__file__).parent)!r})
from conftest import tiny_engine
from intrinsics.sampling import Sampling
from intrinsics.messages import Message

engine = tiny_engine()
talks = [engine.conversation([Message(role="user", content=f"Number {{i}}?")]) for i in range(3)]
streams = [engine.stream(talk, Sampling(max_tokens=400)) for talk in talks[:2]]
next(streams[0])
ask = engine.generate
later = threading.Thread(target=lambda: print(len(ask(talks[2], Sampling(max_tokens=60)).ids)))
{last}
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("60\n" if "later" in last else "")


def _broken_for(name: str, real: Callable[..., None]) -> Callable[..., None]:
    def update(bank: Any, modules: tuple[str, ...], x: torch.Tensor, out: torch.Tensor) -> None:
        if bank._active is not None and name in bank._active.names:
            raise FloatingPointError("the adapter broke")
        real(bank, modules, x, out)

    return update


def test_only_the_request_that_fails_fails(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [engine.generate(talk_of(engine, i), PICKED).text for i in range(4)]
    judged = engine.call(talk_of(engine, 8), "grade").distribution
    engine.call(talk_of(engine, 9), "judge")
    engine.release()
    with monkeypatch.context() as broken:
        update = _broken_for("judge", type(engine.model.bank).update)
        broken.setattr(type(engine.model.bank), "update", update)
        with engine.model.lock:
            streams = [engine.stream(talk_of(engine, i), PICKED) for i in range(4)]
            bad = engine.submit(talk_of(engine, 8), ["judge"])
            good = engine.submit(talk_of(engine, 8), ["grade"])
        with pytest.raises(FloatingPointError, match="the adapter broke"):
            bad.result()
        assert good.result()["grade"].distribution == pytest.approx(judged, abs=TOLERANCE)
        assert ["".join(stream) for stream in streams] == alone
    check_integrity(engine)
    assert engine.call(talk_of(engine, 8), "judge").value in ("yes", "no")


def test_over_budget_with_everything_in_use_the_new_request_is_refused(tmp_path: Path) -> None:
    free = with_judges(tiny_engine(), tmp_path)
    expected = free.generate(talk_of(free, 1), Sampling(max_tokens=200)).text
    budget = 320 * free.model.token_bytes
    engine = Engine(free.model, free.chat.tokenizer, free.catalogue, kv_budget=budget)
    free.release()
    running = engine.stream(talk_of(engine, 1), Sampling(max_tokens=200))
    first = next(running)
    talk = talk_of(engine, 2)
    with pytest.raises(MemoryBudgetError, match=r"MiB of keys and values do not fit beside"):
        engine.generate(talk, Sampling(max_tokens=200))
    assert first + "".join(running) == expected
    assert engine.generate(talk, Sampling(max_tokens=200)).text, "afterwards there is room"
    assert engine.stats().kv.bytes <= budget


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kv_budget": 0}, "kv_budget = 0"),
        ({"kv_budget": -5}, "kv_budget = -5"),
        ({"queue": 0}, "queue = 0"),
    ],
)
def test_absurd_limits_are_refused(change: dict[str, int], message: str) -> None:
    small = tiny_engine()
    with pytest.raises(RequestError, match=message):
        Engine(small.model, small.chat.tokenizer, Catalogue(), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_a_timeout_that_is_none_is_refused(engine: Engine, timeout: float) -> None:
    with pytest.raises(RequestError, match="timeout = "):
        engine.call(talk_of(engine, 1), "judge", timeout=timeout)


def test_more_rows_than_one_forward_takes_are_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intrinsics.scheduler.FORWARD_TOKENS", 20)
    with pytest.raises(RequestError, match=r"tokens of intrinsics .* do not fit into one forward"):
        engine.fan_out(talk_of(engine, 1), ["judge", "grade"])
    check_integrity(engine)
