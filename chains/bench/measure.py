"""What the benchmarks share: repetitions in turn, medians, models freshly loaded, the machine."""

from __future__ import annotations

import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from intrinsics.checkpoint import Progress, resolve
from intrinsics.engine import Engine
from intrinsics.errors import RequestError

T = TypeVar("T")

Raw = dict[str, list[float]]
"""The seconds of every repetition, by what was measured."""


class Steps:
    """Counts what is done of `total` equal steps, and shows it."""

    def __init__(self, progress: Progress | None, what: str, total: int) -> None:
        self._progress, self._what, self._total = progress, what, total
        self._done = 0
        self._show()

    def done(self) -> None:
        """One more step is done."""
        self._done += 1
        self._show()

    def _show(self) -> None:
        if self._progress is not None:
            self._progress(self._what, min(1.0, self._done / self._total))


def alone(job: Callable[[], T]) -> T:
    """Do a job on a thread that ends with it.

    Two threads that both compute on all cores hold two OpenMP pools, and then both are slow (see
    `docs/decisions.md`). The engine's thread ends with its last request; a peer's does so here.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(job).result()


def timed(job: Callable[[], object]) -> float:
    """Seconds of wall time that a job takes."""
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def alternate(
    jobs: Mapping[str, Callable[[], float]], repetitions: int, steps: Steps | None = None
) -> Raw:
    """Do all jobs in turn, `repetitions` times over; each job returns its own seconds.

    In turn, so that a machine that grows slower or faster does so for all of them.
    """
    raw: Raw = {name: [] for name in jobs}
    for _ in range(repetitions):
        for name, job in jobs.items():
            raw[name].append(job())
            if steps is not None:
                steps.done()
    return raw


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest of repetitions."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """How many times our seconds a peer takes, by the medians."""
    return statistics.median(theirs) / statistics.median(ours)


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that `share` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def check_sizes(**sizes: int) -> None:
    """Raises: RequestError: one of the sizes is below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise RequestError(f"{name.replace('_', ' ')} = {size}; it must be at least 1")


def load(progress: Progress | None, kv_budget: int | None = None) -> Engine:
    """The packaged model with the shipped intrinsics."""
    return Engine.load(progress=progress, kv_budget=kv_budget)


def plain_network() -> PreTrainedModel:
    """The same weights as transformers runs them, float32, with its own attention."""

    def loaded() -> PreTrainedModel:
        network: Any = AutoModelForCausalLM.from_pretrained(
            resolve(), dtype=torch.float32, local_files_only=True
        )
        network.train(False)
        plain: PreTrainedModel = network
        return plain

    return alone(loaded)


def clear(engine: Engine) -> None:
    """Free all keys and values that nobody uses, so that the next repetition reuses nothing."""
    engine.release()


def machine() -> dict[str, str | int]:
    """What the figures were taken on."""
    usable = getattr(os, "sched_getaffinity", None)  # Linux: what this process may use
    found: dict[str, str | int] = {
        "cores": len(usable(0)) if usable else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "python": ".".join(map(str, sys.version_info[:3])),
    }
    for name in ("torch", "transformers", "peft"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # peft, where a benchmark does without it
            continue
    return found
