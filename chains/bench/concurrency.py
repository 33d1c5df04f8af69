"""Guarded conversations, one after another and all at once on the same engine.

Each is asked at second 0: two intrinsics judge the question, the model replies, a third judges the
reply. Once the conversations have nothing in common, once a long system prompt.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from transformers import PreTrainedModel

from intrinsics.checkpoint import Progress
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.errors import RequestError
from intrinsics.messages import Document, Message
from intrinsics.sampling import Sampling

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
    percentile,
    plain_network,
    ratio,
    spread,
    timed,
)
from .texts import fitted, passage

BEFORE, AFTER = ("safety", "answerability"), ("certainty",)
SHARED_SHARE = 0.6  # of a context, where the conversations have a system prompt in common
_ASK = "Write a very long story about this town and its people, with all details."


def run(
    conversations: int = 16,
    context: int = 200,
    tokens: int = 64,
    repetitions: int = 5,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure; the figures at the top are those of conversations that share nothing.

    Raises: RequestError: absurd sizes.
    """
    check_sizes(conversations=conversations, tokens=tokens, repetitions=repetitions)
    engine = load(progress)
    if not 0 < context <= engine.model.context_tokens - 2 * tokens:
        raise RequestError(f"context {context} + {tokens} is beyond the model's context")
    asked = {
        "distinct": [_asked(engine, context, 0, i) for i in range(conversations)],
        "shared_system": [
            _asked(engine, context, int(context * SHARED_SHARE), i) for i in range(conversations)
        ],
    }
    network = plain_network()
    steps = Steps(progress, "measuring concurrency", 2 * (2 * repetitions + 1) + 1)
    settings = {
        name: _setting(engine, made, tokens, repetitions, steps) for name, made in asked.items()
    }
    peer = alternate(
        {"transformers": lambda: _transformers(network, asked["distinct"], tokens)}, 1, steps
    )
    distinct = settings["distinct"]
    return {
        "conversations": conversations,
        "context": context,
        "tokens": tokens,
        "intrinsics": [*BEFORE, *AFTER],
        "ratio_to_sequential": distinct["ratio_to_sequential"],
        "p95_ttft_seconds": distinct["p95_ttft_seconds"],
        "median_ttft_seconds": distinct["median_ttft_seconds"],
        "same_texts": all(setting["same_texts"] for setting in settings.values()),
        "settings": settings,
        "transformers_replies_alone_seconds": peer["transformers"][0],
        "repetitions": repetitions,
        "machine": machine(),
    }


def _asked(engine: Engine, context: int, shared: int, seed: int) -> Conversation:
    """A conversation that ends with a question; of its `context` tokens `shared` are common."""
    system = [Message(role="system", content=passage(engine.chat, shared, 0))] if shared else []
    question = Message(role="user", content=_ASK)

    def build(room: int) -> Conversation:
        document = Document(id=f"{seed}", text=passage(engine.chat, room, 1 + seed))
        return engine.conversation([*system, question], [document])

    return fitted(context, build)


@dataclass(frozen=True)
class _Done:
    """What one conversation gave: its reply, its verdicts, and the seconds until the first text."""

    ids: tuple[int, ...]
    labels: tuple[str, ...]
    ttft_seconds: float


def _setting(
    engine: Engine, asked: Sequence[Conversation], tokens: int, repetitions: int, steps: Steps
) -> dict[str, Any]:
    """Both modes in turn, after a warm-up of each."""
    modes: dict[str, Callable[[], list[_Done]]] = {
        "sequential": lambda: _sequential(engine, asked, tokens),
        "concurrent": lambda: _concurrent(engine, asked, tokens),
    }
    results: dict[str, list[_Done]] = {}
    ttft: Raw = {name: [] for name in modes}

    def measured(name: str) -> float:
        clear(engine)
        started = time.perf_counter()
        results[name] = modes[name]()
        seconds = time.perf_counter() - started
        ttft[name] += [done.ttft_seconds for done in results[name]]
        return seconds

    _concurrent(engine, asked, min(tokens, 4))
    steps.done()
    raw = alternate({name: partial(measured, name) for name in modes}, repetitions, steps)
    made = {name: sum(len(done.ids) for done in results[name]) for name in modes}
    one, other = results["sequential"], results["concurrent"]
    return {
        "context": asked[0].length,
        "ratio_to_sequential": ratio(raw["sequential"], raw["concurrent"]),
        "p95_ttft_seconds": percentile(ttft["concurrent"], 0.95),
        "median_ttft_seconds": statistics.median(ttft["concurrent"]),
        "sequential_p95_ttft_seconds": percentile(ttft["sequential"], 0.95),
        "sequential_median_ttft_seconds": statistics.median(ttft["sequential"]),
        "tokens_per_second": {name: made[name] / statistics.median(raw[name]) for name in modes},
        "new_tokens": made["sequential"],
        "same_texts": [done.ids for done in one] == [done.ids for done in other],
        "same_labels": [done.labels for done in one] == [done.labels for done in other],
        "seconds": {name: spread(values) for name, values in raw.items()},
        "raw": {
            **raw,
            "concurrent_ttft": ttft["concurrent"],
            "sequential_ttft": ttft["sequential"],
        },
    }


def _sequential(engine: Engine, asked: Sequence[Conversation], tokens: int) -> list[_Done]:
    started = time.perf_counter()
    return [_guarded(engine, talk, tokens, started) for talk in asked]


def _concurrent(engine: Engine, asked: Sequence[Conversation], tokens: int) -> list[_Done]:
    with ThreadPoolExecutor(len(asked)) as threads:
        started = time.perf_counter()
        jobs = [threads.submit(_guarded, engine, talk, tokens, started) for talk in asked]
        return [job.result() for job in jobs]


def _guarded(engine: Engine, asked: Conversation, tokens: int, started: float) -> _Done:
    """One conversation from the start to its last verdict; `asked` itself stays untouched."""
    messages = list(asked.messages)
    talk = engine.conversation(messages, asked.documents)
    before = engine.fan_out(talk, BEFORE)
    stream = engine.stream(talk, Sampling(max_tokens=tokens))
    next(stream, None)
    first = time.perf_counter() - started
    for _ in stream:
        pass
    after = engine.fan_out(talk, AFTER)
    verdicts = (*before.verdicts, *after.verdicts)
    labels = tuple(max(v.raw_distribution, key=v.raw_distribution.__getitem__) for v in verdicts)
    return _Done(stream.reply.ids, labels, first)


def _transformers(network: PreTrainedModel, asked: Sequence[Conversation], tokens: int) -> float:
    """Seconds of the replies alone, without any intrinsic, one after another by transformers."""

    def replies() -> None:
        for talk in asked:
            ids = [*talk.ids, *talk.chat.reply_head(talk.roles)]
            generated(network, ids, tokens, talk.chat.end_id)

    return alone(lambda: timed(replies))
