"""The tables of docs/quality.md and of the cards, and the figures, from the results that are kept.

    python scripts/tables_quality.py

Each place begins with `<!-- table: NAME -->` and ends with `<!-- end -->`; a card has one, `card`.
What was not measured yet is said so. A test compares the pages with the results.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from intrinsics.text_metrics import TEXT_METRICS
from quality_figures import reliability, risk

Told: TypeAlias = Mapping[str, Any]

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "quality.md"
LIBRARY = ROOT / "library" / "intrinsics"
RELIABILITY, RISK = (ROOT / "docs" / f"{name}.png" for name in ("reliability", "risk"))
RESULTS = ROOT / "benchmarks" / "results"
IN_CARD = ("shipped", "alora", "lora", "tfidf", "prompted")
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
METRICS = ("accuracy", "balanced_accuracy", "f1", "auroc", "ece")
TITLES = ("accuracy", "balanced accuracy", "F1", "AUROC", "ECE")
JUDGES = {
    "majority": "commonest label",
    "length": "lengths alone",
    "tfidf": "TF-IDF, logistic regression",
    "prompted": "base model asked",
    "lora": "PEFT LoRA",
    "alora": "**aLoRA, same rows**",
    "shipped": "**shipped aLoRA**",
}
WRITERS = ("query_rewrite",)  # intrinsics that write, each with what `chains eval` found on test
LACKING = "Not measured yet."
POINT = 0.01  # the aim: no more than this below the LoRA's accuracy


def parity(found: Told) -> str:
    """Every judge on every test split, all scores with their intervals."""
    lines = [_cells("intrinsic, split (n)", "judge", *TITLES), _rule(7)]
    for name, split, splits in _splits(found):
        for judge, words in JUDGES.items():
            if judge in splits:
                told = splits[judge]
                scores = [_interval(told, metric) for metric in METRICS]
                lines.append(_cells(f"{name}, {split} ({told['n']})", words, *scores))
    return "\n".join(lines)


def against_lora(found: Told) -> str:
    """Ours minus the LoRA, resampled together, and whether it is within a point."""
    head = ("intrinsic, split (n)", "accuracy", "AUROC", "ECE", "within 1 point or above")
    lines = [_cells(*head), _rule(len(head))]
    for name, told in found.items():
        for split, apart in told["alora_minus"].get("lora", {}).items():
            n = told["judges"]["alora"]["splits"][split]["n"]
            cells = [_apart(apart[metric]) for metric in ("accuracy", "auroc", "ece")]
            reached = apart["accuracy"]["difference"] >= -POINT
            lines.append(_cells(f"{name}, {split} ({n})", *cells, "yes" if reached else "**no**"))
    return "\n".join(lines) if len(lines) > 2 else LACKING


def chosen(found: Told) -> str:
    """How many runs each judge had on dev, and what it settled on.

    By rank: balanced accuracy (AUROC) on dev.
    """
    head = ("intrinsic", "train, dev rows", "judge", "runs", "chosen on dev", "by rank")
    lines = [_cells(*head), _rule(len(head))]
    for name, told in found.items():
        settings = told["settings"]
        rows = f"{settings['examples']:,}, {settings['dev_examples']:,}"
        for judge, words in JUDGES.items():
            if judge in told["judges"]:
                choice = told["judges"][judge]["chosen"]
                hidden = ("runs", "tried", "dev_balanced_accuracy", "dev_auroc")
                said = [f"{k.replace('_', ' ')} {v}" for k, v in choice.items() if k not in hidden]
                runs = str(choice.get("runs", ""))
                ranks = ", ".join(_rank(one) for one in choice.get("tried", ()))
                lines.append(_cells(name, rows, words, runs, ", ".join(said), ranks))
    return "\n".join(lines)


def sources(found: Told) -> str:
    """The shipped one on each source of a split with several, beside LoRA and TF-IDF."""
    head = ("intrinsic, split", "source", "n", "shipped: accuracy", "AUROC", "LoRA", "TF-IDF")
    lines = [_cells(*head), _rule(len(head))]
    for name, split, splits in _splits(found):
        for source, told in splits.get("shipped", {}).get("by_source", {}).items():
            others = [
                _number(splits[judge]["by_source"][source]["accuracy"]) if judge in splits else ""
                for judge in ("lora", "tfidf")
            ]
            own = (_interval(told, "accuracy"), _interval(told, "auroc"))
            lines.append(_cells(f"{name}, {split}", source, str(told["n"]), *own, *others))
    return "\n".join(lines)


def false_alarms(found: Told) -> str:
    """The share of rows without the positive label that are found positive, at the likelier label.

    For safety these are benign prompts that are flagged.
    """
    judges = [judge for judge in JUDGES if judge != "majority"]
    head = ("intrinsic, split (rows of other labels)", *(JUDGES[judge] for judge in judges))
    lines = [_cells(*head), _rule(len(head))]
    for name, split, splits in _splits(found):
        negatives = next(iter(splits.values()))["negatives"]
        if negatives:
            alarms = [
                _interval(splits[judge], "false_positive_rate") if judge in splits else ""
                for judge in judges
            ]
            lines.append(_cells(f"{name}, {split} ({negatives})", *alarms))
    return "\n".join(lines)


def calibration(found: Told) -> str:
    """The ECE of each shipped intrinsic beside what chance alone gives a perfect one."""
    head = ("intrinsic, split (n)", "ECE", "a perfect one's, by chance")
    lines = [_cells(*head), _rule(len(head))]
    for name, split, splits in _splits(found):
        if "shipped" in splits:
            told = splits["shipped"]
            chance = told["ece_if_perfect"]
            perfect = f"{chance['mean']:.3f}, at most {chance['at_most']:.3f}"
            lines.append(_cells(f"{name}, {split} ({told['n']})", _interval(told, "ece"), perfect))
    return "\n".join(lines)


def card(told: Told) -> str:
    """One intrinsic beside what it has to beat on every test split, then itself by source."""
    lines = [_cells("split (n)", "", *TITLES), _rule(7)]
    found = {"": told}
    for _, split, splits in _splits(found):
        for judge in (one for one in IN_CARD if one in splits):
            scores = [_interval(splits[judge], metric) for metric in METRICS]
            lines.append(_cells(f"{split} ({splits[judge]['n']})", JUDGES[judge], *scores))
    rows = []
    for _, split, splits in _splits(found):
        for source, one in splits["shipped"].get("by_source", {}).items():
            scores = [_interval(one, metric) for metric in ("accuracy", "auroc")]
            rows.append(_cells(split, source, str(one["n"]), *scores))
    if rows:
        head = _cells("split", "source of the rows", "n", "shipped: accuracy", "AUROC")
        lines += ["", head, _rule(5), *rows]
    return "\n".join(lines)


def written(told: Told) -> str:
    """What an intrinsic writes on test, beside the last message as it is and the base model."""
    lines = [_cells("test rows", "", "exact match", "token F1", "ROUGE-L"), _rule(5)]
    judged = {
        "**shipped aLoRA**": told,
        "last message, unchanged": told["baseline_unchanged"],
        JUDGES["prompted"]: told["baseline_prompted"],
    }
    for words, one in judged.items():
        scores = [_interval(one, metric) for metric in TEXT_METRICS]
        lines.append(_cells(str(told["n"]), words, *scores))
    lines += ["", _cells("source of the rows", "n", "exact match", "token F1", "ROUGE-L"), _rule(5)]
    for source, one in told["by_source"].items():
        scores = [_number(one[metric]) for metric in TEXT_METRICS]
        lines.append(_cells(source, str(int(one["n"])), *scores))
    return "\n".join(lines)


def ablations(found: Told) -> str:
    """Every variant on dev."""
    head = ("intrinsic", "choice", "variant", "n", "accuracy", "AUROC")
    lines = [_cells(*head), _rule(len(head))]
    for name, variants in found.items():
        for one in sorted(variants, key=lambda one: str(one["axis"])):
            dev = one["dev"]
            scores = (_interval(dev, "accuracy"), _interval(dev, "auroc"))
            lines.append(_cells(name, one["axis"], one["value"], str(dev["n"]), *scores))
    return "\n".join(lines)


TABLES: Mapping[str, tuple[str, Callable[[Told], str]]] = {
    "parity": ("parity", parity),
    "against_lora": ("parity", against_lora),
    "chosen": ("parity", chosen),
    "sources": ("parity", sources),
    "false_alarms": ("parity", false_alarms),
    "calibration": ("parity", calibration),
    "query_rewrite": ("query_rewrite", written),
    "parity_hard": ("parity_hard", parity),
    "ablations": ("ablations", ablations),
    "ablations_hard": ("ablations_hard", ablations),
}


def filled(page: str, results: Path) -> str:
    """The page with every table in its place."""

    def fill(place: re.Match[str]) -> str:
        file, draw = TABLES[place[2]]
        path = results / f"{file}.json"
        table = draw(_read(path)) if path.is_file() else LACKING
        return f"{place[1]}{table}\n{place[3]}"

    return PLACE.sub(fill, page)


def filled_card(text: str, told: Told) -> str:
    """A card with its table in its place."""
    table = card(told) if "judges" in told else written(told)
    return PLACE.sub(lambda place: f"{place[1]}{table}\n{place[3]}", text)


def measured(name: str) -> Told:
    """What is kept of an intrinsic's quality."""
    if name in WRITERS:
        return _read(RESULTS / f"{name}.json")
    found: Told = _read(RESULTS / "parity.json")[name]
    return found


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _splits(found: Told) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Intrinsic, test split, and each judge's scores there."""
    for name, told in found.items():
        judges = told["judges"]
        for split in next(iter(judges.values()))["splits"]:
            if split != "dev":
                yield name, split, {judge: one["splits"][split] for judge, one in judges.items()}


def _interval(told: Told, metric: str) -> str:
    if told[metric] is None:
        return ""
    low, high = told["confidence_intervals"][metric]
    return f"{told[metric]:.3f} ({low:.3f} to {high:.3f})"


def _apart(told: Told) -> str:
    if told["difference"] is None:
        return ""
    low, high = told["confidence_interval"]
    return f"{told['difference']:+.3f} ({low:+.3f} to {high:+.3f})"


def _rank(one: Told) -> str:
    return f"{one['rank']}: {_number(one['dev_balanced_accuracy'])} ({_number(one['dev_auroc'])})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns


def main() -> None:
    """Write the page, the cards and the figures."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")
    found = _read(RESULTS / "parity.json")
    for name in (*WRITERS, *(name for name, told in found.items() if told["curves"])):
        path = LIBRARY / name / "CARD.md"
        path.write_text(filled_card(path.read_text(encoding="utf-8"), measured(name)), "utf-8")
    for name, told in found.items():
        if "abstaining" in told["curves"]:
            risk(name, told, RISK)
    reliability(found, RELIABILITY)


if __name__ == "__main__":
    main()
