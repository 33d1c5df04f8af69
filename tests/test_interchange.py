"""Adapters of PEFT brought in, intrinsics written out, and PEFT as the oracle of both."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from conftest import tiny_engine, tiny_network, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.errors import AdapterError, RequestError
from intrinsics.interchange import export_intrinsic, import_adapter
from intrinsics.messages import Document, Message
from intrinsics.spec import Definition
from peft_oracle import (
    CONFIG,
    DEFINITION,
    INVOCATION,
    TALK,
    WEIGHTS,
    assert_same_adapter,
    changed,
    ids_for,
    in_ours,
    in_peft,
    saved_by_peft,
    written_definition,
)

# The issue's own bound for logits in float32; what is seen on tiny models is below 1e-5.
TOLERANCE = 1e-4
# float32 rounding through the 30 layers of the packaged model: see tests/test_real_model.py.
REAL_TOLERANCE = 2e-3


@pytest.fixture
def tiny() -> Engine:
    return tiny_engine()


@pytest.fixture
def definition(tmp_path: Path) -> Path:
    return written_definition(tmp_path / "definition")


KINDS: dict[str, dict[str, Any]] = {
    "aLoRA": {},
    "LoRA": {"activated": False},
    "rslora": {"use_rslora": True},
    "patterns": {
        "rank_pattern": {"v_proj": 3, "layers.0.self_attn.q_proj": 2},
        "alpha_pattern": {"q_proj": 5.5},
        "use_rslora": True,
    },
    "regex": {"target_modules": r".*\.1\..*(q_proj|up_proj)"},
    "all-linear": {"target_modules": "all-linear"},
    "one layer": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "one layer, found": {"layers_to_transform": 0},
    "excluded": {"exclude_modules": ["layers.0.self_attn.v_proj"]},
    "full names": {"target_modules": ["model.layers.0.self_attn.q_proj", "mlp.down_proj"]},
}


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_an_adapter_of_peft_gives_its_logits_after_import_and_after_export(
    tiny: Engine, tmp_path: Path, definition: Path, settings: dict[str, Any]
) -> None:
    source = saved_by_peft(tiny, tmp_path / "peft", **settings)
    done = import_adapter(tiny, source, tmp_path / "mine", definition=definition)
    ids = ids_for(tiny, done.directory)
    expected = in_peft(tiny_network(), source, ids)
    found = in_ours(tiny, done.directory, ids)
    torch.testing.assert_close(found, expected[-len(found) :], atol=TOLERANCE, rtol=0)
    base = tiny_network()(torch.tensor([ids])).logits[0]
    assert (found[-1] - base[-1]).abs().max() > 0.1, "an adapter that does nothing proves nothing"
    assert (done.rounding, done.activated) == (0, settings.get("activated", True))
    out = export_intrinsic(Definition.load(done.directory), tmp_path / "out").directory
    torch.testing.assert_close(in_peft(tiny_network(), out, ids), expected, atol=1e-6, rtol=0)
    again = import_adapter(tiny, out, tmp_path / "again")
    assert_same_adapter(done.directory / "adapter", out)
    assert_same_adapter(done.directory / "adapter", again.directory / "adapter")


def test_an_imported_intrinsic_judges_by_its_name(
    tiny: Engine, tmp_path: Path, definition: Path
) -> None:
    source = saved_by_peft(tiny, tmp_path / "peft")
    import_adapter(tiny, source, tmp_path / "mine", definition=definition / "intrinsic.yaml")
    engine = tiny_engine(folders=[tmp_path / "mine"])
    verdict = engine.call(engine.conversation(TALK), "polite")
    assert verdict.value in ("polite", "rude")
    logs = []
    for run in verdict.candidates.values():
        scores = in_peft(tiny_network(), source, (*verdict.token_ids, *run)).log_softmax(-1)
        first = len(verdict.token_ids) - 1
        logs.append(sum(float(scores[first + i, token]) for i, token in enumerate(run)))
    expected = torch.tensor(logs).softmax(0).tolist()
    assert list(verdict.raw_distribution.values()) == pytest.approx(expected, abs=TOLERANCE)


def test_float32_is_rounded_to_float16_and_by_how_much_is_told(
    tiny: Engine, tmp_path: Path, definition: Path
) -> None:
    source = saved_by_peft(tiny, tmp_path / "peft", halves=False)
    done = import_adapter(tiny, source, tmp_path / "mine", definition=definition)
    assert 0 < done.rounding < 2**-11  # half a unit in the last of float16's 11 digits
    kept = load_file(done.directory / "adapter" / WEIGHTS)
    assert {weight.dtype for weight in kept.values()} == {torch.float16}
    for name, weight in load_file(source / WEIGHTS).items():
        assert torch.equal(kept[name], weight.half())


def test_bfloat16_that_float16_holds_is_kept_exactly(
    tiny: Engine, tmp_path: Path, definition: Path
) -> None:
    source = saved_by_peft(tiny, tmp_path / "peft")
    weights = {name: one.bfloat16() for name, one in load_file(source / WEIGHTS).items()}
    save_file(weights, source / WEIGHTS)
    done = import_adapter(tiny, source, tmp_path / "mine", definition=definition)
    kept = load_file(done.directory / "adapter" / WEIGHTS)
    assert done.rounding == 0
    assert all(torch.equal(kept[name].float(), one.float()) for name, one in weights.items())


def test_the_definition_is_copied_and_a_new_name_changes_nothing_else(
    tiny: Engine, tmp_path: Path, definition: Path
) -> None:
    source = saved_by_peft(tiny, tmp_path / "peft")
    done = import_adapter(tiny, source, tmp_path / "mine", definition=definition, name="courteous")
    text = (done.directory / "intrinsic.yaml").read_text()
    assert text == DEFINITION.replace("name: polite ", "name: courteous ")
    assert (done.directory / "ask.j2").read_bytes() == (definition / "ask.j2").read_bytes()
    assert Catalogue([tmp_path / "mine"]).get("courteous").invocation == INVOCATION


def test_a_card_is_kept_with_its_pictures_or_else_says_what_is_not_known(
    tiny: Engine, tmp_path: Path, definition: Path
) -> None:
    source = saved_by_peft(tiny, tmp_path / "peft")
    done = import_adapter(tiny, source, tmp_path / "bare", definition=definition)
    assert done.card_written
    card = (done.directory / "CARD.md").read_text()
    for heading in ("Purpose", "Inputs and output", "Data", "Results", "Known failures", "Example"):
        assert f"## {heading}" in card
    assert "aLoRA, rank 6 on q_proj, v_proj, for tiny" in card
    assert card.count("Not known") == 3 and "Not measured" in card
    (definition / "CARD.md").write_text("# polite\n\n![curve](curve.png) ![x](../secret.png)\n")
    (definition / "curve.png").write_bytes(b"\x89PNG")
    (definition / "train.jsonl").write_text("no part of the intrinsic")
    done = import_adapter(tiny, source, tmp_path / "mine", definition=definition)
    assert not done.card_written
    names = {path.name for path in done.directory.iterdir()}
    assert names == {"intrinsic.yaml", "ask.j2", "CARD.md", "curve.png", "adapter"}


def test_an_export_is_what_was_there_and_says_what_is_open(tiny: Engine, tmp_path: Path) -> None:
    directory = write_intrinsic(tiny, tmp_path, "judge", instruction="Is it so?")
    (directory / "CARD.md").write_text(
        "# judge\n\n## Results\n\n| split (n) | | accuracy | AUROC |\n|---|---|---|---|\n"
        "| hard_test (9) | **shipped** | 0.5 | 0.5 |\n"
        "| test (9) | **shipped** | 0.900 (0.800 to 0.950) | undefined |\n"
        "| test (9) | base model asked | 0.5 | 0.5 |\n\n## Data\n"
    )
    (directory / "train.jsonl").write_text("stays at home")
    definition = Definition.load(directory)
    done = export_intrinsic(definition, tmp_path / "out", base_model="me/tiny", licence="mit")
    assert done.left_open == ()
    for name in ("intrinsic.yaml", "instruction.j2", "CARD.md"):
        assert (done.directory / name).read_bytes() == (directory / name).read_bytes()
    weights = (directory / "adapter" / WEIGHTS).read_bytes()
    assert (done.directory / WEIGHTS).read_bytes() == weights
    assert {path.name for path in done.directory.iterdir()} == {*done.sha256, "SHA256SUMS"}
    assert "train.jsonl" not in done.sha256
    subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=done.directory, check=True
    )
    card = ModelCard.load(done.directory / "README.md")  # the hub's own reader
    assert (card.data.base_model, card.data.library_name) == ("me/tiny", "peft")
    assert (card.data.license, card.data.metrics) == ("mit", ["accuracy"])
    (result,) = list(card.data.eval_results or [])
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.9)
    assert "alora" in (card.data.tags or ()) and "the text of `instruction.j2`" in card.text
    bare = write_intrinsic(tiny, tmp_path, "bare", activated=False)
    open_ = export_intrinsic(Definition.load(bare), tmp_path / "bare_out").left_open
    assert [one.split(":")[0] for one in open_] == ["base_model", "license", "CARD.md", "metrics"]


def test_an_old_export_is_replaced_and_nothing_else_is(tiny: Engine, tmp_path: Path) -> None:
    definition = Definition.load(write_intrinsic(tiny, tmp_path, "judge"))
    out = tmp_path / "out"
    out.mkdir()
    export_intrinsic(definition, out)
    assert export_intrinsic(definition, out, licence="mit").directory == out
    assert "license: mit" in (out / "README.md").read_text()
    for name in ("README.md", "notes.txt"):
        export_intrinsic(definition, out)
        (out / name).write_text("by hand")
        with pytest.raises(RequestError, match=rf"{name}: was added or changed after the export"):
            export_intrinsic(definition, out)
        shutil.rmtree(out)
    with pytest.raises(RequestError, match="exists and is no export"):
        export_intrinsic(definition, definition.directory)
    with pytest.raises(RequestError, match="'me/huge': judge was made for 'tiny'"):
        export_intrinsic(definition, out, base_model="me/huge")
    (definition.directory / "adapter" / CONFIG).unlink()
    with pytest.raises(AdapterError, match="train it with `chains train`"):
        export_intrinsic(definition, out)
    assert not out.exists()


def test_an_instruction_or_card_that_can_not_be_published_is_named(
    tiny: Engine, tmp_path: Path
) -> None:
    directory = write_intrinsic(tiny, tmp_path, "judge", instruction="Is it so?")
    (directory / "CARD.md").write_bytes(b"\xff")
    with pytest.raises(RequestError, match=r"CARD\.md: not UTF-8"):
        export_intrinsic(Definition.load(directory), tmp_path / "out")
    path = directory / "intrinsic.yaml"
    path.write_text(path.read_text().replace("instruction.j2", "README.md"))
    (directory / "instruction.j2").rename(directory / "README.md")
    with pytest.raises(RequestError, match=r"README\.md is a file of every export"):
        export_intrinsic(Definition.load(directory), tmp_path / "out")


def test_what_a_download_damaged_is_found_by_its_sums(tiny: Engine, tmp_path: Path) -> None:
    definition = Definition.load(write_intrinsic(tiny, tmp_path, "judge"))
    out = export_intrinsic(definition, tmp_path / "out").directory
    (out / "README.md").write_text("a reader's business")
    import_adapter(tiny, out, tmp_path / "mine")
    (out / "intrinsic.yaml").write_text("#")
    with pytest.raises(AdapterError, match=r"intrinsic\.yaml: not what SHA256SUMS says"):
        import_adapter(tiny, out, tmp_path / "again")


def test_a_path_of_the_machine_that_trained_is_not_published(
    tiny: Engine, tmp_path: Path, definition: Path
) -> None:
    source = saved_by_peft(tiny, tmp_path / "peft")
    changed(source, base_model_name_or_path="/home/me/models/tiny")
    done = import_adapter(tiny, source, tmp_path / "mine", definition=definition)
    out = export_intrinsic(Definition.load(done.directory), tmp_path / "out").directory
    assert not [path for path in out.iterdir() if b"/home/me" in path.read_bytes()]


@pytest.mark.slow
@pytest.mark.parametrize("name", Catalogue().names())
def test_every_shipped_intrinsic_is_exported_loads_in_peft_and_comes_back(
    engine: Engine, plain_network: Any, tmp_path: Path, name: str
) -> None:
    definition = engine.catalogue.get(name)
    out = export_intrinsic(definition, tmp_path / "out", licence="apache-2.0").directory
    page = Document(id="a", text="The library of Elmsport opened in 1931 and holds 84,000 books.")
    talk = engine.conversation(
        [Message(role="user", content="How many books does the library hold?")],
        [] if definition.reads.documents == "none" else [page],
    )
    if definition.reads.last == "assistant":
        talk.add("assistant", "It holds 84,000 books.")
    ids = (*talk.ids, *engine.intrinsic(name).invocation)
    expected = in_peft(plain_network, out, ids)
    found = in_ours(engine, name, ids)
    torch.testing.assert_close(found, expected[-len(found) :], atol=REAL_TOLERANCE, rtol=0)
    done = import_adapter(engine, out, tmp_path / "mine", name=f"my_{name}")
    assert_same_adapter(definition.directory / "adapter", done.directory / "adapter")
    text = (definition.directory / "intrinsic.yaml").read_text()
    assert (done.directory / "intrinsic.yaml").read_text() == text.replace(
        f"name: {name}\n", f"name: my_{name}\n"
    )
    torch.testing.assert_close(in_ours(engine, done.directory, ids), found, atol=1e-4, rtol=0)
