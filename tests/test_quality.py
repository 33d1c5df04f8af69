"""The page of quality is what was measured, and the tables say what the results hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import tiny_engine, write_intrinsic
from intrinsics.data import Example
from intrinsics.messages import Message
from intrinsics.spec import Definition
from parity import compared
from questions import FILE, questions
from tables_quality import PAGE, RESULTS, TABLES, filled
from task import Found, Task

EMPTY = "".join(f"# {name}\n<!-- table: {name} -->\n<!-- end -->\n" for name in TABLES)


def test_the_page_of_quality_is_what_was_measured() -> None:
    page = PAGE.read_text()
    assert filled(page, RESULTS) == page, "run scripts/tables_quality.py"
    assert all(f"<!-- table: {name} -->" in page for name in TABLES)


def test_the_tables_hold_every_judge_and_split(tmp_path: Path) -> None:
    """Ours is right; the LoRA is wrong where a row is the fourth."""
    definition = Definition.load(write_intrinsic(tiny_engine(), tmp_path, "loud"))
    tests = {"test": rows("t"), "hard_test": rows("h")}
    task = Task(definition, rows("train"), rows("dev"), tests, rows("train"))
    right = np.array([[0.9, 0.1], [0.1, 0.9]] * 8)
    worse = right.copy()
    worse[3::4] = 1 - worse[3::4]
    judged = {
        "lora": Found({"rank": 8, "runs": 2}, dict.fromkeys(task.splits, worse)),
        "alora": Found({"rank": 32}, dict.fromkeys(task.splits, right)),
        "shipped": Found({"rank": 32}, dict.fromkeys(task.splits, right), shipped=True),
    }
    settings = {"examples": 16, "dev_examples": 16}
    told = {"loud": {"settings": settings, **compared(task, judged)}}
    (tmp_path / "parity.json").write_text(json.dumps(told))
    page = filled(EMPTY, tmp_path)
    assert filled(page, tmp_path) == page, "filling it again changes nothing"
    for split in ("test", "hard_test"):
        assert f"| loud, {split} (16) | **aLoRA, same rows** | 1.000 (1.000 to 1.000) |" in page
        assert f"| loud, {split} (16) | PEFT LoRA | 0.750 (" in page
        assert f"| loud, {split} (16) | +0.250 (" in page
        assert f"| loud, {split} | a | 8 |" in page
        assert f"| loud, {split} (16) | 0.100 (0.100 to 0.100) | 0.0" in page
    assert "| loud | 16, 16 | PEFT LoRA | 2 | rank 8 |" in page
    assert page.endswith(
        "# ablations\n<!-- table: ablations -->\nNot measured yet.\n<!-- end -->\n"
        "# ablations_hard\n<!-- table: ablations_hard -->\nNot measured yet.\n<!-- end -->\n"
    )


def rows(split: str) -> list[Example]:
    return [
        Example(
            id=f"{split}{i}",
            messages=(Message(role="user", content=f"{split} {i}"),),
            label=("yes", "no")[i % 2],
            source=("a", "b")[i // 8],
        )
        for i in range(16)
    ]


@pytest.mark.parametrize("name", json.loads(FILE.read_text()))
def test_the_base_model_is_asked_in_three_ways(name: str) -> None:
    assert len(set(questions(name))) == 3
