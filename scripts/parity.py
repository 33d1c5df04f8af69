"""Every intrinsic beside what it has to beat, on the same rows, with intervals for every figure.

    python scripts/parity.py DATA OUT.json [NAME ...] [options]

DATA/NAME holds train.jsonl, dev.jsonl, test.jsonl and perhaps test_*.jsonl and hard_test.jsonl.
Judges: the commonest label, lengths alone, TF-IDF with logistic regression, the base model asked
in words (best of three questions), a LoRA trained with PEFT and an Activated LoRA trained on the
same rows with the same settings (rank and learning rate chosen on dev), and the shipped Activated
LoRA, which learnt from more. All choose on the same development rows; all but the last, which
ships calibrated, get a temperature fitted there.

What each judge said of each row is kept in the cache folder. A judge that is there is not run
again, a killed LoRA goes on from its last epoch, and OUT.json keeps what is not measured again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from activated import Activated
from baselines import length_only, majority, tfidf
from intrinsics.checkpoint import resolve
from intrinsics.curves import reliability, risk_coverage
from intrinsics.engine import Engine
from intrinsics.metrics import Predictions
from intrinsics.train_settings import TrainSettings
from peft_lora import grid, lora
from questions import asked, questions
from scores import calibrate, difference, scores
from task import Found, Log, Task, classifiers, read_task

JUDGES = ("majority", "length", "tfidf", "prompted", "lora", "alora", "shipped")
TRAINED = ("lora", "alora")  # on --examples of the rows; the others learn from all
ROWS = ("labels", "positive", "all_examples", "dev_examples")  # settings that tell the rows
RISK_POINTS = 200
CACHE = Path.home() / ".cache" / "alora-chains" / "parity"
Judge = Callable[[], Found]


def main() -> None:
    """Measure what is lacking, and write."""
    given = arguments()
    engine, log = Engine.load(folders=given.intrinsics), Log()
    found: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    for name in given.names or classifiers(engine.catalogue, given.data, "train"):
        definition = engine.catalogue.get(name)
        task = read_task(given.data / name, definition, given.examples, given.dev_examples)
        judged = judge_all(engine, load_network, task, given, log)
        settings = _settings(given, task)
        found[name] = joined(found.get(name), {"settings": settings, **compared(task, judged)})
        given.out.parent.mkdir(parents=True, exist_ok=True)
        fresh = given.out.with_suffix(".part")
        fresh.write_text(json.dumps(found, indent=2) + "\n")
        fresh.replace(given.out)


def joined(before: Mapping[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """What was found now, with the judges of an earlier run on the same rows that were not run."""
    if before is None or any(before["settings"][key] != now["settings"][key] for key in ROWS):
        return now
    old = {part: dict(before[part]) for part in ("judges", "alora_minus", "curves")}
    anew = set(now["judges"])
    if before["settings"]["examples"] != now["settings"]["examples"]:
        anew |= set(TRAINED)
        for judge in TRAINED:
            old["judges"].pop(judge, None)
    old["alora_minus"] = {
        judge: apart
        for judge, apart in old["alora_minus"].items()
        if not {"alora", judge} & anew  # else one of the two was another when they were compared
    }
    settings = now["settings"] if set(TRAINED) & set(now["judges"]) else before["settings"]
    return {"settings": settings, **{part: {**old[part], **now[part]} for part in old}}


def compared(task: Task, judged: Mapping[str, Found]) -> dict[str, Any]:
    """The scores of every judge on every split, and the Activated LoRA minus each of the others."""
    verdicts: dict[str, dict[str, Predictions]] = {}
    told: dict[str, Any] = {"judges": {}, "alora_minus": {}, "curves": {}}
    for judge, found in judged.items():
        calibration, verdicts[judge] = calibrate(task, found)
        told["judges"][judge] = {
            "chosen": dict(found.chosen),
            "calibration": calibration.model_dump(),
            "splits": {
                split: scores(rows, verdicts[judge][split]) for split, rows in task.splits.items()
            },
        }
    if "shipped" in verdicts:
        told["curves"] = curves(task.definition.output.type, verdicts["shipped"]["test"])
    if "alora" in verdicts:
        ours = verdicts.pop("alora")
        told["alora_minus"] = {
            judge: {split: difference(ours[split], theirs[split]) for split in task.tests}
            for judge, theirs in verdicts.items()
        }
    return told


def curves(kind: str, p: Predictions) -> dict[str, Any]:
    """What the figures show of the shipped adapter on test.

    `abstaining`, of a probability: how many rows have at least that one, and the share of them
    that are not of the positive label.
    """
    told: dict[str, Any] = {
        "reliability": [asdict(one) for one in reliability(p.confidence, p.right)]
    }
    if kind == "probability" and p.positive is not None:
        kept = replace(p, confidence=p.score, found=np.full_like(p.found, p.positive))
        points = risk_coverage(kept)
        step = -(-len(points) // RISK_POINTS)
        told["abstaining"] = [asdict(one) for one in (*points[:-1:step], points[-1])]
    return told


def judge_all(
    engine: Engine,
    network: Callable[[], PreTrainedModel],
    task: Task,
    given: argparse.Namespace,
    log: Log,
) -> dict[str, Found]:
    """What every judge says, from the cache folder where it is there. Changes: that folder.

    `network` loads the base model as transformers does, for PEFT.
    """
    name = task.definition.name
    folder: Path = given.cache / name
    settings = TrainSettings(epochs=given.epochs, batch_size=given.batch_size)
    runs = grid(settings, given.ranks, given.learning_rates)
    activated = Activated(engine, task, folder / "alora", log)
    own = task.definition.directory / "adapter"
    judges: dict[str, tuple[Judge, object]] = {
        "majority": (lambda: majority(task), None),
        "length": (lambda: length_only(task), None),
        "tfidf": (lambda: tfidf(task), None),
        "prompted": (lambda: asked(engine, task, log), questions(name)),
        "lora": (lambda: lora(engine, network, task, runs, folder / "lora", log), runs),
        "alora": (lambda: activated.trained(runs), runs),
    }
    if own.is_dir():
        judges["shipped"] = (activated.shipped, _content(own))
    found: dict[str, Found] = {}
    for judge, (run, told) in judges.items():
        base = engine.model.fingerprint
        identity = hashlib.sha256(f"{task.identity}{base}{told}".encode()).hexdigest()
        path = folder / f"{judge}.npz"
        kept = Found.load(path, identity)
        if kept is None and judge in given.judges:
            log(f"{name}: {judge}")
            kept = run()
            kept.save(path, identity)
        if kept is not None:
            found[judge] = kept
    return found


def load_network() -> PreTrainedModel:
    """The packaged base model as transformers loads it, in float32."""
    network: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        resolve(), dtype=torch.float32, local_files_only=True
    )
    return network


def _settings(given: argparse.Namespace, task: Task) -> dict[str, Any]:
    output = task.definition.output
    return {
        "labels": list(task.labels),
        "positive": output.positive,
        "examples": len(task.train),
        "all_examples": len(task.all_train),
        "dev_examples": len(task.dev),
        "epochs": given.epochs,
        "batch_size": given.batch_size,
        "ranks": given.ranks,
        "learning_rates": given.learning_rates,
    }


def _content(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def arguments(line: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("out", type=Path, metavar="OUT.json")
    parser.add_argument("names", nargs="*", metavar="NAME", help="those with data if none is given")
    parser.add_argument("--judges", nargs="+", choices=JUDGES, default=JUDGES, help="those to run")
    parser.add_argument("--examples", type=int, default=240, help="rows that both LoRAs learn from")
    parser.add_argument("--dev-examples", type=int, default=300, help="development rows")
    parser.add_argument("--epochs", type=int, default=3, help="the best is kept")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 32], help="of both LoRAs")
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[1e-3])
    parser.add_argument(
        "--intrinsics", type=Path, action="append", default=[], help="a further folder of them"
    )
    parser.add_argument("--cache", type=Path, default=CACHE)
    return parser.parse_args(line)


if __name__ == "__main__":
    main()
