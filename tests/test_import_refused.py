"""What can't be brought in: each reason is told, and nothing is written or lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import tiny_engine
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.errors import AdapterError, DefinitionError, InvocationMismatch, RequestError
from intrinsics.interchange import import_adapter
from peft_oracle import (
    CONFIG,
    DEFINITION,
    WEIGHTS,
    changed,
    saved_by_peft,
    written_definition,
)


@pytest.fixture
def tiny() -> Engine:
    return tiny_engine()


@pytest.fixture
def definition(tmp_path: Path) -> Path:
    return written_definition(tmp_path / "definition")


def with_weight(source: Path, key: str, change: Any) -> None:
    weights = load_file(source / WEIGHTS)
    name = next((name for name in sorted(weights) if key in name), key)
    weights[name] = change(weights.get(name))
    save_file({k: w for k, w in weights.items() if w is not None}, source / WEIGHTS)


def pickled(source: Path) -> None:
    (source / WEIGHTS).rename(source / "adapter_model.bin")


REFUSED: dict[str, tuple[Any, str]] = {
    "DoRA": (lambda s: changed(s, use_dora=True), "use_dora = True is not supported: DoRA"),
    "bias": (lambda s: changed(s, bias="lora_only"), "bias = 'lora_only' is not supported: it"),
    "bias of B": (lambda s: changed(s, lora_bias=True), "lora_bias = True is not supported"),
    "saved layers": (lambda s: changed(s, modules_to_save=["lm_head"]), "replaces whole layers"),
    "KaSA": (lambda s: changed(s, kasa_config={"x": 1}), "changes the base model's own weights"),
    "of tomorrow": (lambda s: changed(s, use_xlora=True), "no such setting is known here"),
    "old aLoRA": (
        lambda s: changed(s, alora_invocation_tokens=None, invocation_string="<x>"),
        "tells an aLoRA's invocation as text, .* write its token ids as alora_invocation_tokens",
    ),
    "no rank": (lambda s: changed(s, r=None), "r is None; it must be a number above 0"),
    "another rank": (lambda s: changed(s, r=4), "has rank 6, but adapter_config.json says 4"),
    "pattern": (lambda s: changed(s, rank_pattern={"q_proj": "a"}), r"rank_pattern\['q_proj'\] is"),
    "no pattern": (lambda s: changed(s, alpha_pattern=[1]), "alpha_pattern is .* be an object"),
    "no regex": (lambda s: changed(s, target_modules="("), "'\\(' is no regex"),
    "targets": (lambda s: changed(s, target_modules=[1]), "must be a list of names, or a regex"),
    "base model": (
        lambda s: changed(s, base_model_name_or_path="me/huge"),
        "base_model is 'tiny', but the adapter was trained on 'huge'",
    ),
    "too few": (
        lambda s: changed(s, target_modules=["q_proj", "v_proj", "k_proj"]),
        r"no weights for model\.layers\.0\.self_attn\.k_proj, which target_modules names \(2 such",
    ),
    "too many": (
        lambda s: changed(s, target_modules=["q_proj"]),
        r"target_modules does not name model\.layers\.0\.self_attn\.v_proj, for which there are",
    ),
    "pickle": (pickled, "a pickle, which is never loaded, since .*`save_pretrained` writes"),
    "embeddings": (
        lambda s: with_weight(
            s, "base_model.model.embed.lora_embedding_A", lambda _: torch.ones(2)
        ),
        "unexpected tensor .*lora_embedding_A.*; only lora_A and lora_B",
    ),
    "quantised": (
        lambda s: with_weight(s, "lora_A", lambda w: w.to(torch.int8)),
        r"is quantised \(torch.int8\); save it as float16",
    ),
    "shape": (
        lambda s: with_weight(s, "lora_A", lambda w: w[:, 1:].contiguous()),
        "it was trained for another base model",
    ),
    "too large": (
        lambda s: with_weight(s, "lora_A", lambda w: w * 1e6),
        "lora_A: numbers too large for float16",
    ),
    "too small": (
        lambda s: with_weight(s, "lora_B", lambda w: w * 1e-9),
        "lora_B: numbers too small for float16, .* multiply that matrix",
    ),
    "not finite": (
        lambda s: with_weight(s, "lora_B", lambda w: w / 0),
        "holds NaN or infinity",
    ),
    "no config": (lambda s: (s / CONFIG).unlink(), "give a directory that PEFT's save_pretrained"),
    "no adapter": (
        lambda s: (s / CONFIG).rename(s / "config.json"),
        "this is a whole model, not an adapter",
    ),
    "sums": (lambda s: (s / "SHA256SUMS").write_text("abc\n"), "not a list of sha256 sums"),
    "gone": (shutil.rmtree, "no such directory"),
}


@pytest.mark.parametrize(("spoil", "message"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_applied_is_refused_and_nothing_is_written(
    tiny: Engine, tmp_path: Path, definition: Path, spoil: Any, message: str
) -> None:
    source = saved_by_peft(tiny, tmp_path / "peft")
    spoil(source)
    with pytest.raises(AdapterError, match=message):
        import_adapter(tiny, source, tmp_path / "mine", definition=definition)
    assert not [path for path in (tmp_path / "mine").glob("*")]


def test_an_untrained_adapter_is_refused(tiny: Engine, tmp_path: Path, definition: Path) -> None:
    source = saved_by_peft(tiny, tmp_path / "peft")
    weights = load_file(source / WEIGHTS)
    zeros = {name: one * ("lora_A" in name) for name, one in weights.items()}
    save_file(zeros, source / WEIGHTS)
    with pytest.raises(AdapterError, match="every lora_B is zero, so it changes nothing"):
        import_adapter(tiny, source, tmp_path / "mine", definition=definition)


def test_a_directory_that_holds_the_adapter_deeper_is_named(tiny: Engine, tmp_path: Path) -> None:
    saved_by_peft(tiny, tmp_path / "peft" / "second")
    with pytest.raises(AdapterError, match=r"one level deeper; give .*second"):
        import_adapter(tiny, tmp_path / "peft", tmp_path / "mine")


def test_definitions_that_do_not_go_with_the_adapter_are_refused(
    tiny: Engine, tmp_path: Path, definition: Path
) -> None:
    source, mine = saved_by_peft(tiny, tmp_path / "peft"), tmp_path / "mine"
    with pytest.raises(RequestError, match=r"no intrinsic.yaml, .* give it with --definition"):
        import_adapter(tiny, source, mine)
    with pytest.raises(RequestError, match="is a file intrinsic"):
        import_adapter(tiny, source, mine, definition=definition / "ask.j2")
    with pytest.raises(DefinitionError, match="missing"):
        import_adapter(tiny, source, mine, definition=tmp_path)
    with pytest.raises(RequestError, match="name 'Polite!': use lower-case letters"):
        import_adapter(tiny, source, mine, definition=definition, name="Polite!")
    with pytest.raises(RequestError, match="'safety' is a shipped intrinsic"):
        import_adapter(tiny, source, mine, definition=definition, name="safety")
    path = definition / "intrinsic.yaml"
    path.write_text(DEFINITION.replace("<|im_start|>polite", "<|im_start|>rude"))
    with pytest.raises(InvocationMismatch, match="use that invocation"):
        import_adapter(tiny, source, mine, definition=definition)
    path.write_text(DEFINITION.replace("name: polite", "name: >-\n  polite\n#"))
    with pytest.raises(RequestError, match="write the name plainly"):
        import_adapter(tiny, source, mine, definition=definition, name="other")
    assert not list(mine.glob("*"))


def test_only_an_intrinsic_is_replaced_and_only_when_asked(
    tiny: Engine, tmp_path: Path, definition: Path
) -> None:
    source, mine = saved_by_peft(tiny, tmp_path / "peft"), tmp_path / "mine"
    assert not import_adapter(tiny, source, mine, definition=definition).replaced
    with pytest.raises(RequestError, match="exists; --replace replaces it"):
        import_adapter(tiny, source, mine, definition=definition)
    (mine / "polite" / "train.jsonl").write_text("mine")
    with pytest.raises(RequestError, match=r"train\.jsonl is no part of an intrinsic and would"):
        import_adapter(tiny, source, mine, definition=definition, overwrite=True)
    (mine / "polite" / "train.jsonl").unlink()
    assert import_adapter(tiny, source, mine, definition=definition, overwrite=True).replaced
    (mine / "other").mkdir()
    with pytest.raises(RequestError, match=r"holds no intrinsic\.yaml, so it is no intrinsic"):
        import_adapter(tiny, source, mine, definition=definition, name="other", overwrite=True)


def test_an_adapter_can_be_brought_to_the_definition_where_it_lies(
    tiny: Engine, tmp_path: Path, definition: Path
) -> None:
    place = definition.rename(tmp_path / "polite")
    source = saved_by_peft(tiny, tmp_path / "peft")
    done = import_adapter(tiny, source, tmp_path, definition=place, overwrite=True)
    assert done.directory == place and done.replaced
    assert (place / "intrinsic.yaml").read_text() == DEFINITION


def test_an_import_that_the_disk_refuses_leaves_the_old_one(
    tiny: Engine, tmp_path: Path, definition: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, mine = saved_by_peft(tiny, tmp_path / "peft"), tmp_path / "mine"
    target = import_adapter(tiny, source, mine, definition=definition).directory
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    replace = os.replace

    def full(old: Any, new: Any) -> None:
        if Path(new) == target and "old" not in str(old):
            raise OSError("No space left on device")
        replace(old, new)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(AdapterError, match=r"polite: could not be written .*No space left"):
        import_adapter(tiny, source, mine, definition=definition, overwrite=True)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before
    assert [path.name for path in mine.iterdir()] == ["polite"]


def test_an_import_that_was_killed_is_no_intrinsic(tmp_path: Path) -> None:
    (tmp_path / ".polite-x1").mkdir()
    (tmp_path / ".polite-x1" / "intrinsic.yaml").write_text("name: pol")
    assert Catalogue([tmp_path]).names() == Catalogue().names()
