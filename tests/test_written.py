"""What an intrinsic writes: the same as greedy decoding from scratch, and nothing of it stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from conftest import check_integrity, tiny_engine, tiny_network, write_intrinsic
from faults import Fault, Faults
from intrinsics.adapter import Adapter
from intrinsics.catalogue import Catalogue
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.errors import (
    Cancelled,
    ContextTooLong,
    DefinitionError,
    MemoryBudgetError,
    ProofError,
    RequestError,
    TimedOut,
)
from intrinsics.fanout import FanOut, TextVerdict
from intrinsics.job import Job
from intrinsics.kv import Segment
from intrinsics.messages import Message
from intrinsics.sampling import Sampling
from intrinsics.spec import Definition
from intrinsics.watch import Watch, Watcher

MOST = 16
TALK = [
    Message(role="user", content="Who closed the harbour, and why did Anna leave it?"),
    Message(role="user", content="And when?"),
]


def writing_engine(folder: Path, architecture: str = "llama", **options: bool) -> Engine:
    engine = tiny_engine(architecture)
    write_intrinsic(engine, folder, "rewrite", writes=MOST, instruction="Rewrite it.\n", seed=4)
    write_intrinsic(engine, folder, "title", writes=5, rank=2, seed=5)
    write_intrinsic(engine, folder, "plain", writes=MOST, activated=False, seed=6)
    write_intrinsic(engine, folder, "judge", seed=1)
    write_intrinsic(engine, folder, "lora", activated=False, seed=2)
    return Engine(engine.model, engine.chat.tokenizer, Catalogue([folder]), **options)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return writing_engine(tmp_path)


def talk_of(engine: Engine, about: str = "") -> Conversation:
    return engine.conversation([*TALK[:1], Message(role="user", content=f"And when {about}?")])


def text_of(engine: Engine, name: str, about: str = "") -> TextVerdict:
    found = engine.call(talk_of(engine, about), name)
    assert isinstance(found, TextVerdict)
    return found


@contextmanager
def adapted(network: nn.Module, adapter: Adapter, start: int) -> Iterator[None]:
    """A network of transformers with an adapter added from position `start` on, as PEFT does."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], Tensor]:
        low = adapter.modules[name]

        def add(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            update = inputs[0] @ low.a.T @ low.b.T * low.scaling
            update[:, :start] = 0
            return output + update

        return add

    modules = dict(network.named_modules())
    handles = [modules[name].register_forward_hook(hook(name)) for name in adapter.modules]
    yield
    for handle in handles:
        handle.remove()


@torch.inference_mode()
def from_scratch(engine: Engine, architecture: str, name: str, talk: Conversation) -> list[int]:
    """The greedy ids after the invocation, the whole text computed anew for each."""
    definition = engine.catalogue.get(name)
    adapter = Adapter.load(definition.directory / "adapter")
    text = definition.render_instruction(talk.messages, (), {})
    prompt = [*talk.ids, *engine.chat.text(text)]
    start = 0 if adapter.invocation is None else len(prompt)
    prompt += engine.chat.control(definition.invocation)
    network = tiny_network(architecture)
    most = definition.output.max_tokens  # type: ignore[union-attr]
    ids: list[int] = []
    with adapted(network, adapter, start):
        while len(ids) < most and engine.chat.end_id not in ids:
            logits = network(torch.tensor([prompt + ids]), use_cache=False).logits[0, -1]
            ids.append(int(logits.argmax()))
    return ids


@pytest.mark.parametrize("name", ["rewrite", "title", "plain"])
def test_a_text_equals_greedy_decoding_from_scratch(
    tmp_path: Path, architecture: str, name: str
) -> None:
    engine = writing_engine(tmp_path, architecture)
    for about in ("", "exactly", "did she come back"):
        talk = talk_of(engine, about)
        found = text_of(engine, name, about)
        assert list(found.written) == from_scratch(engine, architecture, name, talk)
        text = [i for i in found.written if i != engine.chat.end_id]
        assert found.value == str(engine.chat.tokenizer.decode(text)).strip()
        assert found.finish == ("end" if len(text) < len(found.written) else "length")
        assert len(found.logprobs) == len(found.written)
    check_integrity(engine)


def test_texts_and_labels_come_together_and_are_the_same_as_alone(engine: Engine) -> None:
    names = ["title", "judge", "plain", "lora", "rewrite"]
    alone = {name: engine.call(talk_of(engine), name) for name in names}
    together = engine.fan_out(talk_of(engine), names)
    assert [verdict.intrinsic for verdict in together.verdicts] == names
    for name in names:
        assert together[name].value == alone[name].value
        expected = pytest.approx(alone[name].raw_distribution, abs=1e-5)
        assert together[name].raw_distribution == expected
    with pytest.raises(RequestError, match="rewrite has no label 'yes'; it has none, since it"):
        together["rewrite"].p("yes")


def test_a_text_is_the_same_in_a_crowd_and_shares_its_forwards(engine: Engine) -> None:
    abouts = [f"number {i}" for i in range(8)]
    alone = [text_of(engine, "rewrite", about).written for about in abouts]
    reply = engine.generate(talk_of(engine), Sampling(max_tokens=MOST)).ids
    engine.release()
    before = engine.model.forwards
    with engine.model.lock:  # all are in line before the first forward
        jobs = [engine.submit(talk_of(engine, about), ["rewrite"]) for about in abouts]
        written = engine.stream(talk_of(engine), Sampling(max_tokens=MOST))
    found = [job.result()["rewrite"] for job in jobs]
    assert "".join(written) and written.reply.ids == reply
    assert [one.written for one in found if isinstance(one, TextVerdict)] == alone
    assert engine.model.forwards - before < 3 * MOST
    check_integrity(engine)


@pytest.mark.parametrize("name", ["rewrite", "plain"])
def test_the_conversation_is_untouched_and_no_memory_stays(engine: Engine, name: str) -> None:
    talk, untouched = talk_of(engine), talk_of(engine)
    engine.prefill(talk)
    held, ids = engine.kv_bytes, talk.ids
    for _ in range(3):
        engine.call(talk, name)
        check_integrity(engine)
        assert (engine.kv_bytes, talk.ids, talk.cached) == (held, ids, len(ids))
        assert {segment.owner for segment in engine.model.tree.segments} == {None}
    fork = talk.fork()
    engine.call(fork, name)
    fork.rollback(1)
    assert engine.call(talk, name).value == engine.call(untouched, name).value
    checked = engine.generate(talk, Sampling(max_tokens=MOST)).ids
    assert checked == tiny_reply(untouched, engine)
    check_integrity(engine)


def tiny_reply(talk: Conversation, engine: Engine) -> tuple[int, ...]:
    """The reply of an engine that never heard of an intrinsic."""
    fresh = tiny_engine()
    return fresh.generate(fresh.conversation(talk.messages), Sampling(max_tokens=MOST)).ids


def test_the_ledger_counts_the_text_and_reuses_the_prefix(engine: Engine) -> None:
    talk = talk_of(engine)
    engine.prefill(talk)
    found = engine.call(talk, "rewrite")
    assert isinstance(found, TextVerdict)
    own = len("Rewrite it.\n") + len("\x01rewrite\n")
    assert found.ledger.reused == talk.length
    assert found.ledger.activated_at == talk.length + len("Rewrite it.\n")
    assert found.ledger.computed >= own + len(found.written) - 1, "guesses count too"
    anew = engine.call(talk, "plain")
    assert (anew.ledger.reused, anew.ledger.activated_at) == (0, 0)
    assert anew.ledger.computed >= talk.length


@pytest.mark.parametrize("name", ["rewrite", "plain"])
def test_a_cancelled_or_late_text_leaves_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    talk = talk_of(engine)
    engine.prefill(talk)
    held, forwards = engine.kv_bytes, engine.model.forwards
    real = engine.model.forward
    jobs: list[Job[FanOut]] = []

    def give_up(rows: Sequence[object]) -> list[Tensor]:
        if engine.model.forwards - forwards == 3:
            jobs[0].cancel()
        return real(rows)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(engine.model, "forward", give_up)
        with engine.model.lock:
            jobs.append(engine.submit(talk, [name]))
        with pytest.raises(Cancelled):
            jobs[0].result()
    assert 3 <= engine.model.forwards - forwards <= 5, "given up in the middle"
    with pytest.raises(TimedOut):
        engine.call(talk, name, timeout=1e-4)
    check_integrity(engine)
    assert engine.kv_bytes == held
    assert engine.call(talk, name).value == text_of(engine, name).value


def test_a_forward_that_breaks_fails_one_text_and_frees_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = talk_of(engine)
    expected = engine.call(talk, "rewrite").value
    held = engine.kv_bytes
    with monkeypatch.context() as patch:
        faults = Faults(patch, engine.model.bank)
        faults.reset(40)
        with pytest.raises(Fault):
            engine.call(talk, "rewrite")
    check_integrity(engine)
    assert engine.kv_bytes == held
    assert engine.call(talk, "rewrite").value == expected


def test_a_text_ends_with_the_context_or_is_refused_before_any_work(engine: Engine) -> None:
    room = engine.model.context_tokens
    frame = talk_of(engine).length + len("Rewrite it.\n\x01rewrite\n")
    finishes = set()
    for letter in "abcdefgh":
        full = talk_of(engine, letter * (room - frame - 3))
        found = engine.call(full, "rewrite")
        assert isinstance(found, TextVerdict)
        finishes.add((found.finish, len(found.written)))
    assert ("length", 3) in finishes
    assert max(count for _, count in finishes) == 3
    over = talk_of(engine, "x" * (room - frame))
    before = engine.model.forwards
    with pytest.raises(ContextTooLong, match="leave no room for what rewrite writes"):
        engine.fan_out(over, ["judge", "rewrite"])
    assert engine.model.forwards == before and over.cached == 0


def test_a_text_beyond_the_memory_budget_is_refused(tmp_path: Path) -> None:
    small = writing_engine(tmp_path)
    talk = talk_of(small)
    budget = small.model.token_bytes * (talk.length + 16)
    engine = Engine(small.model, small.chat.tokenizer, small.catalogue, kv_budget=budget)
    with pytest.raises(MemoryBudgetError, match="larger kv_budget"):
        engine.call(talk_of(engine), "plain")
    check_integrity(engine)


def test_an_adapter_that_ends_at_once_writes_an_empty_text(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = text_of(engine, "rewrite").written[0]
    ends = engine.model.end_ids | {first}
    monkeypatch.setitem(vars(engine.model), "end_ids", ends)
    found = text_of(engine, "rewrite")
    assert (found.value, found.written, found.finish) == ("", (first,), "end")


def test_a_text_can_not_be_watched(engine: Engine) -> None:
    watch = Watch((Watcher("rewrite", "yes", then="note"),))
    with pytest.raises(RequestError, match="rewrite writes text and has no label that could trip"):
        engine.generate(talk_of(engine), Sampling(), watch)


@pytest.mark.parametrize("name", ["rewrite", "plain"])
def test_a_text_is_proved_and_a_wrong_one_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    engine = writing_engine(tmp_path, prove=True)
    talk = talk_of(engine)
    engine.fan_out(talk, ["judge", name])
    write = Segment.write

    def louder(segment: Segment, layer: int, offset: int, *tensors: Tensor) -> None:
        keys, values = (1.01 * x for x in tensors)
        write(segment, layer, offset, keys, values)

    engine.release()
    with monkeypatch.context() as broken:
        broken.setattr(Segment, "write", louder)
        with pytest.raises(ProofError, match=rf"{name}: token \d+ of its text has the log-prob"):
            engine.call(talk_of(engine), name)
    check_integrity(engine)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("{type: text}", "missing key 'max_tokens'"),
        ("{type: text, max_tokens: 0}", "greater than or equal to 1; it is 0"),
        ("{type: text, max_tokens: 4, labels: [a]}", "unknown key 'labels'"),
    ],
)
def test_a_wrong_text_output_is_named_at_its_place(
    engine: Engine, output: str, message: str
) -> None:
    path = engine.catalogue.get("rewrite").directory / "intrinsic.yaml"
    lines = path.read_text().splitlines()
    lines = [f"output: {output}" if line.startswith("output") else line for line in lines]
    path.write_text("\n".join(lines))
    with pytest.raises(DefinitionError, match=rf"intrinsic.yaml:6:\d+: .*{message}"):
        Definition.load(path.parent)
