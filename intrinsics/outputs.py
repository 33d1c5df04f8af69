"""The outputs that an intrinsic may have: labels that are scored, or text that it writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from .calibration import likeliest
from .text_output import TextOutput

MAX_LABELS = 128


class Part(BaseModel):
    """A part of intrinsic.yaml; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _check_labels(labels: Sequence[str]) -> None:
    for label in labels:
        if not label or label != label.strip() or "\n" in label:
            raise ValueError(
                f"bad label {label!r}: it is empty or has space around it; write a word"
            )
    twice = [label for i, label in enumerate(labels) if label in labels[:i]]
    if twice:
        raise ValueError(f"label {twice[0]!r} is there twice; labels are distinct")


def _check_positive(positive: str | None, labels: Sequence[str]) -> None:
    if positive is not None and labels and positive not in labels:
        raise ValueError(
            f"positive is {positive!r}, which is no label; use one of {either(labels)}"
        )


def either(names: Iterable[str]) -> str:
    """Names for a message."""
    return ", ".join(repr(name) for name in names)


class EnumOutput(Part):
    """One of several labels: the likeliest."""

    type: Literal["enum"]
    labels: tuple[str, ...] = Field(min_length=2, max_length=MAX_LABELS)
    positive: str | None = None

    @field_validator("labels")
    @classmethod
    def _labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        _check_labels(labels)
        return labels

    @field_validator("positive")
    @classmethod
    def _positive(cls, positive: str | None, info: ValidationInfo) -> str | None:
        _check_positive(positive, info.data.get("labels", ()))
        return positive

    def value_of(self, distribution: Mapping[str, float]) -> str:
        """The likeliest label."""
        return likeliest(distribution)

    def python_type(self) -> Any:
        """`Literal` of the labels."""
        return Literal.__getitem__(self.labels)

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of a value."""
        return {"type": "string", "enum": list(self.labels)}


class BoolOutput(Part):
    """True or false: the likelier."""

    type: Literal["bool"]
    positive: Literal["true", "false"] = "true"

    @property
    def labels(self) -> tuple[str, ...]:
        """The texts that are scored."""
        return ("true", "false")

    def value_of(self, distribution: Mapping[str, float]) -> bool:
        """Whether "true" is likelier."""
        return likeliest(distribution) == "true"

    def python_type(self) -> Any:
        """`bool`."""
        return bool

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of a value."""
        return {"type": "boolean"}


class IntegerOutput(Part):
    """A whole number in a small range: the likeliest."""

    type: Literal["integer"]
    minimum: int = Field(ge=0)
    maximum: int

    @field_validator("maximum")
    @classmethod
    def _maximum(cls, maximum: int, info: ValidationInfo) -> int:
        minimum = info.data.get("minimum")
        if minimum is not None and not 0 < maximum - minimum < MAX_LABELS:
            raise ValueError(
                f"maximum is {maximum} with minimum {minimum}; it must be above it, by less than "
                f"{MAX_LABELS}"
            )
        return maximum

    @property
    def labels(self) -> tuple[str, ...]:
        """The texts that are scored."""
        return tuple(str(number) for number in range(self.minimum, self.maximum + 1))

    @property
    def positive(self) -> None:
        """A number has no positive label."""

    def value_of(self, distribution: Mapping[str, float]) -> int:
        """The likeliest number."""
        return int(likeliest(distribution))

    def python_type(self) -> Any:
        """`int`."""
        return int

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of a value."""
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}


class ProbabilityOutput(Part):
    """The probability of one of two labels."""

    type: Literal["probability"]
    labels: tuple[str, str]
    positive: str

    @field_validator("labels")
    @classmethod
    def _labels(cls, labels: tuple[str, str]) -> tuple[str, str]:
        _check_labels(labels)
        return labels

    @field_validator("positive")
    @classmethod
    def _positive(cls, positive: str, info: ValidationInfo) -> str:
        _check_positive(positive, info.data.get("labels", ()))
        return positive

    def value_of(self, distribution: Mapping[str, float]) -> float:
        """The probability of the positive label."""
        return distribution[self.positive]

    def python_type(self) -> Any:
        """`float`."""
        return float

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of a value."""
        return {"type": "number", "minimum": 0, "maximum": 1}


LabelOutput: TypeAlias = EnumOutput | BoolOutput | IntegerOutput | ProbabilityOutput
Output: TypeAlias = LabelOutput | TextOutput
