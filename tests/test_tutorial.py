"""docs/tutorial.md does what it says: its commands run, its errors are real, its data are sound."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from command import run_chains
from intrinsics.data import Example, read_examples
from intrinsics.spec import Definition
from run_tutorial import ROOT, TUTORIAL, commands, execute, prepare, run

TEXT = TUTORIAL.read_text(encoding="utf-8")
FOLDER = ROOT / "examples" / "tutorial"
SPLITS = ("train", "dev", "test")
# All that the test does differently: fewer rows, enough for every command and error.
SHORT = " --limit 16 --dev-limit 12 --epochs 1"
FEW = "awk 'NR % 5 < {0}' work/{1}.jsonl > work/few && mv work/few work/{1}.jsonl"


def rows(split: str) -> list[Example]:
    return read_examples(
        FOLDER / f"{split}.jsonl", Definition.load(FOLDER / "escalation").output.labels
    )


def topic(row: Example) -> str:
    """The company of a row: escalation-train-phone-shop-07."""
    return row.id.split("-", 2)[2].rsplit("-", 1)[0]


def shown_errors() -> list[tuple[str, str]]:
    """Each command that fails on purpose, with the message that the page shows."""
    blocks = re.findall(r"^```console\n\$ (.*?)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    return [(command, message) for command, message in blocks]


@pytest.mark.parametrize("split", SPLITS)
def test_every_situation_has_both_labels_alike(split: str) -> None:
    counts = Counter((topic(row), row.label) for row in rows(split))
    for name in {name for name, _ in counts}:
        assert counts[name, "human"] == counts[name, "assistant"]


def test_no_situation_and_no_message_is_in_two_splits() -> None:
    for left, right in combinations(SPLITS, 2):
        assert not {topic(row) for row in rows(left)} & {topic(row) for row in rows(right)}
        texts = [{row.messages[-1].content for row in rows(split)} for split in (left, right)]
        assert not texts[0] & texts[1]


def test_rows_carry_where_they_are_from() -> None:
    for split in SPLITS:
        for line in (FOLDER / f"{split}.jsonl").read_text().splitlines():
            row = json.loads(line)
            assert (row["source"], row["license"]) == ("written for the project", "Apache-2.0")


def test_the_files_of_the_page_are_those_of_the_repository() -> None:
    for name in ("escalation/intrinsic.yaml", "escalation/instruction.j2", "support.yaml"):
        assert (FOLDER / name).read_text() in TEXT


def executed(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as `execute` does, but without importing torch again."""
    name, *arguments = shlex.split(line)
    if name != "chains":
        return execute(line, folder)
    done = run_chains(*arguments, folder=folder)
    done.stdout += done.stderr
    return done


@pytest.mark.slow
def test_the_commands_run_and_the_errors_are_those_shown(tmp_path: Path) -> None:
    prepare(tmp_path)
    lines = [line + SHORT * line.startswith("chains train ") for line in commands(TEXT)]
    lines[2:2] = [FEW.format(2, "dev"), FEW.format(1, "test")]
    printed = {step.command: output for step, output in run(lines, tmp_path, executed)}
    assert len(printed) == len(lines)
    assert (tmp_path / "work" / "report" / "report.html").exists()
    assert (tmp_path / "work" / "publish" / "adapter_model.safetensors").exists()
    assert len(shown_errors()) == 2
    for split in SPLITS:  # the errors shown are those of all rows
        shutil.copy(FOLDER / f"{split}.jsonl", tmp_path / "work")
    for command, message in shown_errors():
        done = execute(command, tmp_path)
        assert done.returncode != 0
        assert done.stdout.split() == message.split()
