"""Watchers look at a reply while it is written; a rollback leaves no trace."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import check_integrity, tiny_engine, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.errors import ConversationError, Guarded, RequestError
from intrinsics.messages import Message
from intrinsics.sampling import Sampling
from intrinsics.watch import Watch, Watcher

HELLO = Message(role="user", content="Hello?")
WARM = Sampling(max_tokens=30, temperature=0.9, seed=5)
ALWAYS, NEVER = 0.0, 0.999999


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Every result is computed a second time from scratch, so a trace anywhere is an error."""
    small = tiny_engine()
    write_intrinsic(small, tmp_path, "judge", last="assistant", seed=1, instruction="So far?\n")
    write_intrinsic(small, tmp_path, "asker", last="user", seed=2)
    write_intrinsic(small, tmp_path, "reader", last="assistant", documents="required", seed=3)
    write_intrinsic(small, tmp_path, "whole", last="assistant", activated=False, seed=4)
    return Engine(small.model, small.chat.tokenizer, Catalogue([tmp_path]), prove=True)


def watch(then: str, above: float, every: int = 6, tries: int = 3) -> Watch:
    watcher = Watcher("judge", "yes", above, then)  # type: ignore[arg-type]
    return Watch((watcher,), every=every, tries=tries)


@pytest.mark.parametrize("then", ["note", "again", "stop", "raise"])
def test_a_watcher_that_never_trips_changes_nothing(engine: Engine, then: str) -> None:
    free = engine.generate(engine.conversation([HELLO]), WARM)
    talk = engine.conversation([HELLO])
    watched = engine.generate(talk, WARM, watch(then, NEVER))
    assert (watched.text, watched.ids, watched.finish) == (free.text, free.ids, free.finish)
    assert [check.tokens for check in watched.checks] == [6, 12, 18, 24, 30]
    assert not any(check.tripped for check in watched.checks)
    check_integrity(engine)


def test_a_verdict_on_the_way_is_that_on_the_text_so_far(engine: Engine) -> None:
    watched = engine.generate(engine.conversation([HELLO]), WARM, watch("note", ALWAYS))
    assert all(check.tripped for check in watched.checks)
    last = watched.checks[-1].verdict
    talk = engine.conversation([HELLO])
    engine.generate(talk, WARM)
    after = engine.call(talk, "judge")
    assert last.distribution == pytest.approx(after.distribution, abs=1e-5)


def tripping_third(engine: Engine) -> tuple[Sampling, float]:
    """A seed and a bound such that the third look is the first to trip."""
    for seed in range(50):
        warm = replace(WARM, seed=seed)
        talk = engine.conversation([HELLO])
        found = engine.generate(talk, warm, watch("note", ALWAYS)).checks
        first, second, third, *_ = (check.verdict.p("yes") for check in found)
        if max(first, second) < third - 0.01:
            return warm, (max(first, second) + third) / 2
    raise AssertionError("no seed does")


def test_again_rolls_back_to_the_last_good_point_and_goes_on_otherwise(engine: Engine) -> None:
    warm, above = tripping_third(engine)
    free = engine.generate(engine.conversation([HELLO]), warm)
    talk = engine.conversation([HELLO])
    stream = engine.stream(talk, warm, watch("again", above, tries=20))
    pieces = list(stream)
    reply = stream.reply
    tripped = [check for check in reply.checks if check.tripped]
    assert tripped[0].tokens == 18
    assert reply.ids[:12] == free.ids[:12]
    assert reply.ids != free.ids
    assert "".join(pieces) == reply.text, "what was shown has passed"
    twin = engine.conversation([HELLO])
    assert engine.generate(twin, warm, watch("again", above, tries=20)).ids == reply.ids
    talk.add("user", "And?")
    engine.prefill(talk)
    again = engine.conversation([HELLO, Message(role="assistant", content="x")])
    assert talk.ids[: again.length - 10] == again.ids[: again.length - 10]
    check_integrity(engine)


def test_stop_ends_the_reply_at_the_last_good_point(engine: Engine) -> None:
    warm, above = tripping_third(engine)
    free = engine.generate(engine.conversation([HELLO]), warm)
    talk = engine.conversation([HELLO])
    reply = engine.generate(talk, warm, watch("stop", above))
    assert (reply.finish, reply.ids) == ("guarded", free.ids[:12])
    assert talk.messages[-1].content == reply.text
    assert free.text.startswith(reply.text)
    engine.prefill(talk)
    check_integrity(engine)


@pytest.mark.parametrize(("then", "message"), [("raise", "judge found"), ("stop", "nothing of")])
def test_a_reply_that_may_not_be_is_an_error_and_no_message(
    engine: Engine, then: str, message: str
) -> None:
    talk = engine.conversation([HELLO])
    before = talk.ids
    stream = engine.stream(talk, WARM, watch(then, ALWAYS))
    with pytest.raises(Guarded, match=message):
        print(list(stream))
    assert (talk.ids, talk.messages) == (before, (HELLO,))
    check_integrity(engine)


def test_tries_are_bounded(engine: Engine) -> None:
    with pytest.raises(Guarded, match="allow more tries"):
        engine.generate(engine.conversation([HELLO]), WARM, watch("again", ALWAYS, tries=2))


def test_it_looks_at_the_end_of_sentences(engine: Engine) -> None:
    look = Watch((Watcher("judge", "yes", NEVER),))
    reply = engine.generate(engine.conversation([HELLO]), Sampling(200, 5.0, seed=2), look)
    ends = [check.tokens for check in reply.checks]
    assert ends[-1] == len(reply.ids)
    assert len(ends) > 1
    for tokens in ends[:-1]:
        text = str(engine.chat.tokenizer.decode(list(reply.ids[:tokens])))
        assert re.search(r"[.!?]\S*\s*$|\n\s*$", text)


@pytest.mark.parametrize(
    ("name", "label", "sampling", "error", "message"),
    [
        ("asker", "yes", WARM, RequestError, "asker judges the last user message, but a watcher"),
        ("reader", "yes", WARM, ConversationError, "watcher reader needs documents"),
        ("whole", "yes", WARM, RequestError, "whole is an ordinary LoRA"),
        ("judge", "yez", WARM, RequestError, "did you mean 'yes'"),
        ("judge", "yes", Sampling(), RequestError, "at temperature 0 the same tokens would come"),
        ("nobody", "yes", WARM, RequestError, "nobody"),
    ],
)
def test_a_watcher_that_cannot_work_is_refused_at_once(
    engine: Engine, name: str, label: str, sampling: Sampling, error: type[Exception], message: str
) -> None:
    talk = engine.conversation([HELLO])
    with pytest.raises(error, match=message):
        engine.stream(talk, sampling, Watch((Watcher(name, label),)))
    talk.add("assistant", "It takes messages as before.")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Watcher("judge", "yes", above=1.0), "above = 1.0"),
        (lambda: Watcher("judge", "yes", then="agian"), "did you mean 'again'"),  # type: ignore[arg-type]
        (lambda: Watch(()), "at least one watcher"),
        (lambda: Watch((Watcher("judge", "yes"),), every=0), "every = 0"),
        (lambda: Watch((Watcher("judge", "yes"),), tries=-1), "tries = -1"),
    ],
)
def test_absurd_watches_are_refused(build: object, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build()  # type: ignore[operator]
