"""YAML files whose every value knows its line and column, so that a fault can point at it.

YAML 1.2 (`no` is text), duplicate keys are faults, and neither tags nor aliases are taken: a file
holds data, it builds no objects and can't grow when it is read.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from .errors import DefinitionError, Fault

Loc = tuple[str | int, ...]

CUT = "in braces a comma ends a text; put one that has a comma in it in quotes"
"""The message for a key that is the rest of a text which a comma has cut."""


@dataclass(frozen=True)
class Located:
    """The contents of a YAML file as plain values, and where each of them stands."""

    file: str
    text: str
    data: Any
    tree: Any

    def position(self, loc: Loc, key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the value at `loc`, or of its key.

        What does not exist is placed where its nearest existing parent stands.
        """
        line, column, node = 0, 0, self.tree
        for step in loc:
            if isinstance(node, CommentedMap) and step in (node.lc.data or ()):
                line, column = node.lc.key(step) if key else node.lc.value(step)
            elif isinstance(node, CommentedSeq) and isinstance(step, int) and step < len(node):
                line, column = node.lc.item(step)
            else:
                break
            node = node[step]
        return line + 1, column + 1

    def fault(self, loc: Loc, message: str, *, key: bool = False, offset: int = 0) -> Fault:
        """A fault at `loc`; `offset` counts characters into the text that stands there."""
        line, column = self.position(loc, key)
        if offset:
            line, column = self._inside(loc, line, column, offset)
        return fault_at(self.file, self.text, line, column, message)

    def _inside(self, loc: Loc, line: int, column: int, offset: int) -> tuple[int, int]:
        """Where a character of a scalar stands; exact unless the scalar is folded or escaped."""
        lines = self.text.splitlines()
        mark = lines[line - 1][column - 1 : column]
        if mark not in ("|", ">"):
            column += offset + (mark in ("'", '"'))
            return line, min(column, len(lines[line - 1]))
        before = str(self.at(self._existing((), loc)))[:offset]
        line += 1 + before.count("\n")
        indent = len(lines[line - 1]) - len(lines[line - 1].lstrip())
        return line, 1 + indent + len(before) - (before.rfind("\n") + 1)

    def at(self, loc: Loc) -> Any:
        """The plain value at `loc`."""
        value = self.data
        for step in loc:
            value = value[step]
        return value

    def faults(self, error: ValidationError, model: type[BaseModel], at: Loc = ()) -> list[Fault]:
        """What pydantic found in the value at `at`, with positions and in our words."""
        return [self._fault_of(dict(one), model, at) for one in error.errors()]

    def _fault_of(self, error: dict[str, Any], model: type[BaseModel], at: Loc) -> Fault:
        loc, kind = error["loc"], error["type"]
        place = at + self._existing(at, loc)
        if kind == "missing":
            return self.fault(place, f"missing key {loc[-1]!r}")
        if kind == "extra_forbidden":
            message = unknown("key", str(loc[-1]), _keys(model, loc))
            if " " in str(loc[-1]) and error["input"] is None:
                message = CUT
            return self.fault(place, message, key=True)
        message = str(error["msg"]).removeprefix("Value error, ")
        if kind in ("literal_error", "union_tag_invalid"):
            context = error["ctx"]
            expected = re.findall(r"'([^']*)'", context.get("expected") or context["expected_tags"])
            if kind == "union_tag_invalid":
                place = (*place, context["discriminator"].strip("'"))
            message = unknown("value", str(context.get("tag", error["input"])), expected)
        elif kind == "union_tag_not_found":
            message = f"missing key {error['ctx']['discriminator']}"
        elif kind == "string_type" and isinstance(error["input"], Mapping):
            message = 'must be text; what begins with a brace stands in quotes: "{{ user }}"'
        elif kind != "value_error":
            message = f"{message[0].lower()}{message[1:]}; it is {error['input']!r}"
        return self.fault(place, message)

    def _existing(self, at: Loc, loc: Loc) -> Loc:
        """`loc` without the union tags that pydantic puts into it."""
        value, found = self.at(at), []
        for step in loc:
            keys = value if isinstance(value, Mapping) else ()
            items = range(len(value)) if isinstance(value, list) else ()
            if step in keys or step in items:
                value = value[step]
                found.append(step)
        return tuple(found)


def fault_at(file: str, text: str, line: int, column: int, message: str) -> Fault:
    """A fault with the source line it points at."""
    lines = text.splitlines()
    source = lines[line - 1].rstrip() if line <= len(lines) else ""
    return Fault(file, line, column, message, source)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name that was meant, by its letters; None where none is near."""
    same = {one.lower(): one for one in known}
    found = difflib.get_close_matches(name.lower(), same, n=1)
    return same[found[0]] if found else None


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that does not exist, with the nearest one that does."""
    names = list(known)
    near = nearest(name, names)
    if near is not None:
        return f"unknown {what} {name!r}; did you mean {near!r}?"
    return f"unknown {what} {name!r}; known: {', '.join(names) or 'none'}"


