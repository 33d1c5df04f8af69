"""What a run is given: messages, documents, and the chain's own typed inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from intrinsics.located import unknown
from intrinsics.messages import Document, Message, not_text

from .errors import InputError
from .model import PYTHON_TYPES, ChainModel


class RunInput(BaseModel):
    """The input of one run; every part may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: tuple[Message, ...] = ()
    documents: tuple[Document, ...] = ()
    inputs: dict[str, Any] = {}

    @staticmethod
    def load(path: Path) -> RunInput:
        """Read a JSON file. Raises: InputError: what is wrong with it, and where."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such file") from None
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: not readable as JSON: {error}") from error
        return RunInput.of(data, str(path))

    @staticmethod
    def of(data: Any, where: str) -> RunInput:
        """Check plain data; `where` names it in errors. Raises: InputError."""
        if not isinstance(data, dict):
            raise InputError(f"{where}: must be an object with messages, documents or inputs")
        for key in data:
            if key not in RunInput.model_fields:
                raise InputError(f"{where}: {unknown('key', str(key), RunInput.model_fields)}")
        try:
            given = RunInput.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(step) for step in first["loc"])
            raise InputError(
                f"{where}: {place}: {first['msg']}; it is {first['input']!r}"
            ) from None
        for i, message in enumerate(given.messages):
            if not message.content.strip():
                raise InputError(f"{where}: messages.{i}: the content is empty; give it text")
            _check_text(message.content, f"{where}: messages.{i}")
        for i, document in enumerate(given.documents):
            _check_text(document.id + document.text, f"{where}: documents.{i}")
        return given


def _check_text(text: str, where: str) -> None:
    """Raises: InputError: half of a surrogate pair, which is no character."""
    wrong = not_text(text)
    if wrong:
        raise InputError(f"{where}: {wrong}")


def typed_inputs(model: ChainModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """The chain's inputs, defaults filled in. Raises: InputError: missing, unknown, mistyped."""
    for name in given:
        if name not in model.input:
            raise InputError(f"inputs: {unknown('input', name, model.input)}")
    values: dict[str, Any] = {}
    for name, field in model.input.items():
        if name not in given and field.default is None:
            raise InputError(f"inputs: {model.name} needs {name!r} ({field.type})")
        value = given.get(name, field.default)
        try:
            values[name] = TypeAdapter(PYTHON_TYPES[field.type]).validate_python(value, strict=True)
        except ValidationError:
            raise InputError(f"inputs: {name} must be {field.type}; it is {value!r}") from None
    return values
