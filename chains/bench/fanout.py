"""K intrinsics on one long context: ours in one forward, beside PEFT aLoRA and PEFT LoRA."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from intrinsics.adapter import Adapter, LowRank
from intrinsics.checkpoint import Progress, resolve
from intrinsics.device import use_threads
from intrinsics.errors import RequestError
from intrinsics.kv import Branch
from intrinsics.model import Model, Row

from .measure import check_sizes, machine, plain_network, timed
from .peft_peer import PeftPeer, require_peft

RANK, TARGETS, INVOCATION_TOKENS, ANSWER_TOKENS = 32, ("q_proj", "k_proj", "v_proj"), 4, 16
CHEAP = ("ours_seconds", "ours_one_seconds", "peft_alora_first_token_seconds")
SLOW_REPETITIONS = 3  # of the others, which take minutes together


def run(
    context: int, adapters: int, repetitions: int = 5, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure; seconds are medians over repetitions, for all adapters together.

    Raises: RequestError: absurd sizes, or peft is missing.
    """
    check_sizes(context=context, adapters=adapters, repetitions=repetitions)
    require_peft()
    use_threads(None)
    directory = resolve(progress=progress)
    model = Model.load(directory)
    if context + INVOCATION_TOKENS + ANSWER_TOKENS > model.context_tokens:
        raise RequestError(f"context {context} is beyond the model's {model.context_tokens}")
    with tempfile.TemporaryDirectory() as folder:
        activated = [random_adapter(model, i) for i in range(adapters)]
        directories = []
        for i, adapter in enumerate(activated):
            for kind, invocation in (("alora", adapter.invocation), ("lora", None)):
                path = Path(folder) / f"{kind}{i}"
                Adapter(adapter.modules, invocation, adapter.base_model, adapter.alpha).save(path)
                directories.append(path)
        peer = PeftPeer(plain_network(), directories)
        for i in range(adapters):
            model.bank.add(f"alora{i}", Adapter.load(Path(folder) / f"alora{i}"))
        return _measure(model, peer, activated, context, repetitions, progress or _quiet)


def _quiet(_: str, __: float) -> None:
    """No progress is shown."""


def _measure(
    model: Model,
    peer: PeftPeer,
    adapters: Sequence[Adapter],
    context: int,
    repetitions: int,
    progress: Progress,
) -> dict[str, Any]:
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(100, 40000, (context,), generator=random).tolist()
    branch = model.tree.branch()
    with torch.inference_mode():
        model.prefill(branch, ids)
    cache = peer.prefill(ids)
    invocations = [adapter.invocation or () for adapter in adapters]
    names = [f"alora{i}" for i in range(len(adapters))]

    def ours(count: int) -> list[torch.Tensor]:
        with torch.inference_mode():
            return model.forward(invocation_rows(branch, names[:count], invocations))

    def handed_over(tokens: int) -> list[torch.Tensor]:
        pairs = zip(names, invocations, strict=True)
        return [peer.activated(name, cache, ids, tokens) for name, ids in pairs]

    def ordinary(tokens: int) -> None:
        for i, invocation in enumerate(invocations):
            peer.ordinary(f"lora{i}", [*ids, *invocation], tokens)

    apart = max(
        float((a[0] - b).abs().max()) for a, b in zip(ours(len(names)), handed_over(1), strict=True)
    )
    slow = min(repetitions, SLOW_REPETITIONS)
    jobs: dict[str, Callable[[], object]] = {
        "ours_seconds": lambda: ours(len(names)),
        "ours_one_seconds": lambda: ours(1),
        "peft_alora_first_token_seconds": lambda: handed_over(1),
        "peft_alora_16_tokens_seconds": lambda: handed_over(ANSWER_TOKENS),
        "peft_lora_first_token_seconds": lambda: ordinary(1),
        "peft_lora_16_tokens_seconds": lambda: ordinary(ANSWER_TOKENS),
    }
    raw: dict[str, list[float]] = {}
    for i, (name, job) in enumerate(jobs.items()):
        progress(f"measuring {name}", i / len(jobs))
        cheap = name in CHEAP
        if cheap:
            job()  # a warm-up
        raw[name] = [timed(job) for _ in range(repetitions if cheap else slow)]
    medians = {name: statistics.median(values) for name, values in raw.items()}
    return {
        "context": context,
        "adapters": len(names),
        **medians,
        "ratios": _ratios(medians),
        "max_logit_difference": apart,
        "raw": raw,
        "repetitions": {name: len(values) for name, values in raw.items()},
        "machine": machine(),
    }


def invocation_rows(
    branch: Branch, names: Sequence[str], invocations: Sequence[tuple[int, ...]]
) -> list[Row]:
    """One row for each adapter: its invocation on the branch, the last token's logits read."""
    return [
        Row(ids, branch, adapter=name, read=(len(ids) - 1,))
        for name, ids in zip(names, invocations, strict=False)
    ]


def _ratios(medians: dict[str, float]) -> dict[str, float]:
    ours = medians["ours_seconds"]
    ratios = {
        name.removesuffix("_seconds"): seconds / ours
        for name, seconds in medians.items()
        if name.startswith("peft")
    }
    return {**ratios, "ours_all_to_one": ours / medians["ours_one_seconds"]}


def random_adapter(model: Model, seed: int) -> Adapter:
    """Random weights that change the logits visibly, with an invocation of its own."""
    random = torch.Generator().manual_seed(seed)
    modules: dict[str, LowRank] = {}
    for name, linear in model.network.named_modules():
        if isinstance(linear, torch.nn.Linear) and name.rpartition(".")[2] in TARGETS:
            a = torch.randn(RANK, linear.in_features, generator=random) * 0.02
            b = torch.randn(linear.out_features, RANK, generator=random) * 0.02
            modules[name] = LowRank(a, b, 1.0)
    invocation = tuple(1000 + 10 * seed + i for i in range(INVOCATION_TOKENS))
    return Adapter(modules, invocation, "SmolLM2-135M-Instruct", RANK)


def memory(context: int = 4096, branches: int = 8, tail: int = 16) -> dict[str, int]:
    """Bytes of KV memory: of a context, added by forking it, added by writing into the forks."""
    model = Model.load(resolve())
    trunk = model.tree.branch()
    with torch.inference_mode():
        model.prefill(trunk, [1000 + i % 1000 for i in range(context)])
        held = model.tree.allocated_bytes
        forks = [trunk.fork() for _ in range(branches)]
        forked = model.tree.allocated_bytes
        keep = trunk.fork()
        model.forward([Row((5,), keep, store=True)])  # the trunk itself goes on first
        grown = model.tree.allocated_bytes
        rows = [Row(tuple(range(100, 100 + tail)), fork, store=True) for fork in forks]
        model.forward(rows)
    return {
        "context_bytes": held,
        "added_by_forking_bytes": forked - held,
        "added_by_tails_bytes": model.tree.allocated_bytes - grown,
        "tail_tokens": branches * tail,
        "bytes_per_token": held // context,
    }
