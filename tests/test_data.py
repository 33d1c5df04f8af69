"""Data files: every unusable row is named with its line, and a smaller set stays even."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from conftest import tiny_engine, write_intrinsic
from intrinsics.data import Example, balanced, read_examples
from intrinsics.engine import Engine
from intrinsics.errors import DataError
from intrinsics.evaluate import evaluate
from intrinsics.messages import Message
from intrinsics.spec import Definition

GOOD = '{"id": "a", "messages": [{"role": "user", "content": "Hi"}], "label": "yes"}'
USER = Message(role="user", content="Hi")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD[:40], r"rows.jsonl:2: not a complete JSON object .*was the file cut"),
        (GOOD, "rows.jsonl:2: id 'a' is already in line 1"),
        (GOOD.replace('"a"', '"b"').replace("yes", "yse"), "rows.jsonl:2: unknown label 'yse'"),
        (GOOD.replace('"a"', '"b"').replace("Hi", " "), r"rows.jsonl:2: message 1 \(user\) is emp"),
        (GOOD.replace("user", "robot"), "rows.jsonl:2: messages.0.role: Input should be"),
        ('{"messages": [], "label": "yes"}', "rows.jsonl:2: messages is empty"),
        ('{"label": "yes"}', "rows.jsonl:2: messages: Field required"),
        ("[1]", "rows.jsonl:2: row: Input should be"),
    ],
)
def test_an_unusable_row_is_named_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(DataError, match=message):
        read_examples(path, ["yes", "no"])


def test_a_file_that_is_missing_empty_or_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(DataError, match="no such data file"):
        read_examples(path, ["yes", "no"])
    path.write_text("\n\n")
    with pytest.raises(DataError, match="holds no rows"):
        read_examples(path, ["yes", "no"])
    path.write_bytes(GOOD.encode() + b'\n{"label": "\xe9"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:2: not UTF-8 at byte 12"):
        read_examples(path, ["yes", "no"])


def test_truth_values_are_labels_of_a_bool(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": [USER.model_dump()], "label": True}))
    assert read_examples(path, ["true", "false"])[0].label == "true"


def test_a_smaller_set_has_labels_and_sources_evenly() -> None:
    sizes = {("yes", "large"): 50, ("yes", "small"): 3, ("no", "large"): 20, ("no", "other"): 20}
    rows = [
        Example(id=f"{label}{source}{i}", messages=(USER,), label=label, source=source)
        for (label, source), count in sizes.items()
        for i in range(count)
    ]
    taken = balanced(rows, 20, seed=0)
    assert Counter((row.label, row.source) for row in taken) == {
        ("yes", "large"): 7,
        ("yes", "small"): 3,
        ("no", "large"): 5,
        ("no", "other"): 5,
    }
    assert [row.id for row in taken] == [row.id for row in balanced(rows, 20, seed=0)]
    assert len(balanced(rows, 1000, seed=0)) == len(rows)


@pytest.fixture
def judged(tmp_path: Path) -> tuple[Engine, Definition]:
    engine = tiny_engine()
    return engine, Definition.load(write_intrinsic(engine, tmp_path, "judge"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "there are no rows"),
        ([Example(id="r", messages=(USER,), label="maybe")], "r: unknown label 'maybe'"),
        (
            [Example(id="r", messages=(USER,), label="yes", arguments={"x": "1"})],
            "r: judge takes no argument 'x'",
        ),
        (
            [Example(messages=(Message(role="user", content="x" * 600),), label="yes")],
            "row 2: 6.. tokens do not fit",
        ),
    ],
)
def test_all_rows_are_looked_at_before_the_first_is_judged(
    judged: tuple[Engine, Definition], rows: list[Example], message: str
) -> None:
    engine, definition = judged
    before = [Example(id="good", messages=(USER,), label="yes")] if rows else []
    with pytest.raises(DataError, match=message):
        evaluate(engine, definition, [*before, *rows])
    assert engine.model.forwards == 0


def test_an_evaluation_counts_by_source(judged: tuple[Engine, Definition]) -> None:
    engine, definition = judged
    rows = [
        Example(messages=(Message(role="user", content=f"Row {i}"),), label=label, source=source)
        for i, (label, source) in enumerate(
            [("yes", "a"), ("no", "a"), ("yes", "b"), ("yes", "b"), ("no", "a")]
        )
    ]
    found = evaluate(engine, definition, rows)
    assert found.n == 5 and found.baseline_majority == 0.6
    assert {name: part["n"] for name, part in found.by_source.items()} == {"a": 3, "b": 2}
    assert "auroc" not in found.by_source["b"], "one class has no ranking"
