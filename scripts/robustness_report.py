"""The page and the figure of what `robustness.py` measured.

    python scripts/robustness_report.py RESULTS.json PAGE.md

Writes PAGE.md, and the figure beside RESULTS.json under the same name with .png.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.backends.backend_agg import FigureCanvasAgg  # needs no screen
from matplotlib.figure import Figure

from perturb import CLAIMS, CONTEXT_TOKENS, LANGUAGES, PLACES, SAID, TYPO_SHARES

Results: TypeAlias = Mapping[str, Any]

_DIRECTIONS = {"against": "against the truth", "towards": "towards the truth"}
_PLACED = {"question": "in the user's message", "document": "in a document"}
_SAYING = {name: f"“{text}”".replace("\n", " ") for name, text in SAID.items()}
_SAYING["claim"] = "a claim in plain words"
_COMPARED = {
    "first": "two documents after the only one",
    "middle": "the one that matters from first to second of three",
    "last": "the one that matters from first to third of three",
}
WORDS = {
    **{f"typos_{share:.0%}".rstrip("%"): f"typing errors, {share:.0%}" for share in TYPO_SHARES},
    "upper_case": "UPPER CASE",
    "lower_bare": "lower case, no punctuation",
    "polite": "a polite opener",
    "terse": "terse",
    "synonyms": "synonyms and contractions",
    "own_paraphrase": "paraphrase by the base model",
    **{f"language_{code}": f"in {language}" for code, language in LANGUAGES.items()},
    **{f"turns_{n}": f"{n:,} tokens of other turns before" for n in CONTEXT_TOKENS},
    **{f"documents_{n}": f"{n:,} tokens of other documents before" for n in CONTEXT_TOKENS},
    **{f"three_documents_{place}": _COMPARED[place] for place in PLACES},
    **{
        f"{place}_{said}_{direction}": f"{words}, {where}, {way}"
        for place, where in _PLACED.items()
        for said, words in _SAYING.items()
        for direction, way in _DIRECTIONS.items()
        if (place, said) != ("question", "claim")
    },
}

_INTRODUCTION = """\
# Robustness

How verdicts move when the text changes and the truth does not, on development rows. Written by \
`scripts/robustness_report.py` from `{results}`; measured by

    python scripts/robustness.py DATA {results} --rows {rows} --seed {seed}

where `DATA/NAME/dev.jsonl` are the files that the `scripts/*_data.py` write. Each change is tried \
on at most {rows} rows that it applies to, labels and sources evenly, seed {seed}. The change of \
accuracy has a 95 % paired bootstrap interval over rows; *flipped* is the share of verdicts that \
became another; *moved* is the mean absolute change of the true label's probability; AUROC is \
before and after. Changes are many: about one interval in twenty leaves out zero by chance.

![Accuracy before and after each change]({figure})

## What the changes are

