"""The reliability diagram as a PNG, for a card or a slide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _MUTED, _GRID, _ACCENT = "#1f2328", "#59636e", "#d1d9e0", "#0969da"


def draw(data: Mapping[str, Any], path: Path) -> None:
    """Draw what was claimed against what came true; two panels where a label is positive.

    Changes: the disk.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # needs no screen
    from matplotlib.figure import Figure

    panels = [(data["reliability"], "Probability of the label that was found", "share right")]
    if data["reliability_positive"]:
        title = f"Probability of {data['positive']!r}"
        panels.append((data["reliability_positive"], title, f"share labelled {data['positive']!r}"))
    figure = Figure(figsize=(4.6 * len(panels), 4.9), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (bins, title, share) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        _panel(axes, bins, title, share)
    figure.suptitle(
        f"{data['intrinsic']['name']}: reliability on {data['n']:,} rows, ECE {data['ece']:.3f}",
        fontsize=12,
        fontweight="bold",
        color=_INK,
        x=0.01,
        ha="left",
        parse_math=False,
    )
    figure.savefig(path, dpi=150)


def _panel(axes: Axes, bins: Sequence[Mapping[str, Any]], title: str, share: str) -> None:
    """Each bin's share with its 95 % interval; how many rows it holds is a bar at the foot."""
    claimed = [one["probability"] for one in bins]
    true = [one["share"] for one in bins]
    most = max(one["count"] for one in bins)
    axes.plot([0, 1], [0, 1], color=_MUTED, linestyle=":", linewidth=1.2)
    axes.bar(
        [one["low"] for one in bins],
        [0.12 * one["count"] / most for one in bins],
        width=[one["high"] - one["low"] for one in bins],
        align="edge",
        color=_GRID,
        edgecolor="white",
    )
    below = [max(0.0, one["share"] - one["interval"][0]) for one in bins]
    above = [max(0.0, one["interval"][1] - one["share"]) for one in bins]
    axes.errorbar(claimed, true, [below, above], fmt="none", ecolor=_ACCENT, alpha=0.55)
    axes.plot(claimed, true, color=_ACCENT, marker="o", markersize=5, linewidth=1.6, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_title(title, loc="left", fontsize=10, color=_INK, parse_math=False)
    axes.set_xlabel("claimed", color=_MUTED)
    axes.set_ylabel(share, color=_MUTED, parse_math=False)
    axes.xaxis.set_major_formatter(lambda at, _: f"{at:.0%}")
    axes.yaxis.set_major_formatter(lambda at, _: f"{at:.0%}")
    axes.tick_params(colors=_MUTED, labelsize=8)
    axes.grid(True, color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
