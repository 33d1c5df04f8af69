"""The README's tables, from the results that are kept: prints them.

python benchmarks/tables.py
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from chains.bench.measure import percentile, ratio

ROWS = {
    "ours_seconds": "**ours: 8 intrinsics in one forward**",
    "ours_one_seconds": "ours: 1 intrinsic",
    "peft_alora_first_token_seconds": "PEFT aLoRA, cache handed over: 8 first tokens",
    "peft_alora_16_tokens_seconds": "PEFT aLoRA, cache handed over: 8 answers of 16 tokens",
    "peft_lora_first_token_seconds": "PEFT LoRA: 8 first tokens",
    "peft_lora_16_tokens_seconds": "PEFT LoRA: 8 answers of 16 tokens",
}
STAGES = ("prefill", "turns", "intrinsics")
FRAMEWORKS = {
    "chains": "**ours**",
    "langgraph": "LangGraph",
    "burr": "Burr",
    "pydantic_graph": "pydantic-graph",
    "haystack": "Haystack",
}
SPLITS = {  # what each test split is, beside the plain "test"
    "test_documents": "behind a passage",
    "test_alarming": "pairs that sound alike",
    "test_talks": "pairs in the same words",
    "hard_test": "SQuAD 2.0's adversarial ones",
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


def decode(results: Path) -> str:
    """How long one token of one reply takes."""
    found = _read(results / "decode.json")
    lines = ["| a token of one reply | milliseconds (min to max) | against ours |", "|---|---|---|"]
    for point, raw in zip(found["curve"], found["raw"].values(), strict=True):
        at = f"at {point['context']:,} tokens of context"
        ours = raw["ours_step"]
        lines.append(_line(f"**ours**, {at}", ours, ours, 1000))
        lines.append(_line(f"transformers, {at}", raw["transformers_step"], ours, 1000))
    first, watched = found["raw"][str(found["contexts"][0])], found["raw_watcher"]
    each = [seconds / found["tokens"] for seconds in watched["watched"]]
    free = [seconds / found["tokens"] for seconds in watched["free"]]
    lines.append(_line("ours, prefill included", free, first["ours_step"], 1000))
    said = "ours, prefill included, a watcher looking every 24 tokens"
    lines.append(_line(said, each, first["ours_step"], 1000))
    lines.append(
        _line("reading all float32 weights once", read_of(found), first["ours_step"], 1000)
    )
    return "\n".join(lines)


def read_of(found: dict[str, Any]) -> list[float]:
    """The repetitions of the fastest way to read memory."""
    raw = found["raw"][str(found["contexts"][0])]
    ways = [values for name, values in raw.items() if name.startswith("read_")]
    return min(ways, key=statistics.median)


def concurrency(results: Path) -> str:
    """How long many guarded conversations take, one after another and at once."""
    found = _read(results / "concurrency.json")
    lines = [
        f"| {found['conversations']} conversations of {found['context']} tokens | "
        "seconds (min to max) | against at once | tokens/s | first text: median, p95 |",
        "|---|---|---|---|---|",
    ]
    words = {"distinct": "nothing in common", "shared_system": "a system prompt in common"}
    for name, common in words.items():
        told = found["settings"][name]
        raw = told["raw"]
        for mode, said in (("concurrent", "**ours, at once**"), ("sequential", "ours, one by one")):
            first = raw[f"{mode}_ttft"]
            until = f"{statistics.median(first):.2f}, {percentile(first, 0.95):.2f} s"
            line = _line(f"{said}, {common}", raw[mode], raw["concurrent"])
            lines.append(f"{line} {told['tokens_per_second'][mode]:.0f} | {until} |")
    alone = found["transformers_replies_alone_seconds"]
    once = found["settings"]["distinct"]["raw"]["concurrent"]
    line = _line("transformers, one by one, the replies alone", [alone], once)
    return "\n".join([*lines, f"{line} | |"])


def flow(results: Path) -> str:
    """How long a whole conversation with its checks takes."""
    found = _read(results / "flow.json")
    words = {
        "ours": "**ours**",
        "peft_alora": "PEFT aLoRA, cache handed over",
        "peft_lora": "PEFT LoRA",
    }
    lines = [
        f"| six checks and two replies, {found['context']:,} tokens at first | "
        "seconds (min to max) | against ours | prefill, replies, checks |",
        "|---|---|---|---|",
    ]
    for name, said in words.items():
        stages = ", ".join(f"{found['stages'][name][stage]:.2f}" for stage in STAGES)
        line = _line(said, found["raw"][name], found["raw"]["ours"])
        lines.append(f"{line} {stages} |")
    return "\n".join(lines)


def guards(results: Path) -> str:
    """How long a guarded question waits for its first text, or for its refusal."""
    found = _read(results / "guards.json")
    words = {
        "passed beside": "**ours: the guard beside the reply**, first text",
        "passed before": "a check before the reply, first text",
        "passed unguarded": "no guard, first text",
        "blocked beside": "**ours: the guard beside the reply**, refusal",
        "blocked before": "a check before the reply, refusal",
    }
    sizes = " | ".join(f"after {point['context']:,} tokens" for point in found["curve"])
    lines = [f"| milliseconds (min to max) | {sizes} |", "|---" * (len(found["curve"]) + 1) + "|"]
    for name, said in words.items():
        told = (point["seconds"][name] for point in found["curve"])
        cells = (
            f"{one['median'] * 1000:.0f} ({one['min'] * 1000:.0f} to {one['max'] * 1000:.0f})"
            for one in told
        )
        lines.append(f"| {said} | {' | '.join(cells)} |")
    return "\n".join(lines)


def training(results: Path) -> str:
    """How long the training of an adapter takes."""
    found = _read(results / "training.json")
    rows = f"{found['examples']} rows of {found['tokens']:.0f} tokens, {found['epochs']} epochs"
    lines = [f"| {rows} | seconds (min to max) | against ours |", "|---|---|---|"]
    for name, said in (("ours", "**ours**"), ("peft", "PEFT, the same aLoRA")):
        lines.append(_line(said, found["raw"][name], found["raw"]["ours"]))
    return "\n".join(lines)


def overhead(results: Path) -> str:
    """What a node costs beside its work, plain and recorded."""
    found = _read(results / "overhead.json")
    names = [name for name in FRAMEWORKS if name in found["versions"]]
    titles = " | ".join(FRAMEWORKS[name] for name in names)
    lines = [f"| microseconds a node (min to max) | {titles} |", "|---" * (len(names) + 1) + "|"]
    for kind, recorded in (("us_per_node", ""), ("us_per_node_recorded", ", recorded")):
        for point in found["curve"]:
            cells = " | ".join(_microseconds(point[kind][name]) for name in names)
            lines.append(f"| {point['nodes']:,} nodes{recorded} | {cells} |")
    return "\n".join(lines)


def _microseconds(told: dict[str, Any] | None) -> str:
    if told is None:
        return "-"
    return f"{told['median']:,.0f} ({told['min']:,.0f} to {told['max']:,.0f})"


def quality(results: Path) -> str:
    """What the shipped intrinsics find on test data, beside what they have to beat."""
    lines = [
        "| intrinsic, test rows | n | accuracy | AUROC | ECE | TF-IDF | base model asked |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, told in _read(results / "parity.json").items():
        if "shipped" not in (judges := told["judges"]):
            continue
        for split in (one for one in judges["shipped"]["splits"] if one != "dev"):
            own, words, asked = (
                judges[judge]["splits"][split] for judge in ("shipped", "tfidf", "prompted")
            )
            what = f"{name}, {SPLITS[split]}" if split in SPLITS else name
            scores = f"{_interval(own, 'accuracy')} | {_interval(own, 'auroc')} | {own['ece']:.3f}"
            others = f"{words['accuracy']:.3f} | {asked['accuracy']:.3f}"
            lines.append(f"| {what} | {own['n']} | {scores} | {others} |")
    return "\n".join(lines)


def tables(results: Path) -> str:
    """All tables whose results are there."""
    drawn = {
        "fanout": speed,
        "decode": decode,
        "concurrency": concurrency,
        "flow": flow,
        "guards": guards,
        "training": training,
        "overhead": overhead,
        "parity": quality,
    }
    there = (draw for name, draw in drawn.items() if (results / f"{name}.json").is_file())
    return "\n\n".join(draw(results) for draw in there)


def _line(said: str, raw: list[float], ours: list[float], scale: int = 1) -> str:
    """Three cells: what was measured, its seconds times `scale`, and how many times ours."""
    digits = 1 if scale > 1 else 2
    middle, times = statistics.median(raw) * scale, ratio(raw, ours)
    ends = f"{min(raw) * scale:.{digits}f} to {max(raw) * scale:.{digits}f}"
    return f"| {said} | {middle:.{digits}f} ({ends}) | {times:,.1f} x |"


def _interval(told: dict[str, Any], metric: str) -> str:
    low, high = told["confidence_intervals"][metric]
    return f"{told[metric]:.3f} ({low:.3f} to {high:.3f})"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


if __name__ == "__main__":
    print(tables(Path(__file__).parent / "results"))
