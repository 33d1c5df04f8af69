"""How costs grow: a check with the context, with the intrinsics, replies and memory with users.

Each beside PEFT: a LoRA prefills everything anew, an aLoRA gets the base cache handed over, and a
branch of a conversation is a copy of the cache.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from intrinsics.adapter import Adapter
from intrinsics.checkpoint import Progress
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.errors import RequestError
from intrinsics.kv import Branch
from intrinsics.messages import Message
from intrinsics.model import Row
from intrinsics.sampling import Sampling

from .fanout import INVOCATION_TOKENS, invocation_rows, random_adapter
from .figure import check_can_draw, draw
from .generated import generated
from .measure import Raw, Steps, alone, check_sizes, clear, load, machine, plain_network, timed
from .peft_peer import PeftPeer, require_peft
from .texts import fitted, passage

REPEATED_TOKENS = 2048  # up to this many a PEFT LoRA is measured as often as the others
ORDINARY = "ordinary"  # not "lora": PEFT takes that for a part of its own names
REPLY_TOKENS, ASKED_TOKENS, TAIL_TOKENS = 32, 64, 16
_ASK = "Write a very long story. "

Point = dict[str, Any]
"""One point of a curve: its `size`, the median of each side there, and the `raw` repetitions."""


def run(
    context: int = 8192,
    prefix: int = 2048,
    most: int = 32,
    repetitions: int = 3,
    out: Path = Path("benchmarks/results"),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure, and draw `scaling.png` into the folder `out`.

    Contexts double from 256 to `context`; intrinsics, conversations and branches from 1 to `most`;
    intrinsics and branches stand on `prefix` tokens.
    Raises: RequestError: absurd sizes, peft or matplotlib is missing, or `out` can't be written.
    """
    check_sizes(context=context, prefix=prefix, most=most, repetitions=repetitions)
    check_can_draw(out)
    require_peft()  # told before minutes of measuring
    engine = load(progress)
    if max(context, prefix + TAIL_TOKENS) > engine.model.context_tokens:
        raise RequestError(f"context {context} is beyond the model's")
    counts, contexts = _doubling(1, most), _doubling(min(256, context), context)
    steps = Steps(progress, "measuring scaling", len(contexts) + 3 * len(counts) + 1)
    throughput = _throughput(engine, counts, repetitions, steps)
    with tempfile.TemporaryDirectory() as folder:
        pair = _Pair.of(engine, most, Path(folder))
    curves = {
        "context": _over_contexts(pair, contexts, repetitions, steps),
        "intrinsics": _over_intrinsics(pair, prefix, counts, repetitions, steps),
        "conversations": throughput,
        "branches": _over_branches(pair, prefix, counts, steps),
    }
    path = draw(curves, prefix, out)
    return {
        "prefix": prefix,
        "curves": curves,
        "figure": str(path),
        "repetitions": repetitions,
        "machine": machine(),
    }


def _doubling(first: int, last: int) -> list[int]:
    """`first`, twice that, and so on; `last` is always among them."""
    sizes = [first]
    while sizes[-1] * 2 <= last:
        sizes.append(sizes[-1] * 2)
    return sizes if sizes[-1] == last else [*sizes, last]


@dataclass(frozen=True)
class _Pair:
    """The engine's model and a PEFT model with the same random adapters; the LoRA is the first."""

    engine: Engine
    peer: PeftPeer
    names: tuple[str, ...]
    invocations: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(engine: Engine, count: int, folder: Path) -> _Pair:
        """Write `count` adapters, and load them on both sides."""
        adapters = [random_adapter(engine.model, seed) for seed in range(count)]
        names = tuple(f"alora{seed}" for seed in range(count))
        for name, adapter in zip(names, adapters, strict=True):
            adapter.save(folder / name)
            engine.model.bank.add(name, Adapter.load(folder / name))
        first = adapters[0]
        Adapter(first.modules, None, first.base_model, first.alpha).save(folder / ORDINARY)
        paths = [folder / name for name in (*names, ORDINARY)]
        invocations = tuple(adapter.invocation or () for adapter in adapters)
        return _Pair(engine, PeftPeer(plain_network(), paths), names, invocations)

    def prefix(self, tokens: int) -> tuple[list[int], Branch, DynamicCache]:
        """Random ids of a context, cached on both sides."""
        random = torch.Generator().manual_seed(tokens)
        ids: list[int] = torch.randint(100, 40000, (tokens,), generator=random).tolist()
        branch = self.engine.model.tree.branch()
        with torch.inference_mode():
            self.engine.model.prefill(branch, ids)
        return ids, branch, self.peer.prefill(ids)

    def ours(self, branch: Branch, count: int) -> None:
        """The first tokens of `count` intrinsics, in one forward."""
        with torch.inference_mode():
            self.engine.model.forward(invocation_rows(branch, self.names[:count], self.invocations))

    def activated(self, cache: DynamicCache, i: int) -> None:
        self.peer.activated(self.names[i], cache, self.invocations[i], 1)

    def ordinary(self, ids: Sequence[int]) -> None:
        self.peer.ordinary(ORDINARY, [*ids, *self.invocations[0]], 1)


def _point(size: int, raw: Raw) -> Point:
    medians = {name: statistics.median(values) for name, values in raw.items()}
    return {"size": size, **medians, "raw": raw}


