"""The engine's verbs: what is reused equals what is recomputed, and nothing leaves a trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import check_integrity, tiny_engine, tiny_network, write_intrinsic
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.errors import (
    AdapterError,
    ContextTooLong,
    ConversationError,
    InvocationMismatch,
    RequestError,
)
from intrinsics.messages import Document, Message
from intrinsics.model import Row
from intrinsics.sampling import Sampling

NAMES = ["short", "long", "many"]
TALK = [
    Message(role="system", content="Be brief."),
    Message(role="user", content="Hello?"),
    Message(role="assistant", content="Hi."),
    Message(role="user", content="What is a KV cache?"),
]
Build = Callable[[str], Engine]


def recomputed(engine: Engine, prompt: tuple[int, ...], run: tuple[int, ...], name: str) -> float:
    """The log probability of a run of ids after a prompt: one row, no cache, nothing shared."""
    invocation = len(engine.intrinsic(name).invocation)
    ids = prompt + run
    read = tuple(range(len(prompt) - 1, len(ids) - 1))
    row = Row(
        ids, engine.model.tree.branch(), None, name, active_from=len(prompt) - invocation, read=read
    )
    with torch.inference_mode():
        logs = engine.model.forward([row])[0].double().log_softmax(-1)
    return float(sum(logs[i, token] for i, token in enumerate(run)))


def test_a_fan_out_equals_each_label_recomputed_from_scratch(
    tiny_intrinsics: Build, architecture: str
) -> None:
    engine = tiny_intrinsics(architecture)
    talk = engine.conversation(TALK)
    found = engine.fan_out(talk, NAMES)
    assert found.ledger.forwards == 1
    for verdict in found.verdicts:
        logs = [
            recomputed(engine, verdict.token_ids, run, verdict.intrinsic)
            for run in verdict.candidates.values()
        ]
        expected = torch.tensor(logs).softmax(0).tolist()
        # float32 rounding of logits, in another order of additions
        assert list(verdict.raw_distribution.values()) == pytest.approx(expected, abs=2e-5)
        assert sum(verdict.distribution.values()) == pytest.approx(1)


def test_together_alone_and_again_are_the_same(tiny_intrinsics: Build, architecture: str) -> None:
    engine = tiny_intrinsics(architecture)
    talk = engine.conversation(TALK)
    together = engine.fan_out(talk, NAMES)
    for name in NAMES:
        alone = engine.call(talk, name)
        assert alone.distribution == pytest.approx(together[name].distribution, abs=2e-5)


def test_the_ledger_counts_what_was_reused_and_computed(tiny_intrinsics: Build) -> None:
    engine = tiny_intrinsics("llama")
    talk = engine.conversation(TALK)
    first = engine.fan_out(talk, ["short", "long"])
    short, long = first.verdicts
    assert short.ledger.computed == len("\x01short\n") + len("ye") + len("n")
    assert short.ledger.reused == long.ledger.reused == talk.length
    assert short.ledger.activated_at == talk.length
    assert long.ledger.activated_at == talk.length + len("What is a KV cache??")
    assert first.ledger.computed == talk.length + short.ledger.computed + long.ledger.computed
    second = engine.fan_out(talk, ["short", "long"])
    assert second.ledger.computed == short.ledger.computed + long.ledger.computed
    assert second.ledger.reused == 2 * talk.length


def test_the_base_model_never_notices_an_intrinsic(tiny_intrinsics: Build) -> None:
    engine = tiny_intrinsics("llama")
    talk, untouched = engine.conversation(TALK), engine.conversation(TALK)
    engine.fan_out(talk, NAMES)
    assert talk.ids == untouched.ids
    checked = engine.generate(talk, Sampling(max_tokens=12))
    assert checked.ids == engine.generate(untouched, Sampling(max_tokens=12)).ids
    held = engine.kv_bytes
    engine.fan_out(engine.conversation(TALK), NAMES)
    assert engine.kv_bytes == held


def test_generation_equals_transformers_greedy_generate(architecture: str) -> None:
    engine = tiny_engine(architecture)
    talk = engine.conversation(TALK)
    head = [*talk.ids, *engine.chat.reply_head(talk.roles)]
    reply = engine.generate(talk, Sampling(max_tokens=20))
    network = tiny_network(architecture)
    expected = network.generate(  # type: ignore[operator]
        torch.tensor([head]),
        attention_mask=torch.ones(1, len(head), dtype=torch.long),
        max_new_tokens=20,
        do_sample=False,
        eos_token_id=engine.chat.end_id,
        pad_token_id=engine.chat.end_id,
    )
    assert list(reply.ids) == [
        i for i in expected[0, len(head) :].tolist() if i != engine.chat.end_id
    ]
    assert talk.messages[-1] == Message(role="assistant", content=reply.text)
    assert reply.ledger.computed >= talk.cached, "guesses that did not come true count too"


def test_a_closed_generation_leaves_no_trace(tiny_intrinsics: Build) -> None:
    engine = tiny_intrinsics("llama")
    talk = engine.conversation(TALK)
    engine.prefill(talk)
    before, cached, verdict = talk.ids, talk.cached, engine.call(talk, "short")
    generation = engine.stream(talk, Sampling(max_tokens=50))
    for _ in range(3):
        next(generation)
    assert talk.ids == before
    generation.close()
    assert (talk.ids, talk.cached, talk.messages) == (before, cached, tuple(TALK))
    assert list(generation) == []
    with pytest.raises(RequestError, match="the reply is not finished"):
        _ = generation.reply
    assert engine.call(talk, "short").distribution == verdict.distribution
    check_integrity(engine)


def test_a_fork_goes_its_own_way_for_no_memory(tiny_intrinsics: Build) -> None:
    engine = tiny_intrinsics("llama")
    talk = engine.conversation(TALK)
    engine.prefill(talk)
    held = engine.kv_bytes
    forks = [talk.fork() for _ in range(4)]
    assert engine.kv_bytes == held
    texts = {
        engine.generate(fork, Sampling(max_tokens=8, temperature=2.0, seed=i)).text
        for i, fork in enumerate(forks)
    }
    assert len(texts) > 1
    assert talk.messages == tuple(TALK)
    alone = engine.conversation(TALK)
    same = engine.generate(alone, Sampling(max_tokens=8, temperature=2.0, seed=2)).text
    assert same == forks[2].messages[-1].content


def test_stop_strings_end_a_reply_and_its_ids(tiny_intrinsics: Build) -> None:
    engine = tiny_intrinsics("llama")
    free = engine.generate(engine.conversation(TALK), Sampling(max_tokens=20))
    stop = free.text[4:6]
    talk = engine.conversation(TALK)
    reply = engine.generate(talk, Sampling(max_tokens=20, stop=(stop,)))
    assert reply.finish == "stop"
    assert reply.text == free.text[: free.text.find(stop)]
    follow = engine.conversation([*TALK, Message(role="assistant", content=reply.text)])
    assert engine.chat.tokenizer.decode(list(talk.ids)) == engine.chat.tokenizer.decode(
        list(follow.ids)
    )


def test_an_ordinary_lora_prefills_anew_and_says_so(tmp_path: Path) -> None:
    engine = tiny_engine()
    directory = write_intrinsic(engine, tmp_path, "plain", activated=False)
    talk = engine.conversation(TALK)
    verdict = engine.call(talk, directory)
    assert (verdict.ledger.reused, verdict.ledger.activated_at) == (0, 0)
    assert verdict.ledger.computed == len(verdict.token_ids) + len("ye") + len("n")


def test_documents_come_after_the_system_message(tiny_intrinsics: Build) -> None:
    engine = tiny_intrinsics("llama")
    talk = engine.conversation(TALK, [Document(id="a", text="A text.")])
    text = engine.chat.tokenizer.decode(list(talk.ids))
    assert text.index("Be brief.") < text.index("[a] A text.") < text.index("Hello?")


def test_a_long_prefill_in_chunks_is_the_same(
    tiny_intrinsics: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tiny_intrinsics("llama")
    whole = engine.fan_out(engine.conversation(TALK), NAMES)
    engine.release()
    monkeypatch.setattr("intrinsics.scheduler.IDLE_CHUNK_TOKENS", 17)
    chunked = engine.fan_out(engine.conversation(TALK), NAMES)
    assert chunked.ledger.forwards > 3
    assert chunked.ledger.computed == whole.ledger.computed
    for name in NAMES:
        assert chunked[name].distribution == pytest.approx(whole[name].distribution, abs=2e-5)


def broken(call: Callable[[Engine, Conversation], object], engine: Engine) -> None:
    """Run a call that must fail, and see that the conversation is as before."""
    talk = engine.conversation(TALK)
    before = talk.ids
    try:
        call(engine, talk)
    finally:
        assert talk.ids == before
        check_integrity(engine)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e, t: e.fan_out(t, []), RequestError, "no intrinsic was named"),
        (lambda e, t: e.fan_out(t, ["short", "short"]), RequestError, "short named twice"),
        (lambda e, t: e.call(t, "shrot"), RequestError, "did you mean 'short'"),
        (lambda e, t: e.call(t, "short", {"x": "1"}), RequestError, "takes no argument 'x'"),
        (
            lambda e, t: e.fan_out(t, ["short"], {"many": {}}),
            RequestError,
            "arguments for many, which is not called",
        ),
        (
            lambda e, t: e.call(e.conversation(TALK[:3]), "short"),
            ConversationError,
            "short judges the last user message, but the conversation ends with assistant",
        ),
        (
            lambda e, t: e.call(e.conversation(), "short"),
            ConversationError,
            "but there is none; give one",
        ),
        (lambda e, t: e.stream(e.conversation()), ConversationError, "nothing to reply to"),
        (
            lambda e, t: e.call(e.conversation([Message(role="user", content="x" * 600)]), "short"),
            ContextTooLong,
            "do not fit into the model's context of 512",
        ),
        (
            lambda e, t: e.generate(
                e.conversation([Message(role="user", content="x" * 492)]), Sampling(max_tokens=600)
            ),
            ContextTooLong,
            "leave no room for a reply",
        ),
        (lambda e, t: e.call(t, "short").p("maybe"), RequestError, "short has no label 'maybe'"),
    ],
)
def test_wrong_requests_are_named_and_change_nothing(
    tiny_intrinsics: Build,
    call: Callable[[Engine, Conversation], object],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        broken(call, tiny_intrinsics("llama"))


def test_missing_documents_are_named(tmp_path: Path) -> None:
    engine = tiny_engine()
    directory = write_intrinsic(engine, tmp_path, "reader", documents="required")
    with pytest.raises(ConversationError, match="reader needs documents; add at least one"):
        engine.call(engine.conversation(TALK), directory)


def test_an_invocation_other_than_trained_is_refused(tmp_path: Path) -> None:
    engine = tiny_engine()
    directory = write_intrinsic(engine, tmp_path, "judge")
    path = directory / "intrinsic.yaml"
    path.write_text(path.read_text().replace("im_start|>judge", "im_start|>jury"))
    with pytest.raises(InvocationMismatch, match=r"intrinsic\.yaml:5:\d+: invocation .*jury"):
        engine.call(engine.conversation(TALK), directory)


def test_an_adapter_of_other_weights_or_shapes_is_refused(tmp_path: Path) -> None:
    engine = tiny_engine()
    other = tiny_engine("qwen3")
    shaped = write_intrinsic(other, tmp_path / "a", "shaped")
    with pytest.raises(AdapterError, match="trained on other weights of tiny"):
        engine.call(engine.conversation(TALK), shaped)
    path = shaped / "intrinsic.yaml"
    path.write_text(path.read_text().replace("base_model: tiny", "base_model: huge"))
    with pytest.raises(AdapterError, match="base_model is 'huge', but the adapter was trained on"):
        other.call(other.conversation(TALK), shaped)