def load(path: Path) -> Located:
    """Read a YAML file. Raises: DefinitionError: missing, not UTF-8, not YAML, not plain data."""
    file = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DefinitionError([Fault(file, 1, 1, "there is no such file")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError([Fault(file, 1, 1, f"cannot read it as UTF-8: {error}")]) from error
    return parse(text, file)


def parse(text: str, file: str) -> Located:
    """Read YAML text; `file` is what faults name. Raises: DefinitionError."""
    try:
        tree = YAML(typ="rt", pure=True).load(text)
        return Located(file, text, _plain(tree, set()), tree)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        found = fault_at(file, text, line, column, _syntax_message(error))
    except _NotPlain as error:
        line, column = error.line + 1, error.column + 1
        found = fault_at(file, text, line, column, error.message)
    except (YAMLError, ValueError) as error:
        found = fault_at(file, text, 1, 1, f"not YAML: {str(error).splitlines()[0]}")
    except RecursionError:
        found = fault_at(file, text, 1, 1, "nested too deeply")
    raise DefinitionError([found])


class _NotPlain(Exception):
    """A tag or an alias, which a definition may not use."""

    def __init__(self, message: str, line: int, column: int) -> None:
        self.message, self.line, self.column = message, line, column


def _syntax_message(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error).strip().splitlines()[0]
    if "found duplicate key" in problem:
        key = problem.split('"')[1]
        return f"duplicate key {key!r}; keep one of them"
    context = f" ({error.context.strip().splitlines()[0]})" if error.context else ""
    return f"not YAML: {problem}{context}{_remedy(problem, context)}"


def _remedy(problem: str, context: str) -> str:
    """What to do about the faults that are made most."""
    if "'\\t'" in problem:
        return "; indent by spaces, not by tabs"
    if ("got ':'" in problem and "flow mapping" in context) or "mapping values" in problem:
        return "; put a text that has ': ' in it in quotes"
    return ""


def _plain(node: Any, seen: set[int]) -> Any:
    """The tree as dicts, lists and scalars. Changes: `seen`, the containers met so far."""
    if isinstance(node, CommentedMap | CommentedSeq):
        place = (node.lc.line or 0, node.lc.col or 0)
        if id(node) in seen:
            raise _NotPlain("an alias to a list or mapping; write it out instead", *place)
        seen.add(id(node))
        if node.tag.value is not None:
            raise _NotPlain(f"the tag {node.tag.value}; only plain YAML is read", *place)
        if isinstance(node, CommentedSeq):
            return [_plain_item(node[i], seen, node.lc.item(i)) for i in range(len(node))]
        merged = [k for k in node if k == "<<"] or getattr(node, "merge", None)
        if merged:
            raise _NotPlain("a merge key <<; write the keys out instead", *place)
        return {_key(k): _plain_item(node[k], seen, node.lc.value(k)) for k in node}
    return _scalar(node)


def _plain_item(node: Any, seen: set[int], place: tuple[int, int]) -> Any:
    if isinstance(node, TaggedScalar):
        raise _NotPlain(f"the tag {node.tag.value}; only plain YAML is read", *place)
    return _plain(node, seen)


def _key(key: Any) -> Any:
    return str(key) if isinstance(key, str) else key


def _scalar(node: Any) -> Any:
    """Without the subclasses in which ruamel keeps a scalar's spelling."""
    if isinstance(node, bool) or node is None:
        return node
    if isinstance(node, ScalarBoolean):
        return bool(node)
    for kind in (str, int, float):
        if isinstance(node, kind):
            return kind(node)
    return node.isoformat() if isinstance(node, date) else str(node)


def _keys(model: type[BaseModel], loc: Loc) -> list[str]:
    """The keys that the model at the parent of `loc` knows."""
    here: list[type[BaseModel]] = [model]
    for step in loc[:-1]:
        found: list[type[BaseModel]] = []
        for one in here:
            if step in one.model_fields:
                found += _models(one.model_fields[str(step)].annotation)
            elif _tag(one, str(step)):
                found.append(one)
        here = found or here
    return [name for one in here for name in one.model_fields]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models in an annotation: itself, the members of a union, the items of a container."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, dict, list, tuple):
        return [model for member in get_args(annotation) for model in _models(member)]
    return []


def _tag(model: type[BaseModel], tag: str) -> bool:
    """Whether a union's `tag` stands for this model."""
    field = model.model_fields.get("type")
    return field is not None and tag in get_args(field.annotation)
