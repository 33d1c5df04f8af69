"""The base model asked in words: three questions for each intrinsic, the best on dev counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from intrinsics.data import Example
from intrinsics.engine import Engine
from intrinsics.errors import DataError
from intrinsics.evaluate import prompted
from intrinsics.metrics import Floats
from scores import predictions, quality
from task import Found, Log, Task

FILE = Path(__file__).parent / "data" / "questions.json"


def questions(name: str) -> tuple[str, ...]:
    """The questions for an intrinsic; `{argument}` stands for an argument of the call.

    Raises: DataError: there is none.
    """
    known: dict[str, list[str]] = json.loads(FILE.read_text(encoding="utf-8"))
    if name not in known:
        raise DataError(f"{FILE}: no questions for {name!r}; write three")
    return tuple(known[name])


def asked(engine: Engine, task: Task, log: Log) -> Found:
    """The base model's verdicts when it is asked the question that is best on dev."""
    score: dict[str, tuple[float, float]] = {}
    dev: dict[str, Floats] = {}
    for question in questions(task.definition.name):
        dev[question] = _shares(engine, task, "dev", question, log)
        score[question] = quality(predictions(task, task.dev, dev[question]))
    best = max(score, key=score.__getitem__)
    shares = {name: _shares(engine, task, name, best, log) for name in task.tests}
    chosen = {"question": best, "dev_balanced_accuracy": score[best][0], "runs": len(score)}
    return Found(chosen, {"dev": dev[best], **shares})


def _shares(engine: Engine, task: Task, split: str, question: str, log: Log) -> Floats:
    rows = task.splits[split]
    found = []
    for i, row in enumerate(rows, start=1):
        found.append(_ask(engine, task, row, question))
        log.often(f"{task.definition.name}: asked {i} of {len(rows)} rows of {split}")
    return np.array(found)


def _ask(engine: Engine, task: Task, row: Example, question: str) -> Sequence[float]:
    for name, value in row.arguments.items():
        question = question.replace(f"{{{name}}}", value)
    told = next(prompted(engine, task.definition, [row], question))
    return [told[label] for label in task.labels]
