"""Low-rank weights of one adapter: read and written in PEFT's directory format.

An Activated LoRA is a LoRA whose `adapter_config.json` names its invocation
(`alora_invocation_tokens`): its weights act from the first invocation token on.
Source: arXiv 2504.12397; huggingface/peft#2609 (directory format).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import AdapterError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_FINGERPRINT = "base_model_fingerprint"
_PREFIX = "base_model.model."
# Settings of PEFT that change the arithmetic and that we do not compute: refused, never ignored.
_UNSUPPORTED: dict[str, object] = {
    "use_dora": False,
    "fan_in_fan_out": False,
    "modules_to_save": None,
    "alpha_pattern": {},
    "trainable_token_indices": None,
    "target_parameters": None,
    "lora_bias": False,
    "use_qalora": False,
    "use_bdlora": None,
    "layer_replication": None,
    "bias": "none",
}
# Ways to begin a training that also change the base model's weights.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class LowRank:
    """The update of one linear layer: x -> scaling * (x @ a.T) @ b.T.

    Shapes: a (rank, in_features), b (out_features, rank).
    """

    a: Tensor
    b: Tensor
    scaling: float

    @property
    def rank(self) -> int:
        """Columns of b, rows of a."""
        return self.a.shape[0]


@dataclass(frozen=True)
class Adapter:
    """The weights of an adapter by module name, and what its configuration says.

    `invocation` holds the token ids it was trained with; None marks an ordinary LoRA, which acts
    on every token and therefore can't read the base model's cache. `fingerprint` is that of the
    base model it was trained on ("" where the file does not say); it lies in the metadata of the
    weights, which PEFT ignores.
    """

    modules: Mapping[str, LowRank]
    invocation: tuple[int, ...] | None
    base_model: str
    alpha: float
    fingerprint: str = ""

    @property
    def activated(self) -> bool:
        """Whether it is an Activated LoRA."""
        return self.invocation is not None

    @staticmethod
    def load(directory: Path) -> Adapter:
        """Read a PEFT directory; only safetensors, never a pickle. Weights become float32.

        Raises: AdapterError: a file is missing or corrupt, or asks for arithmetic we lack.
        """
        recover_directory(directory)
        config = _read_config(directory)
        weights, fingerprint = _read_weights(directory / WEIGHTS_FILE)
        scaling = _scalings(config)
        modules: dict[str, LowRank] = {}
        for key in sorted(weights):
            module, kind = _split_key(key, directory)
            if kind == "lora_B":
                if key.replace("lora_B", "lora_A") not in weights:
                    raise AdapterError(f"{directory / WEIGHTS_FILE}: {key} has no lora_A beside it")
                continue
            b = weights.get(key.replace("lora_A", "lora_B"))
            if b is None:
                raise AdapterError(f"{directory / WEIGHTS_FILE}: {key} has no lora_B beside it")
            a = weights[key]
            if a.ndim != 2 or b.ndim != 2 or b.shape[1] != a.shape[0] or not a.shape[0]:
                raise AdapterError(
                    f"{directory / WEIGHTS_FILE}: {module}: lora_A {tuple(a.shape)} and "
                    f"lora_B {tuple(b.shape)} do not multiply"
                )
            modules[module] = LowRank(a.float(), b.float(), scaling(a.shape[0]))
        if not modules:
            raise AdapterError(f"{directory / WEIGHTS_FILE}: holds no lora_A weights")
        tokens = config.get("alora_invocation_tokens")
        return Adapter(
            modules=modules,
            invocation=None if tokens is None else tuple(tokens),
            base_model=str(config.get("base_model_name_or_path") or ""),
            alpha=float(config["lora_alpha"]),
            fingerprint=fingerprint,
        )

    def save(self, directory: Path) -> None:
        """Write PEFT's format in float16, whole or not at all: an old version stays until then.

        Raises: AdapterError: the disk refused; what stood there before is intact.
        """
        ranks = {name: low.rank for name, low in self.modules.items()}
        rank = max(ranks.values())
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self.base_model,
            "inference_mode": True,
            "r": rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "target_modules": sorted({name.rsplit(".", 1)[-1] for name in self.modules}),
            "rank_pattern": {name: r for name, r in ranks.items() if r != rank},
            "alora_invocation_tokens": None if self.invocation is None else list(self.invocation),
        }
        weights: dict[str, Tensor] = {}
        for name, low in self.modules.items():
            weights[f"{_PREFIX}{name}.lora_A.weight"] = low.a.detach().half().contiguous()
            weights[f"{_PREFIX}{name}.lora_B.weight"] = low.b.detach().half().contiguous()
        fresh = fresh_directory(directory)
        try:
            metadata = {"format": "pt", _FINGERPRINT: self.fingerprint}
            save_file(weights, fresh / WEIGHTS_FILE, metadata=metadata)
            (fresh / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
            fresh.chmod(0o755)
            replace_directory(fresh, directory)
        except (OSError, SafetensorError) as error:
            raise AdapterError(
                f"{directory}: could not be written ({error}); free space and retry"
            ) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def fresh_directory(target: Path) -> Path:
    """An empty directory beside `target`, to be filled and put in its place.

    Raises: AdapterError: nothing can be written there.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise AdapterError(
            f"{target.parent}: can't be written ({error}); choose another directory"
        ) from error


