"""Training rows that vary: labels stay, and nothing that is added tells them."""

from __future__ import annotations

import json
import runpy
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from augment import MOST_TURNS, SAID, SHARES, TURN_CHARACTERS, augmented
from intrinsics.data import read_examples
from intrinsics.messages import Document

LABELS = ("safe", "unsafe")
POOL = [
    Document(id=f"Article_{i}", text=f"Passage {i} " + "tells of mills and rivers " * 60)
    for i in range(12)
]


def rows(count: int = 200) -> list[dict[str, Any]]:
    """Half of each label, of which one has documents far more often, as real data does."""
    built = []
    for i in range(count):
        label = LABELS[i % 2]
        has = i % 4 == 1 or i % 20 == 0
        built.append(
            {
                "id": f"row-{i}",
                "messages": [{"role": "user", "content": f"What is question number {i}, please?"}],
                "documents": [{"id": f"Own_{i}", "text": "A passage of its own."}] if has else [],
                "label": label,
                "license": "Apache-2.0",
            }
        )
    return built


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    suffix = str(new["id"]).removeprefix(old["id"])
    return suffix.split("-")[1:]


def test_labels_and_further_keys_stay_and_ids_get_a_suffix_for_each_change() -> None:
    before = rows()
    after = augmented(before, POOL)
    assert after == augmented(before, POOL) != augmented(before, POOL, seed=1)
    assert len({row["id"] for row in after}) == len(after)
    for old, new in zip(before, after, strict=True):
        assert {key: new[key] for key in ("label", "license")} == {
            key: old[key] for key in ("label", "license")
        }
        made = changes(old, new)
        assert set(made) <= set(SHARES)
        if not made:
            assert new == old
        own, question = old["documents"], new["messages"][-1]["content"]
        assert len(new["documents"]) - len(own) in ((1, 2) if "documents" in made else (0,))
        turns = len(new["messages"]) - 1
        assert turns in (range(2, 2 * MOST_TURNS + 1, 2) if "turns" in made else (0,))
        assert max((len(m["content"]) for m in new["messages"][:-1]), default=0) <= TURN_CHARACTERS
        if "said" not in made and "typed" not in made:
            assert question == old["messages"][-1]["content"]
        if "said" not in made:
            assert all(document in new["documents"] for document in own)


def test_every_change_comes_as_often_with_each_label_with_and_without_documents() -> None:
    before = rows(400)
    after = augmented(before, POOL)
    groups = Counter((row["label"], bool(row["documents"])) for row in before)
    made = Counter(
        ((old["label"], bool(old["documents"])), name)
        for old, new in zip(before, after, strict=True)
        for name in changes(old, new)
    )
    for group, count in groups.items():
        for name, share in SHARES.items():
            wanted = 0 if name == "documents" and not group[1] else round(share * count)
            assert made[group, name] == wanted


def test_imitated_verdicts_name_every_label_equally_often_whatever_the_truth() -> None:
    before = rows(800)
    named: Counter[tuple[str, str]] = Counter()
    for old, new in zip(before, augmented(before, POOL), strict=True):
        if "said" in changes(old, new):
            text = new["messages"][-1]["content"] + "".join(d["text"] for d in new["documents"])
            found = {label for label in LABELS for said in SAID if said.format(label=label) in text}
            assert len(found) == 1, "one label is named"
            named[old["label"], *found] += 1
    for truth in LABELS:
        counts = [named[truth, label] for label in LABELS]
        assert min(counts) > 20 and max(counts) - min(counts) <= 2  # one for each group of rows


def test_the_own_document_comes_in_every_place() -> None:
    before = [row for row in rows(400) if row["documents"]]
    places = Counter(
        (len(new["documents"]), [d["id"][:3] for d in new["documents"]].index("Own"))
        for new in augmented(before, POOL)
    )
    assert set(places) == {(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)}


def test_a_passage_of_the_rows_own_article_is_never_added() -> None:
    before = [{**row, "documents": [{"id": "Article_0", "text": "Own."}]} for row in rows()]
    for row in augmented(before, POOL[:3]):
        assert sum(d["id"].startswith("Article_0") for d in row["documents"]) == 1
        assert all("Passage 0" not in message["content"] for message in row["messages"])


@pytest.mark.parametrize("name", SHARES)
def test_a_change_can_be_left_out_and_the_others_stay(name: str) -> None:
    before = rows()
    made = [changes(*pair) for pair in zip(before, augmented(before, POOL), strict=True)]
    left = augmented(before, POOL, without=[name])
    for old, new, all_made in zip(before, left, made, strict=True):
        assert changes(old, new) == [one for one in all_made if one != name]


def test_truth_values_stay_truth_values() -> None:
    before = [{**row, "label": row["label"] == "safe"} for row in rows()]
    assert [row["label"] for row in augmented(before, POOL)] == [row["label"] for row in before]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    script = Path(__file__).parent.parent / "scripts" / "augment.py"
    monkeypatch.setattr(sys, "argv", ["augment.py", *arguments])
    runpy.run_path(str(script), run_name="__main__")


def test_the_command_writes_rows_that_can_be_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target, others = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "more.jsonl"))
    source.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    more = [{**rows(2)[1], "id": p.id, "documents": [p.model_dump()]} for p in POOL]
    others.write_text("".join(json.dumps(row) + "\n" for row in more))
    run(monkeypatch, str(source), str(target), "--seed", "3", "--passages", str(others))
    assert len(read_examples(target, LABELS)) == 200
    assert [json.loads(line) for line in target.read_text().splitlines()] == augmented(
        rows(), POOL, 3
    )
    assert "safe, turns: 20 of 100" in capsys.readouterr().out


def test_a_file_without_passages_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(json.dumps({**row, "documents": []}) + "\n" for row in rows(4)))
    with pytest.raises(SystemExit):
        run(monkeypatch, str(bare), str(tmp_path / "out.jsonl"), "--passages", str(bare))
    assert "no row has a document" in capsys.readouterr().err
