"""The report as one HTML page without scripts and without anything from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from intrinsics.metrics import METRICS

CLIPPED = 320
COVERAGES = (0.5, 0.7, 0.8, 0.9, 1.0)
_TEMPLATES = Path(__file__).parent / "templates"
_TOPS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
_NAMES = {"f1": "F1", "auroc": "AUROC", "ece": "calibration error (ECE)"}
_MINUS = "\N{MINUS SIGN}"
_SPACE = "\N{NO-BREAK SPACE}"


def render(data: Mapping[str, Any]) -> str:
    """The page of a report. Everything that rows or definitions say is escaped."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "at_coverages": at_coverages,
        "clip": clip,
        "day": lambda iso: datetime.fromisoformat(iso).strftime("%d %B %Y, %H:%M UTC"),
        "duration": duration,
        "metric": lambda name: _NAMES.get(name, name.replace("_", " ")),
        "number": number,
        "occurring": occurring,
        "p_value": p_value,
        "percent": percent,
        "points": points,
        "signed": signed,
        "top": top,
    }
    scores = {name: data[name] for name in METRICS}
    view = {**data, "scores": scores, "span": _span(data["against"])}
    return environment.get_template("page.html.j2").render(view)


def _span(against: Mapping[str, Any] | None) -> float:
    """How far from zero the differences are drawn: a round number beyond all intervals."""
    if against is None:
        return 1.0
    intervals = [one["interval"] or (0.0,) for one in against["paired"]["differences"].values()]
    return top([abs(end) for interval in intervals for end in interval])


def percent(share: float, digits: int = 1) -> str:
    """0.883 as 88.3 %."""
    return f"{100 * share:.{digits}f}{_SPACE}%"


def number(value: float | None) -> str:
    """A score with three digits."""
    return "undefined" if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """A difference of scores with its sign."""
    return "undefined" if value is None else f"{value:+.3f}".replace("-", _MINUS)


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", _MINUS)


def p_value(p: float) -> str:
    """A p-value, never as 0."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def duration(seconds: float) -> str:
    """Seconds of wall time in the unit that suits them."""
    if seconds >= 100:
        return f"{seconds / 60:.1f}{_SPACE}min"
    if seconds >= 1:
        return f"{seconds:.2f}{_SPACE}s"
    return f"{1000 * seconds:.{0 if seconds >= 0.1 else 1}f}{_SPACE}ms"


def clip(text: str, most: int = CLIPPED) -> str:
    """The beginning of a text, cut between words where it can be."""
    if len(text) <= most:
        return text
    head, _, rest = text[:most].rpartition(" ")
    return f"{head or rest} …"


def top(values: Iterable[float]) -> float:
    """A round number that no share of the values is above."""
    most = max(values)
    return next(limit for limit in _TOPS if limit >= most)


def at_coverages(curve: Sequence[Mapping[str, float]]) -> list[tuple[float, Mapping[str, float]]]:
    """The first point of a risk-coverage curve that answers at least each of `COVERAGES`."""
    return [
        (least, next(point for point in curve if point["coverage"] >= least - 1e-9))
        for least in COVERAGES
    ]


def occurring(matrix: Sequence[Sequence[int]]) -> list[int]:
    """The labels that are some row's label or were found for one, by index."""
    return [i for i, row in enumerate(matrix) if any(row) or any(other[i] for other in matrix)]
