"""Two intrinsics judged on the same rows: what differs, and whether that could be chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import RequestError
from .metrics import METRICS, Predictions, interval, resamples
from .spec import Definition


@dataclass(frozen=True)
class Difference:
    """A metric of the first minus that of the second, and its paired 95 % bootstrap interval.

    Both are None where the metric is undefined.
    """

    value: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Paired:
    """Two sets of predictions on the same n rows, row by row.

    `mcnemar_p` is how likely so uneven a split of the rows that only one got right is by chance.
    """

    differences: dict[str, Difference]
    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    mcnemar_p: float


def check_comparable(first: Definition, second: Definition) -> None:
    """Raises: RequestError: they are the same, or do not answer the same question."""
    if first.directory.resolve() == second.directory.resolve():
        raise RequestError(
            f"{first.directory}: compared with itself; name another intrinsic or directory"
        )
    for name, ours, theirs in (
        ("labels", set(first.output.labels), set(second.output.labels)),
        ("positive label", first.output.positive, second.output.positive),
    ):
        if ours != theirs:
            raise RequestError(
                f"{second.place('output')}: {_told(theirs)} as {name}, but {_told(ours)} in "
                f"{first.place('output')}; two intrinsics are compared on the same {name}"
            )


def _told(value: set[str] | str | None) -> str:
    return ", ".join(sorted(value)) if isinstance(value, set) else str(value)


def compare(first: Predictions, second: Predictions) -> Paired:
    """The difference of every metric, resampled row by row, and McNemar's exact test."""
    ours, theirs = first.right, second.right
    only_first, only_second = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    return Paired(
        differences=differences(first, second),
        both_right=int((ours & theirs).sum()),
        only_first=only_first,
        only_second=only_second,
        both_wrong=int((~ours & ~theirs).sum()),
        mcnemar_p=mcnemar(only_first, only_second),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided exact p-value: as uneven a split of fair coins, or a more uneven one.

    Source: McNemar, Psychometrika 12 (1947), in its binomial form.
    """
    n, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << n))


def differences(first: Predictions, second: Predictions) -> dict[str, Difference]:
    """Each metric of the first minus that of the second, resampled together over the same rows.

    Source: paired bootstrap, Efron and Tibshirani 1993.
    """
    samples: dict[str, list[float]] = {name: [] for name in METRICS}
    for index in resamples(len(first.truth)):
        pair = first.take(index), second.take(index)
        for name, values in samples.items():
            value = _difference(name, *pair)
            if value is not None:
                values.append(value)
    return {
        name: Difference(_difference(name, first, second), interval(values))
        for name, values in samples.items()
    }


def _difference(name: str, first: Predictions, second: Predictions) -> float | None:
    ours, theirs = METRICS[name](first), METRICS[name](second)
    return None if ours is None or theirs is None else ours - theirs
