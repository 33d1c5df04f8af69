"""Where and in what precision a model computes, and on how many threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .errors import BaseModelError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def check_device(device: str) -> None:
    """Raises: BaseModelError: there is no such device here."""
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise BaseModelError(f"device {device!r}: {error}") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise BaseModelError(f"device {device!r}: this torch sees no CUDA device; use 'cpu'")


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on this thread alone.

    OpenMP keeps a pool for every thread that ever computed on several cores, and with two pools
    its workers sleep between operations instead of waiting awake: a decode step takes 1.6 times
    as long. So loading leaves no pool behind, and the engine's thread has the only one.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


def use_threads(count: int | None) -> int:
    """Set how many CPU threads torch computes with; None = all cores this process may use."""
    usable = getattr(os, "sched_getaffinity", None)  # Linux: what this process may use of them
    torch.set_num_threads(count or (len(usable(0)) if usable else os.cpu_count() or 1))
    return torch.get_num_threads()
