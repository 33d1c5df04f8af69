"""The JSON Schema of a chain's YAML, for editors: made from the models that the loader builds.

It knows keys, spellings and values. What needs the whole chain (names, types, ways to the end) is
checked by `chains validate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import DataclassSchema

from .bodies import SHORT
from .expression import Constant
from .model import KINDS, RESERVED, ChainModel, Data, Edge, Field_

Schema: TypeAlias = dict[str, Any]
_EDGE = r"^\s*\S+\s*->\s*\S+\s*$"
_TEXT = {"type": "string", "minLength": 1}
_NODE = {"$ref": "#/$defs/node"}
_KIND_OF = {model.__name__: kind for kind, model in KINDS.items()}
_BESIDE = sorted(set[str].intersection(*(set(model.model_fields) for model in KINDS.values())))
_NAMED = {"propertyNames": {"not": {"enum": sorted(RESERVED)}}}
EDITOR_LINE = "# yaml-language-server: $schema=chain.schema.json\n"
"""The first line of a chain's file, by which editors find the schema that stands beside it."""


def yaml_schema() -> Schema:
    """The schema, as plain data. Unknown keys are errors everywhere."""
    values = _of(ChainModel)["properties"]
    parts = {
        "name": {**values["name"], "description": "The chain's name."},
        "input": {"type": "object", "additionalProperties": _input(), **_NAMED},
        "nodes": {"type": "object", "additionalProperties": _NODE, **_NAMED},
        "flow": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/edge"}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A chain",
        "type": "object",
        "properties": {
            "chain" if key == "name" else key: parts.get(key, values[key])
            for key in ChainModel.model_fields
        },
        "required": ["chain", "flow"],
        "additionalProperties": False,
        "$defs": {
            "node": _node(),
            "edge": _edge(),
            **{_place(kind): _kind(kind) for kind in KINDS},
        },
    }


class _Conditions(GenerateJsonSchema):
    """Conditions are spelled as text."""

    def dataclass_schema(self, schema: DataclassSchema) -> Schema:
        return _TEXT


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
    whole = definitions.get(schema.get("$ref"), schema)  # one that contains itself is a reference
    plain: Schema = _inlined(whole, definitions)
    return plain


def _inlined(part: Any, definitions: Mapping[str, Any], *, one_of: bool = False) -> Any:
    """The part with definitions in the places that name them, and each of several ways once.

    A model of a node stands for its values; where several are possible, for a node with its kind.
    """
    if isinstance(part, list):
        several = [_inlined(one, definitions, one_of=True) for one in part]
        return [one for i, one in enumerate(several) if one not in several[:i]]
    if not isinstance(part, dict):
        return part
    name = part.get("$ref")
    if name == ChainModel.__name__:
        return {"anyOf": [_TEXT, {"$ref": "#"}]}
    if name in _KIND_OF:
        return _NODE if one_of else {"$ref": f"#/$defs/{_place(_KIND_OF[name])}"}
    if name is not None:
        return _inlined(definitions[name], definitions)
    return {
        key: _inlined(one, definitions)
        for key, one in part.items()
        if key != "title" or not isinstance(one, str)
    }


def _input() -> Schema:
    long = _of(Field_)
    return {"anyOf": [long["properties"]["type"], long]}


def _place(kind: str) -> str:
    """Where the values of a kind are defined."""
    return f"{kind}_values"


def _node() -> Schema:
    """A kind with its values, maybe with what any kind may have beside it; or the kind alone."""
    models = {kind: _of(model) for kind, model in KINDS.items()}
    kinds = {kind: {"$ref": f"#/$defs/{_place(kind)}"} for kind in KINDS}
    shared = next(iter(models.values()))["properties"]
    beside = {name: _spelled(name, shared[name]) for name in _BESIDE}
    long = {
        "type": "object",
        "properties": kinds | beside,
        "additionalProperties": False,
        "oneOf": [{"required": [kind]} for kind in KINDS],
    }
    bare = [kind for kind, model in models.items() if not model.get("required")]
    return {"description": "A node has exactly one kind.", "anyOf": [{"enum": bare}, long]}


def _spelled(name: str, field: Schema) -> Schema:
    """A retry may be spelled by its number of times alone."""
    if name != "retry":
        return field
    [long] = [one for one in field["anyOf"] if "properties" in one]
    return {"anyOf": [long["properties"]["times"], *field["anyOf"]]}


def _kind(kind: str) -> Schema:
    """The values of a kind, in short and in full."""
    long = _of(KINDS[kind])
    described = {"description": long.pop("description")}
    long["properties"] = {k: v for k, v in long["properties"].items() if k not in _BESIDE}
    if kind == "check":
        return {**described, "anyOf": _check(long["properties"]["intrinsics"])}
    spellings = [long]
    if kind in SHORT:
        field = long["properties"][SHORT[kind]]
        ways = field.get("anyOf", [field])
        spellings = [one for one in ways if one.get("type") != "null"] + spellings
    if not long.get("required"):
        spellings.append({"type": "null"})
    return {**described, "anyOf": spellings}


def _check(intrinsics: Schema) -> list[Schema]:
    """One name, several, or names with their arguments."""
    several = {"type": "array", "items": _TEXT, "minItems": 1, "uniqueItems": True}
    arguments = {"anyOf": [intrinsics["additionalProperties"], {"type": "null"}]}
    return [_TEXT, several, {**intrinsics, "additionalProperties": arguments}]


def _edge() -> Schema:
    """`source -> target`, alone or with what must hold; a list of one may be spelled by that."""
    long = _of(Edge, _Conditions)
    parts = {k: v for k, v in long["properties"].items() if k not in ("source", "target")}
    for key, part in parts.items():
        if part.get("type") == "array":
            parts[key] = {"anyOf": [part["items"], part]}
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
