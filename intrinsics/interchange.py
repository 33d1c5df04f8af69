"""Intrinsics in and out: a PEFT directory into a folder of intrinsics, and one ready to publish.

Both write a directory as a whole or not at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from .adapter import WEIGHTS_FILE, Adapter, in_half, recover_directory, whole_directory
from .cards import model_card, results, skeleton
from .device import one_thread
from .engine import Engine
from .errors import AdapterError, RequestError
from .intrinsic import Intrinsic, matched
from .library import library_path
from .located import load
from .model import Model, Row
from .parts import CARD, README, SUMS, card_text, copy_parts, parts, read_sums, sha256
from .peft_config import CONFIG_FILE, PeftConfig
from .spec import FILE, NAME, Definition

_TRIAL = "(on trial)"


@dataclass(frozen=True)
class Imported:
    """What an import did.

    `rounding` is the largest share of a matrix' norm that its conversion to float16 changed;
    `card_written` tells that there was no CARD.md, and that a skeleton was written.
    """

    name: str
    directory: Path
    activated: bool
    ranks: tuple[int, ...]
    modules: int
    invocation: tuple[int, ...]
    rounding: float
    card_written: bool
    replaced: bool


@dataclass(frozen=True)
class Exported:
    """What an export wrote: the sha256 of each file, and what is left to say before publishing."""

    name: str
    directory: Path
    sha256: dict[str, str]
    left_open: tuple[str, ...]


def import_adapter(
    engine: Engine,
    source: Path,
    folder: Path,
    *,
    definition: Path | None = None,
    name: str | None = None,
    overwrite: bool = False,
) -> Imported:
    """Bring a PEFT directory into a folder of intrinsics. Changes: FOLDER/NAME, as a whole.

    `definition` is an intrinsic.yaml or its directory (None: `source` has one), `name` another
    name than it says; `overwrite` allows an intrinsic to stand there already. The adapter is
    checked against the engine's base model, and run on it once.
    Raises: AdapterError: it can't be applied to this base model, or not be written;
    DefinitionError; InvocationMismatch; RequestError: the target is taken.
    """
    _check_source(source)
    found = Definition.load(_definition_directory(source, definition))
    name = name or found.name
    target = folder.expanduser().resolve() / name
    recover_directory(target)
    replaced = _check_target(target, name, overwrite)
    adapter = Adapter.load(source)
    intrinsic = matched(found, adapter, engine.model, engine.chat)
    adapter = replace(adapter, base_model=_hub_name(adapter.base_model) or found.base_model)
    _check_layers(adapter, PeftConfig.read(source), engine.model)
    _try(adapter, intrinsic, engine.model)
    with whole_directory(target) as fresh:
        copy_parts(found, fresh)
        if name != found.name:
            (fresh / FILE).write_text(_renamed(found, name), encoding="utf-8")
        (fresh / "adapter").mkdir()
        adapter.write(fresh / "adapter")
        written = not (fresh / CARD).exists()
        if written:
            card = skeleton(Definition.load(fresh), adapter)
            (fresh / CARD).write_text(card, encoding="utf-8")
    return Imported(
        name=name,
        directory=target,
        activated=adapter.activated,
        ranks=tuple(sorted({low.rank for low in adapter.modules.values()})),
        modules=len(adapter.modules),
        invocation=intrinsic.invocation,
        rounding=_rounding(adapter),
        card_written=written,
        replaced=replaced,
    )


def export_intrinsic(
    definition: Definition,
    target: Path,
    *,
    base_model: str | None = None,
    licence: str | None = None,
) -> Exported:
    """Write a directory ready to publish on a hub. Changes: `target`, as a whole.

    It holds PEFT's two files, the definition with its instruction and card, a README.md with
    metadata, and the sha256 of all. `base_model` is its hub name, OWNER/NAME.
    Raises: RequestError: `target` holds anything but an unchanged export, or `base_model` is
    another model; AdapterError: there is no usable adapter, or the disk refused.
    """
    target = target.expanduser().resolve()
    adapter = Adapter.load(definition.directory / "adapter")
    known = base_model or _hub_name(adapter.base_model) or definition.base_model
    if known.rsplit("/", 1)[-1] != definition.base_model:
        raise RequestError(
            f"base model {known!r}: {definition.name} was made for {definition.base_model!r}; name "
            f"that one as OWNER/{definition.base_model}"
        )
    if definition.instruction in (README, SUMS, CARD, CONFIG_FILE, WEIGHTS_FILE):
        raise RequestError(
            f"{definition.place('instruction')}: {definition.instruction} is a file of every "
            f"export; name the instruction otherwise"
        )
    _check_export_target(target)
    adapter = replace(adapter, base_model=known)
    path = definition.directory / CARD
    card = card_text(path) if path.is_file() else skeleton(definition, adapter)
    with whole_directory(target) as fresh:
        adapter.write_config(fresh)
        weights = (definition.directory / "adapter" / WEIGHTS_FILE).read_bytes()
        (fresh / WEIGHTS_FILE).write_bytes(weights)
        copy_parts(definition, fresh)
        readme = model_card(definition, adapter, card, known, licence)
        (fresh / README).write_text(readme, encoding="utf-8")
        sums = {file.name: sha256(file) for file in sorted(fresh.iterdir())}
        lines = "".join(f"{digest}  {file}\n" for file, digest in sums.items())
        (fresh / SUMS).write_text(lines, encoding="utf-8")
    open_ = [] if "/" in known else ["base_model: its owner on the hub is not known"]
    open_ += [] if licence else ["license: not known"]
    open_ += [] if path.is_file() else [f"{CARD}: there is none; {README} has a skeleton"]
    open_ += [] if results(card) else ["metrics: the card has no table of results on test data"]
    return Exported(definition.name, target, sums, tuple(open_))


def _check_source(source: Path) -> None:
    """What is no PEFT directory at all is told apart; a published one is compared with its sums."""
    if not source.is_dir():
        raise AdapterError(
            f"{source}: no such directory; give one that PEFT's save_pretrained made"
        )
    if not (source / CONFIG_FILE).is_file():
        inner = sorted(path.parent for path in source.glob(f"*/{CONFIG_FILE}"))
        if inner:
            hint = f"it is one level deeper; give {inner[0]}"
        elif (source / "config.json").is_file():
            hint = "this is a whole model, not an adapter; give what PEFT's save_pretrained made"
        else:
            hint = "give a directory that PEFT's save_pretrained made"
        raise AdapterError(f"{source}: no {CONFIG_FILE}; {hint}")
    for file, digest in read_sums(source).items():
        if file != README and (not (source / file).is_file() or sha256(source / file) != digest):
            raise AdapterError(
                f"{source / file}: not what {SUMS} says; get it again, or delete {SUMS} if you "
                f"changed it yourself"
            )


def _definition_directory(source: Path, definition: Path | None) -> Path:
    if definition is None:
        if (source / FILE).is_file():
            return source
        raise RequestError(
            f"{source}: no {FILE}, which says what the adapter judges; write one and give it with "
            f"--definition"
        )
    if definition.is_dir():
        return definition
    if definition.name != FILE:
        raise RequestError(f"{definition}: a definition is a file {FILE}, or its directory")
    return definition.parent


def _check_target(target: Path, name: str, overwrite: bool) -> bool:
    """Whether an intrinsic stands there. Raises: RequestError: it may not be replaced."""
    if not re.fullmatch(NAME, name):
        raise RequestError(f"name {name!r}: use lower-case letters, digits and _, a letter first")
    shipped = library_path().resolve() / "intrinsics" / name
    if shipped.is_dir() and shipped != target:
        raise RequestError(f"{name!r} is a shipped intrinsic; give yours another --name")
    if not target.exists():
        return False
    if not overwrite:
        raise RequestError(f"{target}: exists; --replace replaces it, --name takes another name")
    if not (target / FILE).is_file():
        raise RequestError(f"{target}: holds no {FILE}, so it is no intrinsic to replace")
    own = {path.name for path in parts(Definition.load(target))} | {"adapter"}
    foreign = sorted(path.name for path in target.iterdir() if path.name not in own)
    if foreign:
        raise RequestError(
            f"{target}: {foreign[0]} is no part of an intrinsic and would be lost; move it first"
        )
    return True


def _check_export_target(target: Path) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / SUMS).is_file() or not (target / FILE).is_file():
        raise RequestError(f"{target}: exists and is no export; choose another directory")
    sums = read_sums(target)
    for path in sorted(target.iterdir()):
        if path.name == SUMS:
            continue
        if not path.is_file() or sums.get(path.name) != sha256(path):
            raise RequestError(
                f"{path}: was added or changed after the export and would be lost; move it, or "
                f"choose another directory"
            )


def _check_layers(adapter: Adapter, config: PeftConfig, model: Model) -> None:
    """The weights are those of the layers that the configuration names, and not all zero."""
    head = model.network.get_output_embeddings()
    linears = {
        name
        for name, module in model.network.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }
    named = config.targets(linears)
    missing, extra = sorted(named - set(adapter.modules)), sorted(set(adapter.modules) - named)
    if missing:
        raise AdapterError(
            f"{config.path.parent / WEIGHTS_FILE}: no weights for {missing[0]}, which "
            f"target_modules names ({len(missing)} such layers); save the adapter again"
        )
    if extra:
        raise AdapterError(
            f"{config.path}: target_modules does not name {extra[0]}, for which there are weights "
            f"that PEFT would leave out ({len(extra)} such layers); save the adapter again"
        )
    if not any(low.b.any() for low in adapter.modules.values()):
        raise AdapterError(
            f"{config.path.parent / WEIGHTS_FILE}: every lora_B is zero, so it changes nothing; "
            f"train it first"
        )


def _try(adapter: Adapter, intrinsic: Intrinsic, model: Model) -> None:
    """Run the adapter on its invocation, as the model will: some layers tell only then."""
    ids = intrinsic.invocation
    with model.lock, one_thread(), torch.inference_mode():
        model.bank.add(_TRIAL, adapter)
        try:
            row = Row(ids, model.tree.branch(), adapter=_TRIAL, read=(len(ids) - 1,))
            logits = model.forward([row])[0]
        finally:
            model.bank.remove(_TRIAL)
    if not torch.isfinite(logits).all():
        raise AdapterError(
            f"{intrinsic.name}: the adapted model's logits are not finite; its weights or its "
            f"alpha are too large, train it with a lower learning rate"
        )


def _renamed(definition: Definition, name: str) -> str:
    """The text of intrinsic.yaml with another name; every other character stays."""
    source = load(definition.directory / FILE)
    line, column = source.position(("name",))
    lines = source.text.splitlines(keepends=True)
    before, rest = lines[line - 1][: column - 1], lines[line - 1][column - 1 :]
    quote = rest[:1] if rest[:1] in ("'", '"') else ""
    if not rest.startswith(quote + definition.name):
        raise RequestError(f"{definition.place('name')}: write the name plainly, so it can change")
    lines[line - 1] = before + quote + name + rest.removeprefix(quote + definition.name)
    return "".join(lines)


def _hub_name(base_model: str) -> str | None:
    """OWNER/NAME; a path of the machine it was trained on is nobody else's business."""
    return base_model if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", base_model) else None


def _rounding(adapter: Adapter) -> float:
    changes = [0.0]
    for name, low in adapter.modules.items():
        for weight in (low.a, low.b):
            norm = torch.linalg.vector_norm(weight)
            if norm > 0:
                apart = torch.linalg.vector_norm(in_half(weight, name).float() - weight)
                changes.append(float(apart / norm))
    return max(changes)
