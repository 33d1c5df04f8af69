"""Labelled conversations judged one by one, each with what its verdict cost."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .data import Example
from .engine import Engine
from .fanout import Verdict
from .ledger import Ledger
from .prepared import conversations
from .spec import Definition


@dataclass(frozen=True)
class Judged:
    """A verdict, and what the conversation's own tokens had cost before it was asked for."""

    verdict: Verdict
    prefix: Ledger


@dataclass(frozen=True)
class Cost:
    """What a verdict cost: medians over all rows, and the 95th percentile of its seconds.

    `prefix_*` is the conversation before it, which is computed once however many intrinsics read
    it; a verdict that reuses none of it (`activated` False: an ordinary LoRA) pays for it again.
    """

    activated: bool
    reused_tokens: float
    computed_tokens: float
    seconds: float
    seconds_p95: float
    prefix_tokens: float
    prefix_seconds: float
    prefix_seconds_p95: float


def judge(engine: Engine, definition: Definition, examples: Sequence[Example]) -> Iterator[Judged]:
    """The verdict of the intrinsic on each example, in order.

    The conversation is prefilled before it is judged, so that the verdict's seconds are its own.
    Raises: DataError: an example can't be judged; all are looked at before the first is.
    """
    asked = deque(conversations(engine, definition, examples))
    for example in examples:
        conversation = asked.popleft()  # after its verdict nobody holds its keys and values
        prefix = engine.prefill(conversation)
        yield Judged(engine.call(conversation, definition.directory, example.arguments), prefix)


def cost(judged: Sequence[Judged]) -> Cost:
    """What the verdicts cost, summed up; there is at least one."""
    verdicts = [one.verdict.ledger for one in judged]
    prefixes = [one.prefix for one in judged]
    seconds = [ledger.seconds for ledger in verdicts]
    before = [ledger.seconds for ledger in prefixes]
    return Cost(
        activated=any(ledger.reused for ledger in verdicts),
        reused_tokens=float(np.median([ledger.reused for ledger in verdicts])),
        computed_tokens=float(np.median([ledger.computed for ledger in verdicts])),
        seconds=float(np.median(seconds)),
        seconds_p95=float(np.percentile(seconds, 95)),
        prefix_tokens=float(np.median([one.reused + one.computed for one in prefixes])),
        prefix_seconds=float(np.median(before)),
        prefix_seconds_p95=float(np.percentile(before, 95)),
    )
