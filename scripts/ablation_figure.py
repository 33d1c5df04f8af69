"""The figure of the ablations: a row for each intrinsic, a panel for each choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = {"accuracy": "#0969da", "auroc": "#bc4c00"}


def draw(found: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Draw every variant's accuracy and AUROC on dev with 95 % intervals. Changes: the disk."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # needs no screen
    from matplotlib.figure import Figure

    counts = Counter(told["axis"] for variants in found.values() for told in variants)
    axes = [axis for axis, count in counts.items() if count > len(found)] or list(counts)
    size = (2.6 * len(axes), 2.6 * len(found))
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(found), len(axes), squeeze=False, sharey="row")
    for row, (name, variants) in zip(panels, found.items(), strict=True):
        row[0].set_ylabel(f"{name}, dev")
        for panel, axis in zip(row, axes, strict=True):
            _panel(panel, axis, [told for told in variants if told["axis"] == axis])
    marks = panels[0][0].get_legend_handles_labels()
    figure.legend(*marks, fontsize=7, loc="outside upper right", ncols=2)
    figure.savefig(path, dpi=150)


def _panel(panel: Axes, axis: str, variants: Sequence[Mapping[str, Any]]) -> None:
    places = range(len(variants))
    line = "-" if all(told["value"][0].isdigit() for told in variants) else ""  # an order to follow
    for shift, (metric, colour) in zip((-0.08, 0.08), METRICS.items(), strict=True):
        values = [told["dev"][metric] for told in variants]
        if None in values:  # a ranking needs a positive label
            continue
        ends = [told["dev"]["confidence_intervals"][metric] for told in variants]
        below = [value - low for value, (low, _) in zip(values, ends, strict=True)]
        above = [high - value for value, (_, high) in zip(values, ends, strict=True)]
        at = [place + shift for place in places]
        panel.errorbar(
            at,
            values,
            yerr=[below, above],
            color=colour,
            marker="o",
            markersize=4,
            linestyle=line,
            label=metric,
        )
    panel.set_xlim(-0.5, len(variants) - 0.5)
    panel.set_xticks(list(places), [told["value"] for told in variants], fontsize=7)
    panel.set_title(axis, loc="left", fontsize=10, fontweight="bold")
    panel.grid(True, axis="y", color="#d0d7de", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
