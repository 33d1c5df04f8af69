"""PEFT's `adapter_config.json`: read, checked, and asked what it says about each layer.

What would change the arithmetic and is not computed here is refused, never ignored; so is a
setting that is not known at all, since it may.
Source: huggingface/peft, `LoraConfig`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import AdapterError

CONFIG_FILE = "adapter_config.json"
# Settings that change the arithmetic: what they do, or what to train instead.
_UNSUPPORTED = {
    "use_dora": "DoRA rescales the base model's own weights; train with use_dora=False",
    "bias": "it changes the base model's biases; train with bias='none'",
    "lora_bias": "lora_B has a bias; train with lora_bias=False",
    "modules_to_save": "it replaces whole layers of the base model; train without it",
    "trainable_token_indices": "it changes the base model's embeddings; train without it",
    "target_parameters": "parameters outside linear layers are not adapted; name target_modules",
    "fan_in_fan_out": "weights of Conv1D layers lie transposed; use a base model of linear layers",
    "layer_replication": "it makes another base model, with layers used twice; train without it",
    "use_qalora": "it pools the layer's input; train with use_qalora=False",
    "use_bdlora": "its matrices are block-diagonal; train without it",
    "kasa_config": "it changes the base model's own weights; train without it",
    "monteclora_config": "its weights are sampled; train without it",
    "arrow_config": "it routes between several adapters; give a single one",
    "megatron_config": "layers of Megatron are not linear layers of transformers; train without it",
}
# What is read here, and what matters to nothing but the training.
_KNOWN = {
    "alora_invocation_string",
    "alora_invocation_tokens",
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "init_lora_weights",
    "invocation_string",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
    "velora_config",
}
# Ways to begin a training that also change the base model's weights.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
# How aLoRAs told their invocation before PEFT had them; PEFT itself goes by token ids alone.
_OLD_INVOCATIONS = ("invocation_string", "alora_invocation_string")


@dataclass(frozen=True)
class PeftConfig:
    """A checked configuration; `values` is the JSON object in the file at `path`."""

    values: Mapping[str, Any]
    path: Path

    @staticmethod
    def read(directory: Path) -> PeftConfig:
        """Read DIRECTORY/adapter_config.json.

        Raises: AdapterError: it is missing or broken, or asks for arithmetic we lack.
        """
        path = directory / CONFIG_FILE
        if not path.is_file():
            raise AdapterError(f"{directory}: no {CONFIG_FILE}; train it with `chains train`")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise AdapterError(f"{path}: not valid JSON ({error}); restore the file") from error
        if not isinstance(values, dict):
            raise AdapterError(f"{path}: not a JSON object; restore the file")
        config = PeftConfig(values, path)
        config._check_values()
        config._check_arithmetic()
        return config

    @property
    def invocation(self) -> tuple[int, ...] | None:
        """The token ids from which it acts; None: on every token."""
        tokens = self.values.get("alora_invocation_tokens")
        return None if tokens is None else tuple(tokens)

    @property
    def base_model(self) -> str:
        """What it was trained on: a hub name, a path, or ""."""
        return str(self.values.get("base_model_name_or_path") or "")

    def rank(self, module: str) -> int:
        """The rank of one layer."""
        return int(self._of("rank_pattern", module, self.values["r"]))

    def alpha(self, module: str) -> float:
        """The alpha of one layer, such that its update is scaled by alpha / rank."""
        alpha = float(self._of("alpha_pattern", module, self.values["lora_alpha"]))
        return alpha * math.sqrt(self.rank(module)) if self.values.get("use_rslora") else alpha

    @property
    def names_kinds(self) -> bool:
        """Whether its targets are a list of names, each of which means every layer so named."""
        limits = ("layers_to_transform", "exclude_modules")
        wanted = self.values.get("target_modules")
        kinds = isinstance(wanted, list) and not any("." in name for name in wanted)
        return kinds and not any(self.values.get(key) not in (None, [], "") for key in limits)

    def targets(self, modules: Iterable[str]) -> set[str]:
        """Which of a base model's linear layers it says to adapt."""
        return {module for module in modules if self._is_target(module)}

    def _of(self, pattern: str, module: str, otherwise: object) -> Any:
        """The first entry of a pattern whose key is the end of a layer's name, or a regex of it."""
        for key, value in (self.values.get(pattern) or {}).items():
            if re.fullmatch(rf"(.*\.)?({key})", module):
                return value
        return otherwise

    def _is_target(self, module: str) -> bool:
        excluded, wanted = self.values.get("exclude_modules"), self.values.get("target_modules")
        if excluded and _matches(excluded, module):
            return False
        if wanted == "all-linear":
            return True
        if not _matches(wanted or (), module):
            return False
        return isinstance(wanted, str) or module in (wanted or ()) or self._in_layers(module)

    def _in_layers(self, module: str) -> bool:
        """`layers_to_transform`: by the first number in a layer's name, after `layers_pattern`."""
        layers = self.values.get("layers_to_transform")
        if layers is None or layers == []:
            return True
        names = self.values.get("layers_pattern") or ()
        names = names if isinstance(names, str) else "|".join(names)
        before = rf"(?:.*?\.)?(?:{names})" if names else r".*?\.[^.]*"
        found = re.match(rf"{before}\.(\d+)\.", module)
        wanted = [layers] if isinstance(layers, int) else layers
        return found is not None and int(found[1]) in wanted

    def _check_values(self) -> None:
        kind = self.values.get("peft_type")
        if kind != "LORA":
            raise AdapterError(f"{self.path}: peft_type is {kind!r}, only LORA is supported")
        for key in ("r", "lora_alpha"):
            self._check_number(key, self.values.get(key))
        for key in ("rank_pattern", "alpha_pattern"):
            pattern = self.values.get(key) or {}
            if not isinstance(pattern, dict):
                raise AdapterError(f"{self.path}: {key} is {pattern!r}; it must be an object")
            for name, value in pattern.items():
                self._check_regex(key, name)
                self._check_number(f"{key}[{name!r}]", value)
        for key in ("target_modules", "exclude_modules"):
            names = self.values.get(key)
            if isinstance(names, str):
                self._check_regex(key, names)
            elif not _is_list(names or [], str):
                raise AdapterError(
                    f"{self.path}: {key} is {names!r}; it must be a list of names, or a regex"
                )
        tokens = self.values.get("alora_invocation_tokens")
        if tokens is not None and not (tokens and _is_list(tokens, int)):
            raise AdapterError(
                f"{self.path}: alora_invocation_tokens is {tokens!r}; it must be a list of token "
                f"ids"
            )

    def _check_number(self, key: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
            raise AdapterError(f"{self.path}: {key} is {value!r}; it must be a number above 0")

    def _check_regex(self, key: str, pattern: str) -> None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise AdapterError(f"{self.path}: {key}: {pattern!r} is no regex ({error})") from error

    def _check_arithmetic(self) -> None:
        begun = str(self.values.get("init_lora_weights")).lower()
        if begun.startswith(_CHANGES_BASE):
            raise AdapterError(
                f"{self.path}: init_lora_weights = {begun!r} changes the base model's own weights; "
                f"convert the adapter with PEFT's path_initial_model_for_weight_conversion first"
            )
        for key in _OLD_INVOCATIONS:
            if self.values.get(key) and self.invocation is None:
                raise AdapterError(
                    f"{self.path}: {key} = {self.values[key]!r} tells an aLoRA's invocation as "
                    f"text, which PEFT would take for an ordinary LoRA; write its token ids as "
                    f"alora_invocation_tokens"
                )
        for key, value in self.values.items():
            if not value or (key, value) == ("bias", "none") or key in _KNOWN:
                continue
            why = _UNSUPPORTED.get(
                key, "no such setting is known here; remove it if it changes the training alone"
            )
            raise AdapterError(f"{self.path}: {key} = {value!r} is not supported: {why}")


def _matches(names: str | Iterable[str], module: str) -> bool:
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names)


def _is_list(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, kind) and not isinstance(one, bool) for one in value
    )
