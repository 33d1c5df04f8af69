"""Figures of quality: what every intrinsic's probabilities are worth, and what abstaining gains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Told: TypeAlias = Mapping[str, Any]

INK, MUTED, GRID, ACCENT = "#1f2328", "#59636e", "#d1d9e0", "#0969da"
COLUMNS = 3


def reliability(found: Told, path: Path) -> None:
    """What was claimed against what came true on test, a panel for each intrinsic that ships.

    `found` is parity.json. Changes: the disk.
    """
    curves = {name: told["curves"] for name, told in found.items() if told["curves"]}
    rows = math.ceil(len(curves) / COLUMNS)
    figure = _figure(3.1 * COLUMNS, 3.5 * rows)
    panels = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for panel, (name, told) in zip(panels, curves.items(), strict=False):
        ece = found[name]["judges"]["shipped"]["splits"]["test"]["ece"]
        _diagram(panel, told["reliability"])
        panel.set_title(f"{name}\nECE {ece:.3f}", loc="left", fontsize=10, color=INK)
    for panel in panels[len(curves) :]:
        panel.set_axis_off()
    figure.supxlabel("probability of the label that was found", color=MUTED, fontsize=9)
    figure.supylabel("share right, 95 % interval", color=MUTED, fontsize=9)
    figure.savefig(path, dpi=150)


def risk(name: str, told: Told, path: Path) -> None:
    """How wrong the model is where it answers only above a probability of being right.

    `told` is one intrinsic's part of parity.json. Changes: the disk.
    """
    points = told["curves"]["abstaining"]
    n = told["judges"]["shipped"]["splits"]["test"]["n"]
    figure = _figure(5.4, 3.6)
    axes = figure.subplots()
    coverage = [point["coverage"] for point in points]
    axes.plot(coverage, [point["risk"] for point in points], color=ACCENT, linewidth=1.6)
    everything = points[-1]["risk"]
    axes.axhline(everything, color=MUTED, linestyle=":", linewidth=1.2)
    axes.set_title(
        f"Answers kept at or above a {name}, {n:,} test rows",
        loc="left",
        fontsize=10,
        color=INK,
    )
    axes.set_xlabel("share of questions answered", color=MUTED)
    axes.set_ylabel("share of those answers that are wrong", color=MUTED)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    _style(axes)
    figure.savefig(path, dpi=150)


def _diagram(panel: Axes, bins: Sequence[Told]) -> None:
    most = max(one["count"] for one in bins)
    claimed, true = ([one[key] for one in bins] for key in ("probability", "share"))
    panel.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1.2)
    panel.bar(
        [one["low"] for one in bins],
        [0.12 * one["count"] / most for one in bins],
        width=[one["high"] - one["low"] for one in bins],
        align="edge",
        color=GRID,
        edgecolor="white",
    )
    below = [max(0.0, one["share"] - one["interval"][0]) for one in bins]
    above = [max(0.0, one["interval"][1] - one["share"]) for one in bins]
    panel.errorbar(claimed, true, [below, above], fmt="none", ecolor=ACCENT, alpha=0.55)
    panel.plot(claimed, true, color=ACCENT, marker="o", markersize=4, linewidth=1.4)
    panel.set(xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
    _style(panel)


def _style(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(lambda at, _: f"{at:.0%}")
    axes.yaxis.set_major_formatter(lambda at, _: f"{at:.0%}")
    axes.tick_params(colors=MUTED, labelsize=7)
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # needs no screen
    from matplotlib.figure import Figure as Drawing

    figure = Drawing(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure
