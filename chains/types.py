"""The types of what a state holds, and the check of a condition against them."""

from __future__ import annotations

import types as python_types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from intrinsics.located import unknown
from intrinsics.outputs import BoolOutput, EnumOutput, IntegerOutput, Output
from intrinsics.template import Shape
from intrinsics.text_output import TextOutput

from .expression import OPERATORS, Compare, Constant, Join, Member, Not, Ref, Tree
from .parsing import ExpressionFault


@dataclass(frozen=True)
class Text:
    """Text; one of `values` where they are known, from `source`."""

    values: tuple[str, ...] = ()
    source: str = ""

    def __str__(self) -> str:
        return "text"


@dataclass(frozen=True)
class Number:
    """A number between `low` and `high`, both included, where they are known."""

    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return "a number"


@dataclass(frozen=True)
class Bool:
    """True or false."""

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class Record:
    """Named parts; `labels` are those whose probability `.p('label')` can be read."""

    fields: Mapping[str, Type]
    labels: tuple[str, ...] = ()
    source: str = ""

    def __str__(self) -> str:
        return f"a record of {', '.join(self.fields)}"


@dataclass(frozen=True)
class Opaque:
    """Something that only a function or a template takes; `item` is what a list holds, if known."""

    item: Type | None = None

    def __str__(self) -> str:
        return "neither text nor number"


Type: TypeAlias = Text | Number | Bool | Record | Opaque


def of_output(output: Output, source: str) -> Record:
    """The type of an intrinsic's verdict."""
    value: Type
    if isinstance(output, EnumOutput):
        value = Text(output.labels, source)
    elif isinstance(output, BoolOutput):
        value = Bool()
    elif isinstance(output, IntegerOutput):
        value = Number(output.minimum, output.maximum)
    elif isinstance(output, TextOutput):
        value = Text()
    else:
        value = Number(0, 1)
    return Record({"value": value}, output.labels, source)


def of_python(annotation: Any) -> Type:
    """The type of what a Python function returns."""
    origin = get_origin(annotation)
    if origin is Literal:
        values = get_args(annotation)
        if all(isinstance(value, str) for value in values):
            return Text(values, "the function")
    if origin in (Union, python_types.UnionType):
        return Opaque()
    if annotation is bool:
        return Bool()
    if annotation in (int, float):
        return Number()
    if annotation is str:
        return Text()
    if isinstance(annotation, type) and (
        issubclass(annotation, BaseModel) or is_dataclass(annotation)
    ):
        return Record({name: of_python(hint) for name, hint in get_type_hints(annotation).items()})
    if origin in (list, tuple, Sequence) and get_args(annotation):
        return Opaque(of_python(get_args(annotation)[0]))
    return Opaque()


def shape_of(kind: Type) -> Shape | None:
    """The names a template may use below a value of this type."""
    if not isinstance(kind, Record):
        return None
    fields: dict[str, Shape | None] = {name: shape_of(part) for name, part in kind.fields.items()}
    if kind.labels:
        fields["p"] = dict.fromkeys(kind.labels)
    return fields


def check_condition(tree: Tree, scope: Record) -> Iterator[ExpressionFault]:
    """What is wrong with a condition: unknown names, wrong types, never true, always true."""
    match tree:
        case Join(_, terms):
            for term in terms:
                yield from check_condition(term, scope)
        case Not(term):
            yield from check_condition(term, scope)
        case Compare():
            yield from _check_compare(tree, scope)
        case Member(left, items):
            for item in items:
                yield from _check_compare(Compare(left, "==", item, item.at), scope)
        case Ref() | Constant():
            try:
                kind = type_of(tree, scope)
                if isinstance(tree, Constant) or not isinstance(kind, Bool):
                    yield ExpressionFault(f"'{tree}' is {kind}, not a condition", tree.at)
            except ExpressionFault as fault:
                yield fault


def type_of(operand: Ref | Constant, scope: Record) -> Type:
    """The type of an operand. Raises: ExpressionFault: there is no such name."""
    if isinstance(operand, Constant):
        return _constant_type(operand)
    here: Type = scope
    path = operand.path if operand.label is None else operand.path[:-1]
    for depth, name in enumerate(path):
        if not isinstance(here, Record) or name not in here.fields:
            raise ExpressionFault(_missing(path, depth, here), operand.at + _offset(path, depth))
        here = here.fields[name]
    if operand.label is None:
        return here
    if not isinstance(here, Record) or not here.labels:
        raise ExpressionFault(f"{'.'.join(path)!r} has no labels, so no .p(...)", operand.at)
    if operand.label not in here.labels:
        message = unknown(f"label of {here.source}", operand.label, here.labels)
        raise ExpressionFault(message, operand.at + _offset(operand.path, len(operand.path)) + 1)
    return Number(0, 1)


