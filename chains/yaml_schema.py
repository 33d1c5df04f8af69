"""The JSON Schema of a chain's YAML, for editors: made from the models that the loader builds.

It knows keys, spellings and values. What needs the whole chain (names, types, ways to the end) is
checked by `chains validate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import DataclassSchema

from .expression import Constant
from .loader import SHORT
from .model import KINDS, RESERVED, ChainModel, Data, Edge, Field_

Schema: TypeAlias = dict[str, Any]
_EDGE = r"^\s*\S+\s*->\s*\S+\s*$"
_NAMED = {"propertyNames": {"not": {"enum": sorted(RESERVED)}}}


def yaml_schema() -> Schema:
    """The schema, as plain data. Unknown keys are errors everywhere."""
    whole = _of(ChainModel)
    values = whole["properties"]
    head = {"chain": {**values["name"], "description": "The chain's name."}}
    head |= {key: values[key] for key in ("version", "description", "system")}
    parts = {
        "input": {"type": "object", "additionalProperties": _input(), **_NAMED},
        "nodes": {"type": "object", "additionalProperties": {"$ref": "#/$defs/node"}, **_NAMED},
        "flow": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/edge"}},
        "output": values["output"],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A chain",
        "type": "object",
        "properties": head | parts,
        "required": ["chain", "flow"],
        "additionalProperties": False,
        "$defs": {"node": _node(), "edge": _edge()},
    }


class _Conditions(GenerateJsonSchema):
    """Conditions are spelled as text."""

    def dataclass_schema(self, schema: DataclassSchema) -> Schema:
        return {"type": "string", "minLength": 1}


class _Operands(_Conditions):
    """An operand is a name, or a literal: a number, a truth value, a text in quotes of its own."""

    def dataclass_schema(self, schema: DataclassSchema) -> Schema:
        if schema["cls"] is Constant:
            return {"type": ["number", "boolean"]}
        return super().dataclass_schema(schema)


def _of(model: type[Data], spelling: type[GenerateJsonSchema] = _Operands) -> Schema:
    """The schema of a model as it is spelled out in full, without definitions beside it."""
    schema = model.model_json_schema(schema_generator=spelling, ref_template="{model}")
    definitions = schema.pop("$defs", {})
    plain: Schema = _inlined(schema, definitions)
    return plain


def _inlined(part: Any, definitions: Mapping[str, Any]) -> Any:
    """The part with definitions in the places that name them, and each of several ways once."""
    if isinstance(part, list):
        several = [_inlined(one, definitions) for one in part]
        return [one for i, one in enumerate(several) if one not in several[:i]]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _inlined(definitions[part["$ref"]], definitions)
    return {
        key: _inlined(one, definitions)
        for key, one in part.items()
        if key != "title" or not isinstance(one, str)
    }


def _input() -> Schema:
    long = _of(Field_)
    return {"anyOf": [long["properties"]["type"], long]}


def _node() -> Schema:
    """A kind with its values; or the kind alone, where it has none that are required."""
    kinds = {kind: _kind(kind) for kind in KINDS}
    bare = [kind for kind, model in KINDS.items() if not _of(model).get("required")]
    long = {
        "type": "object",
        "properties": kinds,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"description": "A node has exactly one kind.", "anyOf": [{"enum": bare}, long]}


def _kind(kind: str) -> Schema:
    long = _of(KINDS[kind])
    described = {"description": long.pop("description")}
    if kind == "check":
        return {**described, "anyOf": _check(long["properties"]["intrinsics"])}
    spellings = [long]
    if kind in SHORT:
        spellings.insert(0, _text(long["properties"][SHORT[kind]]))
    if not long.get("required"):
        spellings.append({"type": "null"})
    return {**described, "anyOf": spellings}


def _check(intrinsics: Schema) -> list[Schema]:
    """One name, several, or names with their arguments."""
    name = {"type": "string", "minLength": 1}
    several = {"type": "array", "items": name, "minItems": 1, "uniqueItems": True}
    arguments = {"anyOf": [intrinsics["additionalProperties"], {"type": "null"}]}
    return [name, several, {**intrinsics, "additionalProperties": arguments}]


def _text(field: Schema) -> Schema:
    """A field's schema where it is text, so not left out."""
    for one in field.get("anyOf", [field]):
        if one.get("type") == "string":
            return {key: value for key, value in one.items() if key != "default"}
    raise AssertionError("the short spelling of a node is a text")


def _edge() -> Schema:
    """`source -> target`, alone or with what must hold."""
    long = _of(Edge, _Conditions)
    parts = {k: v for k, v in long["properties"].items() if k not in ("source", "target")}
    spec = {
        "type": "object",
        "properties": parts | {"otherwise": {"const": True}},
        "additionalProperties": False,
    }
    mapping = {
        "type": "object",
        "patternProperties": {_EDGE: {"anyOf": [{"const": "otherwise"}, spec, {"type": "null"}]}},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    text = {"type": "string", "pattern": _EDGE}
    return {"description": long["description"], "anyOf": [text, mapping]}
