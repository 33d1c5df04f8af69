"""Guessing changes how many forwards a reply takes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from conftest import check_integrity, tiny_engine, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.messages import Message
from intrinsics.sampling import Sampling
from intrinsics.speculation import Guesser
from intrinsics.watch import Watch, Watcher

HELLO = Message(role="user", content="One two three. One two three. One two")
Guess = Callable[[Guesser, Sequence[int], int], list[int]]


def none(_: Guesser, __: Sequence[int], ___: int) -> list[int]:
    return []


def wild(_: Guesser, ids: Sequence[int], most: int) -> list[int]:
    """Tokens at random, now and then none."""
    random = Random(len(ids))
    return [random.randrange(256) for _ in range(random.randint(0, min(most, 5)))]


def prophetic(truth: Sequence[int], share: float) -> Guess:
    """The right tokens, each with some probability."""

    def guess(_: Guesser, ids: Sequence[int], most: int) -> list[int]:
        random = Random(len(ids))
        right = list(truth[len(ids) : len(ids) + min(most, 7)])
        return [i if random.random() < share else (i + 1) % 256 for i in right]

    return guess


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Every reply is computed a second time from scratch."""
    small = tiny_engine()
    write_intrinsic(small, tmp_path, "judge", last="assistant", seed=1)
    return Engine(small.model, small.chat.tokenizer, Catalogue([tmp_path]), prove=True)


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize(
    "sampling",
    [Sampling(max_tokens=40), Sampling(40, 0.7, seed=3), Sampling(40, 1.0, seed=4, stop=("1",))],
)
def test_the_text_is_the_same_whatever_is_guessed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, sampling: Sampling, watched: bool
) -> None:
    watch = Watch((Watcher("judge", "yes", 0.99, "note"),), every=5) if watched else None
    talk = engine.conversation([HELLO])
    head = [*talk.ids, *talk.chat.reply_head(talk.roles)]
    monkeypatch.setattr(Guesser, "guess", none)
    expected = engine.generate(talk, sampling, watch)
    truth = [*head, *expected.ids]
    for guess in (wild, prophetic(truth, 1.0), prophetic(truth, 0.6)):
        monkeypatch.setattr(Guesser, "guess", guess)
        twin = engine.conversation([HELLO])
        found = engine.generate(twin, sampling, watch)
        assert (found.ids, found.text, found.finish) == (
            expected.ids,
            expected.text,
            expected.finish,
        )
        assert twin.ids == talk.ids
        twin.add("user", "And then?")
        engine.generate(twin, Sampling(max_tokens=2))
    check_integrity(engine)


def test_right_guesses_save_forwards(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = Sampling(max_tokens=40)
    talk = engine.conversation([HELLO])
    head = [*talk.ids, *talk.chat.reply_head(talk.roles)]
    monkeypatch.setattr(Guesser, "guess", none)
    slow = engine.generate(talk, sampling)
    monkeypatch.setattr(Guesser, "guess", prophetic([*head, *slow.ids], 1.0))
    fast = engine.generate(engine.conversation([HELLO]), sampling)
    assert (slow.ledger.forwards, fast.ledger.forwards) == (40, 6)


def test_what_followed_the_same_words_is_guessed() -> None:
    guesser = Guesser()
    assert guesser.guess([1, 2, 3, 4, 5, 6], 9) == []
    assert guesser.guess([1, 2, 3, 4, 5, 6, 1, 2], 9) == [3, 4, 5]
    assert guesser.guess([1, 2, 3, 4, 5, 6, 1, 2], 2) == [3, 4]
    guesser.came_true(3, 3)
    assert guesser.guess([1, 2, 3, 4, 5, 6, 1, 2, 3], 9) == [4, 5, 6, 1, 2, 3]
    guesser.came_true(6, 0)
    assert guesser.guess([1, 2, 3, 4, 5, 6, 1, 2, 3], 9) == [], "it rests after a miss"
