"""Proof: what a right engine gives is confirmed from scratch, what a wrong one gives is not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from conftest import check_integrity, tiny_engine, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.errors import Guarded, ProofError
from intrinsics.kv import Segment
from intrinsics.messages import Message
from intrinsics.sampling import Sampling
from intrinsics.watch import Reaction, Watch, Watcher

LABELS = ("calm", "loud", "calmer")
WARM = Sampling(max_tokens=24, temperature=0.9, seed=5)
QUESTION = "Why did Anna leave the harbour before noon, and who closed it? Tell me why."


def proving_engine(folder: Path, architecture: str = "llama") -> Engine:
    small = tiny_engine(architecture)
    for kind, last in (("user", "user"), ("judge", "assistant")):
        write_intrinsic(small, folder, kind, LABELS, last=last, instruction="So far?\n", seed=1)
    write_intrinsic(small, folder, "short", rank=2, seed=2)
    write_intrinsic(small, folder, "lora", LABELS, activated=False, seed=3)
    return Engine(small.model, small.chat.tokenizer, Catalogue([folder]), prove=True)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return proving_engine(tmp_path)


def watch(then: Reaction, above: float) -> Watch:
    return Watch((Watcher("judge", "calm", above, then),), every=3, tries=8)


def talk_of(engine: Engine) -> Conversation:
    return engine.conversation([Message(role="user", content=QUESTION)])


def test_a_right_engine_is_confirmed(tmp_path: Path, architecture: str) -> None:
    engine = proving_engine(tmp_path, architecture)
    talk = talk_of(engine)
    found = engine.fan_out(talk, ["user", "short", "lora"])
    assert [verdict.intrinsic for verdict in found.verdicts] == ["user", "short", "lora"]
    assert engine.generate(talk.fork(), Sampling(max_tokens=40)).ids
    noted = engine.generate(talk.fork(), WARM, watch("note", 0.0))
    assert engine.generate(talk.fork(), WARM).ids == noted.ids
    usual = median(check.verdict.p("calm") for check in noted.checks)
    kept = []
    for seed in range(8):
        with suppress(Guarded):
            kept.append(
                engine.generate(talk.fork(), replace(WARM, seed=seed), watch("again", usual))
            )
    assert any(check.tripped for reply in kept for check in reply.checks), "some was rolled back"
    engine.generate(talk, WARM)
    engine.call(talk, "judge")
    check_integrity(engine)


def test_a_reply_that_a_stop_string_cuts_inside_an_earlier_token_is_confirmed(
    engine: Engine,
) -> None:
    """The rest of that token is written anew: what followed the whole token is not what counts."""
    for seed in range(200):
        warm = Sampling(max_tokens=24, temperature=4.0, seed=seed)
        free = engine.generate(talk_of(engine), warm)
        at = free.text.find("|>")
        if 0 < at < len(free.text) - 2 and free.text[at + 2].isascii():
            break
    assert at > 0
    stop = free.text[at + 1 : at + 3]  # the end of a control token, and the token behind it
    cut = Sampling(max_tokens=24, temperature=4.0, seed=seed, stop=(stop,))
    reply = engine.generate(talk_of(engine), cut)
    assert (reply.finish, reply.text) == ("stop", free.text[: at + 1])
    assert reply.ids != free.ids[: len(reply.ids)]


def louder(write: Callable[..., None]) -> Callable[..., None]:
    def wrong(segment: Segment, layer: int, at: int, *tensors: object) -> None:
        write(segment, layer, at, *(1.01 * x for x in tensors))  # type: ignore[operator]

    return wrong


@pytest.mark.parametrize("request_of", ["verdict", "reply", "watched"])
def test_keys_and_values_that_are_wrong_by_a_hundredth_are_noticed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, request_of: str
) -> None:
    talk = talk_of(engine)
    before = (talk.ids, talk.messages)

    def ask() -> None:
        if request_of == "verdict":
            engine.call(talk, "user")
        else:
            engine.generate(talk, WARM, watch("note", 0.5) if request_of == "watched" else None)

    with monkeypatch.context() as broken:
        broken.setattr(Segment, "write", louder(Segment.write))
        engine.prefill(talk)  # so that it is read from there
        with pytest.raises(ProofError, match="from scratch"):
            ask()
        assert (talk.ids, talk.messages) == before
    engine.release()
    ask()
    check_integrity(engine)
