"""What happens between asking and answering: changes, closing, failures, at awkward moments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import check_integrity, tiny_engine, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.errors import ConversationError, Guarded, TimedOut
from intrinsics.kv import KVTree
from intrinsics.messages import Message
from intrinsics.model import Row
from intrinsics.sampling import Sampling
from intrinsics.watch import Watch, Watcher

LONG = Sampling(max_tokens=400)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Every result is computed a second time from scratch."""
    small = tiny_engine()
    write_intrinsic(small, tmp_path, "judge", seed=1)
    write_intrinsic(small, tmp_path, "after", last="assistant", seed=2)
    write_intrinsic(small, tmp_path, "whole", activated=False, seed=3)
    return Engine(small.model, small.chat.tokenizer, Catalogue([tmp_path]), prove=True)


def talk_of(engine: Engine, text: str = "Hello, who are you?") -> Conversation:
    return engine.conversation([Message(role="user", content=text)])


@pytest.mark.parametrize("name", ["judge", "whole"])
@pytest.mark.parametrize("cached", [False, True])
def test_a_verdict_is_on_what_was_asked_whatever_comes_after(
    engine: Engine, name: str, cached: bool
) -> None:
    expected = engine.call(talk_of(engine), name).distribution
    for change in ("add", "rollback"):
        talk = talk_of(engine)
        if cached:
            engine.prefill(talk)
        with engine.model.lock:
            job = engine.submit(talk, [name])
            talk.rollback(0)
            if change == "add":
                talk.add("user", "Something else altogether.")
        assert job.result()[name].distribution == pytest.approx(expected, abs=1e-5)
        talk.add("user" if change == "rollback" else "assistant", "Next.")
        engine.prefill(talk)
    check_integrity(engine)


HELD = tuple(f"{chr(i)}~~" for i in range(128))  # each character may begin a stop string


@pytest.mark.parametrize("then", ["again", "stop"])
@pytest.mark.parametrize("stop", [("1", "A", "kz", "a b"), HELD], ids=["ends", "held back"])
def test_stop_strings_and_rollbacks_keep_text_and_ids_together(
    engine: Engine, then: str, stop: tuple[str, ...]
) -> None:
    replies = 0
    for seed in range(10):
        watch = Watch((Watcher("after", "yes", 0.05, then),), every=1, tries=12)  # type: ignore[arg-type]
        sampling = Sampling(40, 1.1, seed=seed, stop=stop)
        talk = talk_of(engine)
        before = talk.ids
        stream = engine.stream(talk, sampling, watch)
        shown: list[str] = []
        try:
            shown += stream
        except (Guarded, ConversationError):
            assert talk.ids == before
            continue
        reply, replies = stream.reply, replies + 1
        assert "".join(shown) == reply.text
        decoded = str(engine.chat.tokenizer.decode(list(reply.ids)))
        if reply.finish == "guarded":  # its last token may end within a character
            decoded = decoded.rstrip("\N{REPLACEMENT CHARACTER}")
        assert decoded == reply.text
        head = (*before, *talk.chat.reply_head(("user",)))
        assert talk.ids[: len(head) + len(reply.ids)] == (*head, *reply.ids)
    assert replies > 1
    check_integrity(engine)


def test_a_timeout_around_a_stream_frees_the_conversation(engine: Engine) -> None:
    async def read(talk: Conversation) -> None:
        try:
            async with asyncio.timeout(0.02):
                async for _ in engine.stream(talk, LONG):
                    pass
        except TimeoutError:
            talk.add("user", "It takes messages again, at once.")

    talk = talk_of(engine)
    asyncio.run(read(talk))
    assert [message.role for message in talk.messages] == ["user", "user"]
    check_integrity(engine)


def test_a_reply_that_is_closed_when_it_was_written_holds_no_memory(engine: Engine) -> None:
    talk = talk_of(engine)
    stream = engine.stream(talk, Sampling(max_tokens=20))
    check_integrity(engine)  # the engine has written it all
    stream.close()
    engine.release()
    assert engine.kv_bytes == 0
    assert talk.messages == talk_of(engine).messages


def test_who_waits_in_line_is_late_when_its_time_has_come(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intrinsics.scheduler.MAX_ACTIVE", 1)
    real = engine.model.forward

    def slow(rows: Sequence[Row]) -> list[torch.Tensor]:
        time.sleep(0.01)  # 400 tokens take 4 seconds
        return real(rows)

    monkeypatch.setattr(engine.model, "forward", slow)
    running = engine.stream(talk_of(engine), LONG)
    next(running)
    with pytest.raises(TimedOut):
        engine.call(talk_of(engine), "judge", timeout=0.03)
    assert engine.stats().active == 1, "the other one goes on"
    running.close()
    check_integrity(engine)


def test_memory_that_ends_while_a_segment_grows_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = KVTree()
    branch = tree.branch()
    for token in range(2):
        slot = branch.reserve(16)
        for layer in range(2):
            slot.segment.write(layer, slot.offset, torch.ones(2, 16, 4), torch.ones(2, 16, 4))
        slot.commit([token] * 16)
    calls = 0

    def full(old: torch.Tensor, capacity: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise MemoryError
        return old.new_empty(old.shape[0], capacity, old.shape[2])

    with monkeypatch.context() as small:
        small.setattr("intrinsics.kv._moved", full)
        with pytest.raises(MemoryError):
            branch.reserve(64)
    tree.check_integrity()
    slot = branch.reserve(64)
    slot.abandon()
    tree.check_integrity()


def test_several_loras_need_the_memory_of_one(tmp_path: Path) -> None:
    small = tiny_engine()
    for i in range(3):
        write_intrinsic(small, tmp_path, f"lora{i}", activated=False, seed=i)
    budget = 520 * small.model.token_bytes
    engine = Engine(small.model, small.chat.tokenizer, Catalogue([tmp_path]), kv_budget=budget)
    found = engine.fan_out(talk_of(engine, "x" * 200), ["lora0", "lora1", "lora2"])
    assert len(found.verdicts) == 3
    check_integrity(engine)


def test_bytes_stay_within_the_budget_while_replies_grow(tmp_path: Path) -> None:
    small = tiny_engine()
    budget = 700 * small.model.token_bytes
    engine = Engine(small.model, small.chat.tokenizer, Catalogue(), kv_budget=budget)
    for i in range(6):
        streams = [
            engine.stream(talk_of(engine, f"{i}{j}" * 60), Sampling(60, 0.9, seed=i))
            for j in range(2)
        ]
        for _ in zip(*streams, strict=False):
            assert engine.kv_bytes <= budget
        del streams
    check_integrity(engine)
