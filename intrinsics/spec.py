"""An intrinsic's definition: what it judges, what it reads, how it is invoked, what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
)
from pydantic_core.core_schema import ValidationInfo

from .calibration import Calibration, Fitted, Threshold, likeliest
from .errors import DefinitionError, Fault, RequestError
from .located import Located, fault_at, load, unknown
from .messages import Document, Message
from .outputs import Output, Part, either
from .template import Shape, Template, TemplateFault
from .text_output import TextOutput

FILE = "intrinsic.yaml"
NAME = r"^[a-z][a-z0-9_]*$"

Value: TypeAlias = str | bool | int | float


class Reads(Part):
    """What a conversation must have for the intrinsic to judge it.

    `without_documents` is the label that holds where there are none, so that nothing is asked.
    """

    last: Literal["user", "assistant"]
    documents: Literal["required", "optional", "none"] = "optional"
    without_documents: str | None = None


class Definition(Part):
    """A checked definition; `directory` holds its adapter and its card."""

    name: str = Field(pattern=NAME)
    version: int = Field(ge=1)
    judges: str = Field(min_length=1)
    reads: Reads
    arguments: dict[str, str] = Field(default_factory=dict)
    instruction: str | None = None
    instruction_place: Literal["before", "after"] = "before"  # the invocation
    invocation: str = Field(min_length=1)
    output: Annotated[Output, Field(discriminator="type")]
    calibration: Calibration = Calibration()
    threshold: Threshold | None = None
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

    @field_validator("calibration", "threshold")
    @classmethod
    def _suits(cls, part: Fitted | None, info: ValidationInfo) -> Fitted | None:
        if part is not None and (output := info.data.get("output")):
            part.check(output.type, output.labels, output.positive)
        return part

    @field_validator("output")
    @classmethod
    def _settled(cls, output: Output, info: ValidationInfo) -> Output:
        reads: Reads | None = info.data.get("reads")
        if reads is None or reads.without_documents is None:
            return output
        label = reads.without_documents
        if reads.documents != "required":
            raise ValueError("reads.without_documents is for an intrinsic that requires documents")
        if label not in output.labels:
            raise ValueError(unknown("label", label, output.labels))
        return output

    @field_validator("instruction")
    @classmethod
    def _instruction(cls, instruction: str | None) -> str | None:
        if instruction is not None and Path(instruction).name != instruction:
            raise ValueError(f"instruction {instruction!r} must be a file in the directory itself")
        return instruction

    @field_validator("instruction_place")
    @classmethod
    def _placed(cls, place: str, info: ValidationInfo) -> str:
        if "instruction" in info.data and info.data["instruction"] is None:
            raise ValueError("there is no instruction to place; name its template or drop this key")
        return place

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

    def label_of(self, distribution: Mapping[str, float]) -> str:
        """The label that is found: the likeliest, or what a fitted threshold says."""
        if self.threshold is None or self.output.positive is None:
            return likeliest(distribution)
        return self.threshold.label_of(distribution, self.output.positive)

    def value_of(self, distribution: Mapping[str, float]) -> Value:
        """The value that a calibrated distribution stands for, threshold included."""
        assert not isinstance(self.output, TextOutput), "a text is no value of a distribution"
        if self.threshold is None:
            return self.output.value_of(distribution)
        return self.output.value_of({self.label_of(distribution): 1.0})

    def render_instruction(
        self,
        messages: Sequence[Message],
        documents: Sequence[Document],
        arguments: Mapping[str, str],
    ) -> str:
        """The instruction's text for one call; "" where the definition has none.

        Raises: RequestError: an argument is missing or unknown; DefinitionError: rendering failed.
        """
        self.check_arguments(arguments)
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

    def check_arguments(self, given: Mapping[str, str]) -> None:
        """Raises: RequestError: an argument is missing or unknown."""
        missing = [name for name in self.arguments if name not in given]
        if missing:
            what = self.arguments[missing[0]]
            raise RequestError(f"{self.name} needs the argument {missing[0]!r}: {what}")
        extra = [name for name in given if name not in self.arguments]
        if extra:
            known = either(self.arguments) or "none"
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