def recover_directory(target: Path) -> None:
    """Finish a `replace_directory` that was killed between its renames. Changes: the disk."""
    if target.exists():
        return
    for old in target.parent.glob(f".{target.name}-old-*/{target.name}"):
        os.replace(old, target)
        shutil.rmtree(old.parent, ignore_errors=True)
        return


def replace_directory(fresh: Path, target: Path) -> None:
    """Put the directory `fresh` in the place of `target` by renames alone."""
    if not target.exists():
        os.replace(fresh, target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
    os.replace(target, old / target.name)
    try:
        os.replace(fresh, target)
    except OSError:
        os.replace(old / target.name, target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG_FILE
    if not path.is_file():
        raise AdapterError(f"{directory}: no {CONFIG_FILE}; train it with `chains train`")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path}: not valid JSON ({error}); restore the file") from error
    if not isinstance(config, dict):
        raise AdapterError(f"{path}: not a JSON object; restore the file")
    _check_config(config, path)
    return config


def _check_config(config: Mapping[str, Any], path: Path) -> None:
    if config.get("peft_type") != "LORA":
        raise AdapterError(
            f"{path}: peft_type is {config.get('peft_type')!r}, only LORA is supported"
        )
    for key in ("r", "lora_alpha"):
        value = config.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
            raise AdapterError(f"{path}: {key} is {value!r}; it must be a number above 0")
    tokens = config.get("alora_invocation_tokens")
    if tokens is not None and not _are_ids(tokens):
        raise AdapterError(
            f"{path}: alora_invocation_tokens is {tokens!r}; it must be a list of token ids"
        )
    begun = str(config.get("init_lora_weights")).lower()
    if begun.startswith(_CHANGES_BASE):
        raise AdapterError(
            f"{path}: init_lora_weights = {begun!r} changes the base model's own weights; convert "
            f"the adapter with PEFT's path_initial_model_for_weight_conversion first"
        )
    for key, neutral in _UNSUPPORTED.items():
        if config.get(key) not in (neutral, None, [], {}):
            raise AdapterError(f"{path}: {key} = {config[key]!r} is not supported")


def _are_ids(tokens: object) -> bool:
    return (
        isinstance(tokens, list)
        and bool(tokens)
        and all(isinstance(token, int) and not isinstance(token, bool) for token in tokens)
    )


def _read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    if not path.is_file():
        pickled = path.with_suffix(".bin")
        reason = (
            f"only {pickled.name}, a pickle, which is never loaded; convert it to safetensors"
            if pickled.exists()
            else "weights are missing; train it with `chains train`"
        )
        raise AdapterError(f"{path.parent}: no {path.name}: {reason}")
    try:
        with safe_open(path, framework="pt") as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            fingerprint = (file.metadata() or {}).get(_FINGERPRINT, "")
    except (SafetensorError, OSError) as error:
        raise AdapterError(
            f"{path}: not readable as safetensors ({error}); restore the file"
        ) from error
    for key, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise AdapterError(f"{path}: {key} holds NaN or infinity; restore or retrain it")
    return weights, fingerprint


def _scalings(config: Mapping[str, Any]) -> Callable[[int], float]:
    alpha = float(config["lora_alpha"])
    if config.get("use_rslora"):
        return lambda rank: alpha / math.sqrt(rank)
    return lambda rank: alpha / rank


def _split_key(key: str, directory: Path) -> tuple[str, str]:
    module, dot, rest = key.removeprefix(_PREFIX).rpartition(".lora_")
    if not dot or rest not in ("A.weight", "B.weight"):
        raise AdapterError(f"{directory / WEIGHTS_FILE}: unexpected tensor {key!r}")
    return module, f"lora_{rest[0]}"
