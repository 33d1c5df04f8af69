"""Sampling and the stream from ids to text."""

from __future__ import annotations

import pytest
import torch

from conftest import tiny_tokenizer
from intrinsics.decode import Sampler, TextStream, nucleus
from intrinsics.errors import RequestError
from intrinsics.prompt import ChatFormat
from intrinsics.sampling import Sampling


def streamed(text: str, stop: tuple[str, ...] = ()) -> tuple[TextStream, list[str]]:
    tokenizer = tiny_tokenizer()
    stream, pieces = TextStream(ChatFormat(tokenizer), stop), []
    for token in tokenizer(text)["input_ids"]:
        pieces.append(stream.push(token))
        if stream.stopped:
            break
    return stream, [*pieces, stream.flush()]


def test_pieces_join_to_the_text_and_never_hold_half_a_character() -> None:
    stream, pieces = streamed("naïve 🙂 text")
    assert "".join(pieces) == stream.text == "naïve 🙂 text"
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("stop", [("END",), ("nope", "END"), ("ND",), ("E",)])
def test_text_ends_before_a_stop_string(stop: tuple[str, ...]) -> None:
    stream, pieces = streamed("some ENtry ENDING", stop)
    expected = "some ENtry ENDING"[: min(i for i in map("some ENtry ENDING".find, stop) if i >= 0)]
    assert "".join(pieces) == stream.text == expected
    assert tiny_tokenizer().decode(stream.kept_ids()) == expected


def test_what_only_looked_like_a_stop_string_comes_out_at_the_end() -> None:
    _, pieces = streamed("the EN", ("END",))
    assert "".join(pieces) == "the EN"


def test_nucleus_keeps_the_fewest_that_reach_top_p() -> None:
    weights = torch.tensor([0.1, 0.5, 0.15, 0.25])
    assert nucleus(weights, 0.5).tolist() == pytest.approx([0, 0.5, 0, 0])
    assert nucleus(weights, 0.7).tolist() == pytest.approx([0, 0.5, 0, 0.25])
    assert nucleus(weights, 1.0).tolist() == pytest.approx(weights.tolist())


def test_the_same_seed_draws_the_same_tokens() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(0))

    def draw(seed: int) -> list[int]:
        sampler = Sampler(Sampling(temperature=1.0, top_p=0.9, seed=seed))
        return [sampler.choose(logits) for _ in range(20)]

    assert draw(1) == draw(1) != draw(2)
    assert Sampler(Sampling()).choose(logits) == int(logits.argmax())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_tokens": 0}, "max_tokens = 0; it must be at least 1"),
        ({"temperature": -1.0}, "temperature = -1.0"),
        ({"top_p": 0.0}, "top_p = 0.0; it must be above 0"),
        ({"seed": -1}, "seed = -1"),
        ({"stop": ("",)}, "stop holds an empty string"),
    ],
)
def test_sampling_values_out_of_range_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Sampling(**values)  # type: ignore[arg-type]
