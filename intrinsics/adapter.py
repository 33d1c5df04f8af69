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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import AdapterError
from .peft_config import CONFIG_FILE, PeftConfig

WEIGHTS_FILE = "adapter_model.safetensors"
_FINGERPRINT = "base_model_fingerprint"
_PREFIX = "base_model.model."
# A tensor that loses more than this share of its norm in float16 has numbers below its range.
_HALF_TOLERANCE = 0.01


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
    weights, which PEFT ignores. `targets` names what is adapted where not every layer of a kind is;
    () stands for the last parts of the modules' names.
    """

    modules: Mapping[str, LowRank]
    invocation: tuple[int, ...] | None
    base_model: str
    alpha: float
    fingerprint: str = ""
    targets: tuple[str, ...] = ()

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
        config = PeftConfig.read(directory)
        weights, fingerprint = _read_weights(directory / WEIGHTS_FILE)
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
            rank = config.rank(module)
            if a.shape[0] != rank:
                raise AdapterError(
                    f"{directory / WEIGHTS_FILE}: {module} has rank {a.shape[0]}, but "
                    f"{CONFIG_FILE} says {rank}; take both files from one adapter"
                )
            modules[module] = LowRank(a.float(), b.float(), config.alpha(module) / rank)
        if not modules:
            raise AdapterError(f"{directory / WEIGHTS_FILE}: holds no lora_A weights")
        return Adapter(
            modules=modules,
            invocation=config.invocation,
            base_model=config.base_model,
            alpha=config.alpha(next(iter(modules))),
            fingerprint=fingerprint,
            targets=() if config.names_kinds else tuple(sorted(modules)),
        )

    def save(self, directory: Path) -> None:
        """Write PEFT's format in float16, whole or not at all: an old version stays until then.

        Raises: AdapterError: the disk refused; what stood there before is intact.
        """
        with whole_directory(directory) as fresh:
            self.write(fresh)

    def write(self, directory: Path) -> None:
        """Write PEFT's format in float16 into a directory that exists. Changes: its files.

        Raises: AdapterError: float16 does not hold a weight; OSError, SafetensorError: the disk.
        """
        weights: dict[str, Tensor] = {}
        for name, low in self.modules.items():
            for kind, weight in (("lora_A", low.a), ("lora_B", low.b)):
                weights[f"{_PREFIX}{name}.{kind}.weight"] = in_half(weight, f"{name}.{kind}")
        metadata = {"format": "pt", _FINGERPRINT: self.fingerprint}
        save_file(weights, directory / WEIGHTS_FILE, metadata=metadata)
        self.write_config(directory)

    def write_config(self, directory: Path) -> None:
        """Write adapter_config.json alone. Changes: the file. Raises: OSError: the disk refused."""
        ranks = {name: low.rank for name, low in self.modules.items()}
        alphas = {name: low.scaling * low.rank for name, low in self.modules.items()}
        rank = max(ranks.values())
        kinds = {name.rsplit(".", 1)[-1] for name in self.modules}
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self.base_model,
            "inference_mode": True,
            "r": rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "target_modules": sorted(self.targets or kinds),
            "rank_pattern": {name: r for name, r in ranks.items() if r != rank},
            "alpha_pattern": {
                name: alpha for name, alpha in alphas.items() if not math.isclose(alpha, self.alpha)
            },
            "alora_invocation_tokens": None if self.invocation is None else list(self.invocation),
        }
        (directory / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")


def in_half(weight: Tensor, name: str) -> Tensor:
    """The weight in float16. Raises: AdapterError: its numbers are outside of float16's range."""
    half = weight.detach().half().contiguous()
    lost = torch.linalg.vector_norm(half.float() - weight.detach().float())
    if not torch.isfinite(half).all():
        what, remedy = "too large", "divide that matrix by a power of two and multiply its alpha"
    elif lost > _HALF_TOLERANCE * torch.linalg.vector_norm(weight.detach().float()):
        what, remedy = "too small", "multiply that matrix by a power of two and divide its alpha"
    else:
        return half
    raise AdapterError(f"{name}: numbers {what} for float16, which adapters are kept in; {remedy}")


@contextmanager
def whole_directory(target: Path) -> Iterator[Path]:
    """A directory to fill, put in the place of `target` at the end, or not at all.

    Raises: AdapterError: the disk refused; what stood there before is intact.
    """
    fresh = fresh_directory(target)
    try:
        yield fresh
        fresh.chmod(0o755)
        for path in fresh.rglob("*"):  # safetensors makes its files private
            path.chmod(0o755 if path.is_dir() else 0o644)
        replace_directory(fresh, target)
    except (OSError, SafetensorError) as error:
        raise AdapterError(
            f"{target}: could not be written ({error}); free space and retry"
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


def _read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    if not path.is_file():
        pickled = path.with_suffix(".bin")
        reason = (
            f"only {pickled.name}, a pickle, which is never loaded, since it may run any code; "
            f"load it in PEFT where you trust it: `save_pretrained` writes safetensors"
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
        if not tensor.is_floating_point() or tensor.element_size() < 2:
            raise AdapterError(
                f"{path}: {key} is quantised ({tensor.dtype}); save it as float16, bfloat16 or "
                f"float32"
            )
        if not torch.isfinite(tensor).all():
            raise AdapterError(f"{path}: {key} holds NaN or infinity; restore or retrain it")
    return weights, fingerprint


def _split_key(key: str, directory: Path) -> tuple[str, str]:
    module, dot, rest = key.removeprefix(_PREFIX).rpartition(".lora_")
    if not dot or rest not in ("A.weight", "B.weight"):
        raise AdapterError(
            f"{directory / WEIGHTS_FILE}: unexpected tensor {key!r}; only lora_A and lora_B of "
            f"linear layers are applied: train without embeddings, biases and whole layers"
        )
    return module, f"lora_{rest[0]}"
