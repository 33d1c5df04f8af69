"""One conversation, greedy decoding: seconds a token, beside transformers and a read of memory.

A forward of a decode step reads every weight once, so the time of reading memory is what it is held
against. Prefill is kept out: (seconds of N tokens - seconds of one token) / (N - 1), for both. Ours
may get several tokens out of one forward, which the figures tell apart: a token against
transformers, a forward against memory. One watcher that looks every 24 tokens is timed beside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from intrinsics.checkpoint import Progress
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.errors import RequestError
from intrinsics.messages import Message
from intrinsics.sampling import Sampling
from intrinsics.watch import Watch, Watcher

from .generated import generated
from .measure import (
    Raw,
    Steps,
    alone,
    alternate,
    check_sizes,
    clear,
    load,
    machine,
    plain_network,
    ratio,
    spread,
    timed,
)
from .texts import fitted, passage

CONTEXTS = (50, 512, 2048)
WATCHED_EVERY = 24
_ASK = "Write a very long story. "


def run(
    tokens: int = 64,
    contexts: Sequence[int] = CONTEXTS,
    repetitions: int = 5,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure; the ratios are those at the first of `contexts`.

    Raises: RequestError: absurd sizes, or the model ends its reply before `tokens`.
    """
    check_sizes(contexts=len(contexts), repetitions=repetitions)
    if tokens < 2:
        raise RequestError(f"tokens = {tokens}; it must be at least 2, as the first is prefill's")
    engine = load(progress)
    for context in contexts:
        if not 0 < context <= engine.model.context_tokens - tokens:
            raise RequestError(f"context {context} + {tokens} is beyond the model's context")
    pair = _Pair(engine, plain_network(), tokens)
    reads = memory_reads(engine.model.network)
    steps = Steps(progress, "measuring decode", len(contexts) * (repetitions + 1))
    talks = []
    curve: list[dict[str, Any]] = []
    raw: dict[str, Raw] = {}
    for context in contexts:
        talk = fitted(context, lambda room: _talk(engine, room))
        talks.append(talk)
        same, forwards = pair.same_output(talk)
        steps.done()
        found = _repeat(pair, talk, {} if curve else reads, repetitions, steps)
        curve.append(_point(pair.prompt(talk), found, same, (forwards - 1) / (tokens - 1)))
        raw[str(context)] = found
    first = raw[str(contexts[0])]
    watched = _watched(engine, talks[0], tokens, repetitions)
    read = min((first[name] for name in reads), key=lambda values: spread(values)["median"])
    share = curve[0]["forwards_per_token"]
    forward = [seconds / share for seconds in first["ours_step"]]
    return {
        "tokens": tokens,
        "contexts": list(contexts),
        "ratio_to_transformers": curve[0]["ratio_to_transformers"],
        "ratio_to_memory_read": ratio(forward, read),
        "watcher_overhead": ratio(watched["watched"], watched["free"]) - 1,
        "same_output": all(point["same_output"] for point in curve),
        "seconds": {
            "ours_step": spread(first["ours_step"]),
            "ours_forward": spread(forward),
            "transformers_step": spread(first["transformers_step"]),
            "memory_read": spread(read),
        },
        "tokens_per_second": curve[0]["tokens_per_second"],
        "weight_bytes": sum(p.numel() * 4 for p in engine.model.network.parameters()),
        "curve": curve,
        "raw": raw,
        "raw_watcher": watched,
        "repetitions": repetitions,
        "machine": machine(),
    }