def _constant_type(constant: Constant) -> Type:
    if isinstance(constant.value, bool):
        return Bool()
    if isinstance(constant.value, str):
        return Text()
    return Number(constant.value, constant.value)


def _missing(path: Sequence[str], depth: int, here: Type) -> str:
    if not isinstance(here, Record):
        return f"{'.'.join(path[:depth])!r} is {here}; it has no {path[depth]!r}"
    known = [*here.fields, *(f"p('{label}')" for label in [*here.labels][:1])]
    what = f"name after {'.'.join(path[:depth])!r}:" if depth else "name"
    return unknown(what, path[depth], known)


def _offset(path: Sequence[str], depth: int) -> int:
    return sum(len(step) + 1 for step in path[:depth])


def _check_compare(tree: Compare, scope: Record) -> Iterator[ExpressionFault]:
    try:
        left, right = type_of(tree.left, scope), type_of(tree.right, scope)
    except ExpressionFault as fault:
        bare = isinstance(tree.right, Ref) and tree.right.path == (str(tree.right),)
        quoted = f"; a label stands in quotes: '{tree.right}'" if bare else ""
        yield ExpressionFault(fault.message + quoted, fault.at)
        return
    if isinstance(tree.left, Constant) and isinstance(tree.right, Constant):
        yield ExpressionFault(f"'{tree}' compares two literals; compare a name", tree.at)
    elif isinstance(left, Record | Opaque) or isinstance(right, Record | Opaque):
        side = tree.left if isinstance(left, Record | Opaque) else tree.right
        kind = left if isinstance(left, Record | Opaque) else right
        hint = f"; compare '{side}.value'" if "value" in getattr(kind, "fields", ()) else ""
        yield ExpressionFault(f"'{side}' is {kind}, which has no comparison{hint}", side.at)
    elif type(left) is not type(right):
        message = f"{_named(tree.left)} is {left}, but {_named(tree.right)} is {right}; "
        message += "they never compare"
        yield ExpressionFault(message, tree.right.at)
    else:
        yield from _check_values(tree, left, right)


def _named(operand: Ref | Constant) -> str:
    """A name in quotes; a literal as it stands, a text in its own."""
    return f"'{operand}'" if isinstance(operand, Ref) else str(operand)


def _check_values(tree: Compare, left: Type, right: Type) -> Iterator[ExpressionFault]:
    equality = tree.operator in ("==", "!=")
    if isinstance(left, Number) and isinstance(right, Number):
        certain = _certain(tree.operator, left, right)
        if certain is not None:
            word = "always" if certain else "never"
            name, kind = (tree.left, left) if isinstance(tree.left, Ref) else (tree.right, right)
            message = f"'{tree}' is {word} true: '{name}' is between {kind.low:g} and {kind.high:g}"
            yield ExpressionFault(message, tree.at)
    elif not equality:
        yield ExpressionFault(f"{left} has no order; use == or !=", tree.at)
    elif isinstance(left, Text) and isinstance(right, Text):
        for text, literal in ((left, tree.right), (right, tree.left)):
            if isinstance(literal, Constant) and text.values and literal.value not in text.values:
                message = unknown(f"label of {text.source}", str(literal.value), text.values)
                yield ExpressionFault(message, literal.at)
        if left.values and right.values and not set(left.values) & set(right.values):
            yield ExpressionFault(f"'{tree}': the two sides share no value", tree.at)


def _certain(word: str, left: Number, right: Number) -> bool | None:
    """Whether a comparison comes out the same for all numbers in both ranges."""
    if left.low is None or left.high is None or right.low is None or right.high is None:
        return None
    if word in ("==", "!="):
        apart = left.high < right.low or right.high < left.low
        return (word == "!=") if apart else None
    ends = {OPERATORS[word](a, b) for a in (left.low, left.high) for b in (right.low, right.high)}
    return ends.pop() if len(ends) == 1 else None
