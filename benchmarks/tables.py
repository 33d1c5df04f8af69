"""The README's tables, from the results that are kept: prints them.

python benchmarks/tables.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROWS = {
    "ours_seconds": "**ours: 8 intrinsics in one forward**",
    "ours_one_seconds": "ours: 1 intrinsic",
    "peft_alora_first_token_seconds": "PEFT aLoRA, cache handed over: 8 first tokens",
    "peft_alora_16_tokens_seconds": "PEFT aLoRA, cache handed over: 8 answers of 16 tokens",
    "peft_lora_first_token_seconds": "PEFT LoRA: 8 first tokens",
    "peft_lora_16_tokens_seconds": "PEFT LoRA: 8 answers of 16 tokens",
}
JUDGED = {
    ("safety", "test"): "safety",
    ("safety", "test_documents"): "safety, behind a passage",
    ("safety", "test_alarming"): "safety, pairs that sound alike",
    ("answerability", "test"): "answerability, same-article negatives",
    ("answerability", "hard_test"): "answerability, SQuAD 2.0's adversarial ones",
    ("certainty", "test"): "certainty",
}


def speed(results: Path) -> str:
    """How long eight verdicts on 4,096 tokens take."""
    found = _read(results / "fanout.json")
    lines = ["| 4,096 tokens of context | seconds (min to max) | against ours |", "|---|---|---|"]
    for key, words in ROWS.items():
        raw, times = found["raw"][key], found[key] / found["ours_seconds"]
        spread = f"{found[key]:.3f} ({min(raw):.3f} to {max(raw):.3f})"
        lines.append(f"| {words} | {spread} | {times:,.1f} x |")
    return "\n".join(lines)


def quality(results: Path) -> str:
    """What the shipped intrinsics find on test data, beside the base model asked in words."""
    found = _read(results / "quality.json")
    lines = [
        "| intrinsic, test rows | n | accuracy | AUROC | base model asked: accuracy, AUROC |",
        "|---|---|---|---|---|",
    ]
    for (name, rows), words in JUDGED.items():
        told = found[name][rows]
        own, asked = told["intrinsic"], told["prompted"]
        scores = f"{_interval(own, 'accuracy')} | {_interval(own, 'auroc')}"
        base = f"{asked['accuracy']:.3f}, {asked['auroc']:.3f}"
        lines.append(f"| {words} | {own['n']} | {scores} | {base} |")
    return "\n".join(lines)


def _interval(told: dict[str, Any], metric: str) -> str:
    low, high = told["confidence_intervals"][metric]
    return f"{told[metric]:.3f} ({low:.3f} to {high:.3f})"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


if __name__ == "__main__":
    folder = Path(__file__).parent / "results"
    print(speed(folder), quality(folder), sep="\n\n")