def _times(job: Callable[[], object], repetitions: int) -> list[float]:
    return [timed(job) for _ in range(repetitions)]


def _over_contexts(
    pair: _Pair, contexts: Sequence[int], repetitions: int, steps: Steps
) -> list[Point]:
    """Seconds of one intrinsic on a cached context, up to the first token of its answer."""
    points = []
    for context in contexts:
        tokens = max(1, context - INVOCATION_TOKENS)  # with the invocation it is `context`
        ids, branch, cache = pair.prefix(tokens)
        pair.ours(branch, 1)
        pair.activated(cache, 0)
        again = repetitions if context <= REPEATED_TOKENS else 1
        raw = {
            "ours": _times(partial(pair.ours, branch, 1), repetitions),
            "peft_alora": _times(partial(pair.activated, cache, 0), repetitions),
            "peft_lora": _times(partial(pair.ordinary, ids), again),
        }
        points.append(_point(context, raw))
        steps.done()
    return points


def _over_intrinsics(
    pair: _Pair, prefix: int, counts: Sequence[int], repetitions: int, steps: Steps
) -> list[Point]:
    """Seconds of several intrinsics on one cached context; PEFT runs one after another."""
    ids, branch, cache = pair.prefix(prefix)
    pair.ours(branch, max(counts))
    pair.activated(cache, 0)
    activated = _sums(lambda i: pair.activated(cache, i), max(counts), repetitions)
    ordinary = _sums(lambda _: pair.ordinary(ids), max(counts), 1)
    points = []
    for count in counts:
        ours = _times(partial(pair.ours, branch, count), repetitions)
        theirs = {"peft_alora": activated[count - 1], "peft_lora": ordinary[count - 1]}
        points.append(_point(count, {"ours": ours, **theirs}))
        steps.done()
    return points


def _sums(job: Callable[[int], object], count: int, repetitions: int) -> list[list[float]]:
    """Seconds of the first job, of the first two, and so on, in every repetition."""
    runs = []
    for _ in range(repetitions):
        total, sums = 0.0, []
        for i in range(count):
            total += timed(partial(job, i))
            sums.append(total)
        runs.append(sums)
    return [list(at) for at in zip(*runs, strict=True)]


def _throughput(
    engine: Engine, counts: Sequence[int], repetitions: int, steps: Steps
) -> list[Point]:
    """Tokens a second of all conversations that generate at once, prefill included."""
    talks = [_asked(engine, seed) for seed in range(max(counts))]
    network = plain_network()
    prompt = [*talks[0].ids, *talks[0].chat.reply_head(talks[0].roles)]

    def theirs() -> float:
        started = time.perf_counter()
        made = generated(network, prompt, REPLY_TOKENS, engine.chat.end_id)
        return len(made) / (time.perf_counter() - started)

    def ours(count: int) -> float:
        clear(engine)
        fresh = [engine.conversation(talk.messages) for talk in talks[:count]]
        sampling = Sampling(max_tokens=REPLY_TOKENS)
        with ThreadPoolExecutor(count) as threads:
            started = time.perf_counter()
            replies = list(threads.map(lambda talk: engine.generate(talk, sampling), fresh))
            seconds = time.perf_counter() - started
        return sum(len(reply.ids) for reply in replies) / seconds

    alone(theirs)
    theirs_speed = [alone(theirs) for _ in range(repetitions)]
    steps.done()
    ours(1)
    points = []
    for count in counts:
        speed = [ours(count) for _ in range(repetitions)]
        points.append(_point(count, {"ours": speed, "transformers": theirs_speed}))
        steps.done()
    return points


def _asked(engine: Engine, seed: int) -> Conversation:
    def build(room: int) -> Conversation:
        text = _ASK + passage(engine.chat, room, 1 + seed)
        return engine.conversation([Message(role="user", content=text)])

    return fitted(ASKED_TOKENS, build)


def _over_branches(pair: _Pair, prefix: int, counts: Sequence[int], steps: Steps) -> list[Point]:
    """Bytes of a conversation and its branches, each with a tail of its own.

    PEFT's copy is made and weighed once; so many branches would not fit into memory.
    """
    model = pair.engine.model
    clear(pair.engine)
    before = model.tree.allocated_bytes
    _, trunk, cache = pair.prefix(prefix)
    copied = _cache_bytes(copy.deepcopy(cache))
    copied += copied * TAIL_TOKENS // prefix
    first = trunk.fork()  # the first to go on grows the trunk's own room; the branches come after
    points: list[Point] = []
    with torch.inference_mode():
        model.forward([Row((5,), first, store=True)])
        for count in counts:
            forks = [trunk.fork() for _ in range(count)]
            tail = tuple(range(100, 100 + TAIL_TOKENS))
            model.forward([Row(tail, fork, store=True) for fork in forks])
            held = model.tree.allocated_bytes - before
            points.append({"size": count, "ours": held, "peft": count * copied})
            del forks
            clear(pair.engine)
            steps.done()
    return points


def _cache_bytes(cache: Any) -> int:
    """Memory of a DynamicCache; its layers are typed as if they could lack keys."""
    return sum(
        tensor.numel() * tensor.element_size()
        for layer in cache.layers
        for tensor in (layer.keys, layer.values)
    )
