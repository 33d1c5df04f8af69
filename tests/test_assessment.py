"""What a report tells, with tiny random intrinsics: equal to asking them one by one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import check_integrity, tiny_engine, write_intrinsic
from intrinsics.assessment import Assessment, assess
from intrinsics.data import Example
from intrinsics.engine import Engine
from intrinsics.errors import AdapterError, DataError
from intrinsics.judged import cost, judge
from intrinsics.messages import Document, Message
from intrinsics.spec import Definition

TEXTS = [
    "Hi",
    "Is it so?",
    "No!",
    "What about the harbour?",
    "Yes, it is",
    "Never",
    "17",
    "Oh well",
]
ROWS = [
    Example(
        id=f"row-{i}",
        messages=(Message(role="user", content=text),),
        documents=(Document(id="a", text=f"The document {i}."),) if i % 2 else (),
        label="y" if i % 3 else "n",
    )
    for i, text in enumerate(TEXTS)
]


@pytest.fixture
def judge_and_twin(tmp_path: Path) -> tuple[Engine, Definition, Definition]:
    """An Activated LoRA, and an ordinary LoRA of the same name in another folder."""
    engine = tiny_engine()
    one = write_intrinsic(engine, tmp_path / "a", "judge", "yn", documents="optional", seed=1)
    twin = write_intrinsic(
        engine, tmp_path / "b", "judge", "yn", documents="optional", seed=2, activated=False
    )
    return engine, Definition.load(one), Definition.load(twin)


def asked(definition: Definition) -> list[dict[str, float]]:
    """What the intrinsic says when nobody assesses it: each row in an engine of its own."""
    found = []
    for row in ROWS:
        engine = tiny_engine()
        conversation = engine.conversation(row.messages, row.documents)
        found.append(engine.call(conversation, definition.directory).distribution)
    return found


def likeliest(distribution: dict[str, float]) -> str:
    return max(distribution, key=distribution.__getitem__)


def assessed(setup: tuple[Engine, Definition, Definition]) -> Assessment:
    engine, definition, twin = setup
    found = assess(engine, definition, ROWS, twin)
    check_integrity(engine)
    return found


def test_the_worst_mistakes_are_the_most_confident_wrong_verdicts(
    judge_and_twin: tuple[Engine, Definition, Definition],
) -> None:
    engine, definition, _ = judge_and_twin
    found = assess(engine, definition, ROWS)
    expected = [
        (max(said.values()), i + 1, likeliest(said))
        for i, (row, said) in enumerate(zip(ROWS, asked(definition), strict=True))
        if likeliest(said) != row.label
    ]
    assert found.mistakes == len(expected) > 0
    assert found.report.accuracy == 1 - len(expected) / len(ROWS)
    for one, (confidence, row, label) in zip(
        found.worst, sorted(expected, reverse=True), strict=True
    ):
        assert (one.row, one.found, one.example) == (row, label, ROWS[row - 1])
        assert one.confidence == pytest.approx(confidence, abs=1e-5)  # float32, chunked otherwise
    assert found.against is None


def test_two_of_one_name_are_each_judged_with_their_own_adapter(
    judge_and_twin: tuple[Engine, Definition, Definition],
) -> None:
    _, definition, twin = judge_and_twin
    found = assessed(judge_and_twin)
    ours, theirs = asked(definition), asked(twin)
    right = [
        (likeliest(a) == row.label, likeliest(b) == row.label)
        for row, a, b in zip(ROWS, ours, theirs, strict=True)
    ]
    against = found.against
    assert against is not None
    paired = against.paired
    assert paired.only_first == right.count((True, False))
    assert paired.only_second == right.count((False, True))
    assert paired.both_right == right.count((True, True))
    differing = [
        i + 1
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True))
        if likeliest(a) != likeliest(b)
    ]
    assert sorted(one.row for one in against.disagreements) == differing
    assert against.differing == len(differing) > 0


def test_a_verdict_costs_its_own_tokens_and_a_lora_all_of_them(
    judge_and_twin: tuple[Engine, Definition, Definition],
) -> None:
    engine, definition, _ = judge_and_twin
    found = assessed(judge_and_twin)
    lengths = sorted(engine.conversation(row.messages, row.documents).length for row in ROWS)
    median = (lengths[3] + lengths[4]) / 2
    invocation = len(engine.chat.control(definition.invocation))
    assert found.against is not None
    ours, theirs = found.report.cost, found.against.report.cost
    assert ours is not None and theirs is not None
    assert ours.activated and not theirs.activated
    assert (ours.prefix_tokens, ours.reused_tokens, theirs.reused_tokens) == (median, median, 0)
    assert ours.computed_tokens == invocation
    assert theirs.computed_tokens == median + ours.computed_tokens
    assert 0 < ours.seconds <= ours.seconds_p95 and ours.prefix_seconds > 0


def test_rows_are_tokenised_once(
    judge_and_twin: tuple[Engine, Definition, Definition], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, definition, _ = judge_and_twin
    made: list[object] = []
    real = Engine.conversation

    def counted(*arguments: object) -> object:
        made.append(arguments)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "conversation", counted)
    assert cost(list(judge(engine, definition, ROWS))).activated
    assert len(made) == len(ROWS)


def test_a_forgotten_intrinsic_is_loaded_again(
    judge_and_twin: tuple[Engine, Definition, Definition],
) -> None:
    engine, definition, twin = judge_and_twin
    conversation = engine.conversation(ROWS[0].messages)
    before = engine.call(conversation, definition.directory).distribution
    engine.forget(definition.directory)
    other = engine.call(conversation, twin.directory).distribution
    engine.forget(twin.directory)
    engine.forget(twin.directory)  # nothing is left to forget
    again = engine.call(conversation, definition.directory).distribution
    assert again == pytest.approx(before, abs=1e-5)  # float32, now with the prefix cached
    assert other["y"] != pytest.approx(before["y"], abs=1e-3)


def test_nothing_is_judged_if_the_other_one_can_not_be(
    judge_and_twin: tuple[Engine, Definition, Definition], tmp_path: Path
) -> None:
    engine, definition, twin = judge_and_twin
    strict = write_intrinsic(engine, tmp_path / "c", "judge", "yn", documents="required")
    with pytest.raises(DataError, match="row-0: judge needs documents"):
        assess(engine, definition, ROWS, Definition.load(strict))
    (twin.directory / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match="weights are missing"):
        assess(engine, definition, ROWS, twin)
    assert engine.model.forwards == 0


def test_json_has_the_scores_at_the_top_and_no_other_values_than_json_has(
    judge_and_twin: tuple[Engine, Definition, Definition],
) -> None:
    found = assessed(judge_and_twin)
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    for name in ("n", "accuracy", "auroc", "ece", "confidence_intervals", "baseline_majority"):
        assert name in told
    assert told["worst"][0]["example"]["messages"][0]["role"] == "user"
    assert told["against"]["report"]["n"] == len(ROWS)
    assert 0 < told["ece_if_perfect"]["mean"] <= told["ece_if_perfect"]["at_most"]
    assert sum(map(sum, told["confusion"])) == len(ROWS)