- **Wording** changes the last user message alone. Typing errors are keys beside the right one, \
letters lost and letters doubled, in {typos} of the characters. Openers, terse forms, synonyms \
and contractions are rules and small tables (`scripts/rewording.py`), so they stay near the \
original. *Paraphrase by the base model* is what it writes itself when asked for other words; a \
rewording counts if it keeps names, numbers and half of the content words (n tells how many did). \
Most are near copies, and nobody read them all: a few change the meaning a little.
- **Languages**: 16 prompts for safety and 16 questions with passages for answerability, written \
for the project in English and five languages (`scripts/data/languages.jsonl`), compared with the \
English original. Sixteen rows tell large effects only.
- **Context before**: passages of other articles, as earlier turns or as documents in front. The \
rows' own system messages are left out on both sides. All rows share a few contexts, the shorter \
ones beginnings of the longer. Where an intrinsic needs documents, turns are tried up to 512 tokens.
- **Documents in another order**: two passages of other articles are put around the only one; the \
first place is compared with the document alone, the other places with the first.
- **Injected text** imitates a verdict, at the end of the last document or of the last user \
message. The claims are {claims}. A row without documents has an unrelated passage on both sides. \
In a user's message such text is part of what safety judges; the label is left as it was.
"""


def page(found: Results, results: str, figure: str) -> str:
    """The page in Markdown; `results` and `figure` are the paths to name."""
    rows = " or ".join(sorted({str(told["rows"]) for told in found.values()}))
    seed = " or ".join(sorted({str(told["seed"]) for told in found.values()}))
    parts = [
        _INTRODUCTION.format(
            results=results,
            figure=figure,
            rows=rows,
            seed=seed,
            typos=", ".join(f"{share:.0%}" for share in TYPO_SHARES),
            claims=", ".join(f"“{claim}”" for claim in CLAIMS.values()),
        )
    ]
    for name, told in found.items():
        parts.append(f"## {name}\n\n{summary(told['perturbations'])}\n")
        parts.append(table(told["perturbations"]) + "\n")
    return "\n".join(parts)


def summary(changes: Results) -> str:
    """Which changes cost or gain accuracy beyond their interval, the worst first."""
    ranked = sorted(changes.items(), key=lambda item: item[1]["difference"])
    lost = [_told(name, one) for name, one in ranked if one["interval"][1] < 0]
    gained = [_told(name, one) for name, one in reversed(ranked) if one["interval"][0] > 0]
    flipped = max(changes, key=lambda name: float(changes[name]["flipped"]))
    lines = [f"Accuracy falls under: {'; '.join(lost)}." if lost else "No change lowers accuracy."]
    if gained:
        lines.append(f"It rises under: {'; '.join(gained)}.")
    share = changes[flipped]["flipped"]
    lines.append(f"Most verdicts flip under: {WORDS[flipped]} ({share:.0%}).")
    return " ".join(lines)


def _told(name: str, one: Results) -> str:
    return f"{WORDS[name]} ({one['difference']:+.2f})"


def table(changes: Results) -> str:
    """One line for each change."""
    lines = [
        "| change | n | accuracy before | after | difference | flipped | moved | AUROC |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in changes.items():
        low, high = one["interval"]
        ranks = ", ".join(
            "none" if one[key] is None else f"{one[key]:.3f}"
            for key in ("auroc_before", "auroc_after")
        )
        lines.append(
            f"| {WORDS[name]} | {one['n']} | {one['accuracy_before']:.3f} | "
            f"{one['accuracy_after']:.3f} | {one['difference']:+.3f} ({low:+.3f} to {high:+.3f}) | "
            f"{one['flipped']:.3f} | {one['moved']:.3f} | {ranks} |"
        )
    return "\n".join(lines)


def draw(found: Results, path: Path) -> None:
    """A panel for each intrinsic: accuracy before (hollow) and after (filled) each change.

    Changes: the disk.
    """
    names = [
        name for name in WORDS if any(name in told["perturbations"] for told in found.values())
    ]
    size = (4 + 3 * len(found), 1.2 + 0.24 * len(names))
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (intrinsic, told) in zip(panels, found.items(), strict=True):
        for y, name in enumerate(names):
            one = told["perturbations"].get(name)
            if one is None:
                continue
            before, after = one["accuracy_before"], one["accuracy_after"]
            colour = "#cf222e" if one["interval"][1] < 0 else "#0969da"
            axes.plot([before, after], [y, y], color=colour, linewidth=1.6)
            axes.plot(before, y, "o", markersize=5, color=colour, markerfacecolor="white")
            axes.plot(after, y, "o", markersize=5, color=colour)
        axes.set_title(intrinsic, loc="left", fontsize=11, fontweight="bold")
        axes.set_xlabel("accuracy before (○) and after (●)")
        axes.set_xlim(0, 1.02)
        axes.grid(True, axis="both", color="#d0d7de", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(names)), [WORDS[name] for name in names], fontsize=8)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    figure.savefig(path, dpi=120)


def main(results: Path, target: Path) -> None:
    """Write both."""
    found = json.loads(results.read_text())
    figure = results.with_suffix(".png")
    draw(found, figure)
    beside = Path(os.path.relpath(figure, target.parent)).as_posix()
    target.write_text(page(found, results.as_posix(), beside), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
