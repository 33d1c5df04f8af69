"""The figure of the scaling curves: four panels, every line named where it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intrinsics.errors import RequestError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = Sequence[Mapping[str, Any]]
Curves = Mapping[str, Points]

FILE = "scaling.png"
# On white and on GitHub's dark page alike: the figure brings its own white ground.
_COLOURS = {
    "ours": "#0969da",
    "peft_alora": "#bc4c00",
    "peft_lora": "#cf222e",
    "peft": "#cf222e",
    "transformers": "#bc4c00",
    "reference": "#8c959f",
}
_NAMES = {
    "ours": "ours",
    "peft_alora": "PEFT aLoRA",
    "peft_lora": "PEFT LoRA",
    "peft": "PEFT, a copy each",
    "transformers": "transformers, one by one",
}


def check_matplotlib() -> None:
    """Raises: RequestError: matplotlib, an extra, is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise RequestError(
            "the figure needs matplotlib: pip install 'alora-chains[bench]'"
        ) from error


def check_can_draw(folder: Path) -> None:
    """Raises: RequestError: matplotlib is not installed, or the folder can't be made."""
    check_matplotlib()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{folder}: can't be made ({error}); give another --out") from error


def draw(curves: Curves, prefix: int, folder: Path) -> Path:
    """Write the figure of all curves; return its path. Changes: the disk."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # needs no screen
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    (contexts, intrinsics), (conversations, branches) = figure.subplots(2, 2)
    _panel(contexts, curves["context"], "One check on a cached context", "tokens of context")
    contexts.set_ylabel("seconds")
    title = f"Several checks on {prefix:,} cached tokens"
    _panel(intrinsics, curves["intrinsics"], title, "intrinsics")
    intrinsics.set_ylabel("seconds")
    _panel(conversations, curves["conversations"], "Replies at once", "conversations", "linear")
    conversations.set_ylabel("tokens a second, all together")
    held = [
        {name: at if name == "size" else at / 1e6 for name, at in point.items() if name != "raw"}
        for point in curves["branches"]
    ]
    _panel(branches, held, f"Branches of {prefix:,} tokens", "branches")
    branches.set_ylabel("MB of keys and values")
    path = folder / FILE
    figure.savefig(path, dpi=150)
    return path


def _panel(
    axes: Axes,
    points: Points,
    title: str,
    size: str,
    ideal: str = "constant",
) -> None:
    """A curve for each side, both axes logarithmic, beside a linear and a constant one."""
    sizes = [point["size"] for point in points]
    ours = points[0]["ours"]
    references: dict[str, Callable[[float], float]] = {
        "linear": lambda at: ours * at / sizes[0],
        "constant": lambda _: ours,
    }
    ends: list[tuple[float, str, str]] = []
    for name, way in references.items():
        values = [way(at) for at in sizes]
        axes.plot(sizes, values, color=_COLOURS["reference"], linestyle=":", linewidth=1.2)
        told = f"{name} (ideal)" if name == ideal else name
        ends.append((values[-1], told, _COLOURS["reference"]))
    for name in points[0]:
        if name not in ("size", "raw"):
            values = [point[name] for point in points]
            width = 2.6 if name == "ours" else 1.6
            axes.plot(
                sizes, values, color=_COLOURS[name], marker="o", linewidth=width, markersize=4
            )
            ends.append((values[-1], _NAMES[name], _COLOURS[name]))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{at:,.0f}" for at in sizes])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(size)
    axes.grid(True, color="#d0d7de", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    _name_ends(axes, sizes[-1], ends)


def _name_ends(axes: Axes, at: float, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write each line's name beside its end, pushed apart where two would touch."""
    low, high = axes.get_ylim()
    apart = (high / low) ** 0.055
    height = 0.0
    for value, name, colour in sorted(ends):
        height = max(value, height * apart)
        axes.annotate(
            name,
            (at, height),
            xytext=(8, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=9,
            annotation_clip=False,
        )
