"""Measure what the README claims: writes results/*.json and prints the table.

    python benchmarks/run.py

One heavy process on an otherwise idle machine; about ten minutes on two cores.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from tables import speed

from chains.bench.fanout import memory, run

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run all measurements."""
    RESULTS.mkdir(exist_ok=True)
    _write("startup", startup())
    kept = memory()
    _write("memory", kept)
    print(f"forking 4,096 tokens added {kept['added_by_forking_bytes']} bytes of KV memory")
    _write("fanout", run(4096, 8, progress=lambda what, _: print(f"{what} ...", file=sys.stderr)))
    print(speed(RESULTS))


def startup(repetitions: int = 5) -> dict[str, object]:
    """Process seconds until the engine is ready in a fresh process, imports of torch aside."""
    code = (
        "import time, torch, transformers; from transformers import AutoModelForCausalLM; "
        "started = time.process_time(); from chains.commands.common import load_engine; "
        "load_engine(None, None); print(time.process_time() - started)"
    )
    raw = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(repetitions)
    ]
    return {"ready_process_seconds": statistics.median(raw), "raw": raw}


def _write(name: str, found: object) -> None:
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
