"""Measure what the README claims: writes results/*.json and prints the table.

    python benchmarks/run.py

One heavy process on an otherwise idle machine; about ten minutes on two cores.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from chains.bench.fanout import memory, run

RESULTS = Path(__file__).parent / "results"
ROWS = {
    "ours_seconds": "ours, 8 intrinsics in one forward",
    "ours_one_seconds": "ours, 1 intrinsic",
    "peft_alora_first_token_seconds": "PEFT aLoRA, cache handed over, first tokens",
    "peft_alora_16_tokens_seconds": "PEFT aLoRA, cache handed over, 16-token answers",
    "peft_lora_first_token_seconds": "PEFT LoRA, first tokens",
    "peft_lora_16_tokens_seconds": "PEFT LoRA, 16-token answers",
}


def main() -> None:
    """Run both measurements."""
    RESULTS.mkdir(exist_ok=True)
    kept = memory()
    _write("memory", kept)
    print(f"forking 4,096 tokens added {kept['added_by_forking_bytes']} bytes of KV memory")
    found = run(4096, 8, progress=lambda what, _: print(f"{what} ...", file=sys.stderr))
    _write("fanout", found)
    print("| 4,096 tokens, 8 adapters | median seconds | spread | against ours |")
    print("|---|---|---|---|")
    for key, words in ROWS.items():
        raw = found["raw"][key]
        times = found[key] / found["ours_seconds"]
        print(f"| {words} | {found[key]:.3f} | {min(raw):.3f} to {max(raw):.3f} | {times:.1f} |")


def _write(name: str, found: object) -> None:
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