@dataclass(frozen=True)
class _Pair:
    """Ours and transformers on the same weights, each generating at most `tokens` tokens."""

    engine: Engine
    network: PreTrainedModel
    tokens: int

    def prompt(self, talk: Conversation) -> list[int]:
        """The ids that both generate after."""
        return [*talk.ids, *self.engine.chat.reply_head(talk.roles)]

    def ours(self, talk: Conversation, tokens: int) -> float:
        clear(self.engine)
        fresh = self.engine.conversation(talk.messages)
        return timed(lambda: self.engine.generate(fresh, Sampling(max_tokens=tokens)))

    def theirs(self, talk: Conversation, tokens: int) -> float:
        return alone(lambda: timed(lambda: self.generated(talk, tokens)))

    def generated(self, talk: Conversation, tokens: int) -> list[int]:
        return generated(self.network, self.prompt(talk), tokens, self.engine.chat.end_id)

    def same_output(self, talk: Conversation) -> tuple[bool, int]:
        """Whether both give the same ids, and in how many forwards ours; a warm-up of both."""
        clear(self.engine)
        fresh = self.engine.conversation(talk.messages)
        reply = self.engine.generate(fresh, Sampling(max_tokens=self.tokens))
        if reply.finish != "length":
            raise RequestError(
                f"the model ended its reply after {len(reply.ids)} tokens; ask for fewer tokens"
            )
        same = tuple(alone(lambda: self.generated(talk, self.tokens))) == reply.ids
        return same, reply.ledger.forwards


def _talk(engine: Engine, room: int) -> Conversation:
    text = _ASK + passage(engine.chat, room, 1)
    return engine.conversation([Message(role="user", content=text)])


def _repeat(
    pair: _Pair,
    talk: Conversation,
    reads: dict[str, Callable[[], float]],
    repetitions: int,
    steps: Steps,
) -> Raw:
    """All repetitions at one context, and the seconds of a step worked out of each."""
    jobs: dict[str, Callable[[], float]] = {
        "ours_one": lambda: pair.ours(talk, 1),
        "ours_all": lambda: pair.ours(talk, pair.tokens),
        "transformers_one": lambda: pair.theirs(talk, 1),
        "transformers_all": lambda: pair.theirs(talk, pair.tokens),
        **reads,
    }
    raw: Raw = {}
    for _ in range(repetitions):
        for name, values in alternate(jobs, 1).items():
            raw.setdefault(name, []).extend(values)
        steps.done()
    for name in ("ours", "transformers"):
        pairs = zip(raw[f"{name}_all"], raw[f"{name}_one"], strict=True)
        raw[f"{name}_step"] = [(whole - one) / (pair.tokens - 1) for whole, one in pairs]
    return raw


def _point(
    prompt: Sequence[int], raw: Raw, same: bool, forwards_per_token: float
) -> dict[str, Any]:
    names = ("ours", "transformers")
    step = {name: spread(raw[f"{name}_step"])["median"] for name in names}
    return {
        "context": len(prompt),
        "ratio_to_transformers": ratio(raw["transformers_step"], raw["ours_step"]),
        "step_seconds": step,
        "first_token_seconds": {name: spread(raw[f"{name}_one"])["median"] for name in names},
        "tokens_per_second": {name: 1 / seconds for name, seconds in step.items()},
        "forwards_per_token": forwards_per_token,
        "same_output": same,
    }


def _watched(engine: Engine, talk: Conversation, tokens: int, repetitions: int) -> Raw:
    """Seconds of one reply without and with a watcher that looks every 24 tokens, in turn."""
    watch = Watch((Watcher("certainty", "incorrect", then="note"),), every=WATCHED_EVERY)

    def reply(looks: Watch | None) -> float:
        clear(engine)
        fresh = engine.conversation(talk.messages)
        return timed(lambda: engine.generate(fresh, Sampling(max_tokens=tokens), looks))

    jobs = {"free": lambda: reply(None), "watched": lambda: reply(watch)}
    reply(watch)
    return alternate(jobs, repetitions)


def memory_reads(network: PreTrainedModel) -> dict[str, Callable[[], float]]:
    """Ways to read as many bytes as all weights have in float32, once, with all cores."""
    width = 4096
    rows = sum(parameter.numel() for parameter in network.parameters()) // width
    flat = alone(lambda: torch.rand(rows, width))
    ones = torch.ones(width)

    def read(way: Callable[[], Tensor]) -> float:
        return alone(lambda: timed(lambda: float(way().flatten()[0])))

    return {
        "read_sum": lambda: read(flat.sum),
        "read_max": lambda: read(flat.max),
        "read_matrix_vector": lambda: read(lambda: flat @ ones),
        "read_dot": lambda: read(lambda: torch.dot(flat.view(-1), flat.view(-1))),
    }
