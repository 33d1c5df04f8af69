"""An intrinsic's definition: what it judges, what it reads, how it is invoked, what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
)
from pydantic_core.core_schema import ValidationInfo

from .errors import DefinitionError, Fault, RequestError
from .located import Located, fault_at, load
from .messages import Document, Message
from .template import Shape, Template, TemplateFault
from .text_output import TextOutput

FILE = "intrinsic.yaml"
MAX_LABELS = 128
NAME = r"^[a-z][a-z0-9_]*$"

Value: TypeAlias = str | bool | int | float


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Reads(_Part):
    """What a conversation must have for the intrinsic to judge it."""

    last: Literal["user", "assistant"]
    documents: Literal["required", "optional", "none"] = "optional"


class Calibration(_Part):
    """How raw probabilities become honest ones: softmax(log raw / temperature)."""

    temperature: float = Field(default=1.0, gt=0, le=100)


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
        raise ValueError(f"positive is {positive!r}, which is no label; use one of {_or(labels)}")


def _or(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _likeliest(distribution: Mapping[str, float]) -> str:
    return max(distribution, key=distribution.__getitem__)


class EnumOutput(_Part):
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
        return _likeliest(distribution)

    def python_type(self) -> Any:
        """`Literal` of the labels."""
        return Literal.__getitem__(self.labels)

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of a value."""
        return {"type": "string", "enum": list(self.labels)}


class BoolOutput(_Part):
    """True or false: the likelier."""

    type: Literal["bool"]
    positive: Literal["true", "false"] = "true"

    @property
    def labels(self) -> tuple[str, ...]:
        """The texts that are scored."""
        return ("true", "false")

    def value_of(self, distribution: Mapping[str, float]) -> bool:
        """Whether "true" is likelier."""
        return _likeliest(distribution) == "true"

    def python_type(self) -> Any:
        """`bool`."""
        return bool

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of a value."""
        return {"type": "boolean"}


class IntegerOutput(_Part):
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
        return int(_likeliest(distribution))

    def python_type(self) -> Any:
        """`int`."""
        return int

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of a value."""
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}


class ProbabilityOutput(_Part):
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


Output: TypeAlias = EnumOutput | BoolOutput | IntegerOutput | ProbabilityOutput | TextOutput


class Definition(_Part):
    """A checked definition; `directory` holds its adapter and its card."""

    name: str = Field(pattern=NAME)
    version: int = Field(ge=1)
    judges: str = Field(min_length=1)
    reads: Reads
    arguments: dict[str, str] = {}
    instruction: str | None = None
    invocation: str = Field(min_length=1)
    output: Annotated[Output, Field(discriminator="type")]
    calibration: Calibration = Calibration()
    base_model: str = Field(min_length=1)

    _directory: Path = PrivateAttr(default=Path())
    _source: Located | None = PrivateAttr(default=None)
    _template: Template | None = PrivateAttr(default=None)

    @field_validator("arguments")
    @classmethod
    def _arguments(cls, arguments: dict[str, str]) -> dict[str, str]:
        for name in arguments:
            if not name.isidentifier():
                raise ValueError(f"argument {name!r} is not a name; use letters, digits and _")
        return arguments

    @field_validator("calibration")
    @classmethod
    def _calibration(cls, calibration: Calibration, info: ValidationInfo) -> Calibration:
        if isinstance(info.data.get("output"), TextOutput):
            raise ValueError("a text has no probabilities to calibrate; leave this key out")
        return calibration

    @field_validator("instruction")
    @classmethod
    def _instruction(cls, instruction: str | None) -> str | None:
        if instruction is not None and Path(instruction).name != instruction:
            raise ValueError(f"instruction {instruction!r} must be a file in the directory itself")
        return instruction

    @staticmethod
    def load(directory: str | Path) -> Definition:
        """Read and check DIRECTORY/intrinsic.yaml and the instruction it names.

        Raises: DefinitionError: with every fault, each at its line and column.
        """
        directory = Path(directory)
        if not (directory / FILE).is_file():
            raise DefinitionError(
                [
                    Fault(
                        str(directory / FILE),
                        1,
                        1,
                        "missing; an intrinsic's directory has one",
                    )
                ]
            )
        source = load(directory / FILE)
        if not isinstance(source.data, dict):
            raise DefinitionError([source.fault((), "must be a mapping that begins with 'name:'")])
        try:
            definition = Definition.model_validate(source.data)
        except ValidationError as error:
            raise DefinitionError(source.faults(error, Definition)) from None
        definition._directory, definition._source = directory, source
        definition._load_instruction(source)
        return definition

    @property
    def directory(self) -> Path:
        """Where it was loaded from."""
        return self._directory

    def place(self, key: str) -> str:
        """`file:line:column` of a key of intrinsic.yaml, for messages."""
        if self._source is None:
            return f"{self.name}.{key}"
        line, column = self._source.position((key,))
        return f"{self._source.file}:{line}:{column}"

    def render_instruction(
        self,
        messages: Sequence[Message],
        documents: Sequence[Document],
        arguments: Mapping[str, str],
    ) -> str:
        """The instruction's text for one call; "" where the definition has none.

        Raises: RequestError: an argument is missing or unknown; DefinitionError: rendering failed.
        """
        self._check_arguments(arguments)
        if self._template is None:
            return ""
        names = {
            "arguments": dict(arguments),
            "messages": [message.model_dump() for message in messages],
            "documents": [document.model_dump() for document in documents],
        }
        try:
            return self._template.render(names)
        except TemplateFault as fault:
            raise DefinitionError([self._located(fault)]) from fault

    def _check_arguments(self, given: Mapping[str, str]) -> None:
        missing = [name for name in self.arguments if name not in given]
        if missing:
            what = self.arguments[missing[0]]
            raise RequestError(f"{self.name} needs the argument {missing[0]!r}: {what}")
        extra = [name for name in given if name not in self.arguments]
        if extra:
            known = _or(self.arguments) or "none"
            raise RequestError(f"{self.name} takes no argument {extra[0]!r}; it takes {known}")

    def _load_instruction(self, source: Located) -> None:
        if self.instruction is None:
            return
        path = self._directory / self.instruction
        try:
            self._template = Template(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            why = "is missing" if isinstance(error, FileNotFoundError) else f"is unusable: {error}"
            message = f"the template {path} {why}"
            raise DefinitionError([source.fault(("instruction",), message)]) from None
        shape: Shape = {
            "arguments": dict.fromkeys(self.arguments),
            "messages": None,
            "documents": None,
        }
        faults = self._template.check(shape)
        if faults:
            raise DefinitionError([self._located(fault) for fault in faults])

    def _located(self, fault: TemplateFault) -> Fault:
        assert self._template is not None and self.instruction is not None
        text = self._template.source
        before = text[: fault.offset]
        column = fault.offset - (before.rfind("\n") + 1) + 1
        file = str(self._directory / self.instruction)
        return fault_at(file, text, before.count("\n") + 1, column, fault.message)
