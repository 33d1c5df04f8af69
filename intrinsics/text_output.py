"""The one output that is not a label: text that the adapter writes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class TextOutput(BaseModel, frozen=True, extra="forbid"):
    """Text, written greedily, of at most `max_tokens` tokens."""

    type: Literal["text"]
    max_tokens: int = Field(ge=1, le=4096)

    @property
    def labels(self) -> tuple[str, ...]:
        """None: nothing is scored."""
        return ()

    @property
    def positive(self) -> None:
        """A text has no positive label."""

    def python_type(self) -> Any:
        """`str`."""
        return str

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of a value."""
        return {"type": "string"}
