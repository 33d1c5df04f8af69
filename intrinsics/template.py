"""Jinja templates for texts: sandboxed, strict about names, checked when they are loaded.

A template renders plain data into text and decides nothing. It can't load other templates or call
into Python, and its text has a bounded length and a bounded price (sandbox.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from jinja2 import Template as Compiled
from jinja2 import TemplateError, TemplateSyntaxError, meta, nodes

from .located import unknown
from .sandbox import BUDGET, ENVIRONMENT, MAX_CHARACTERS, Budget, Refused, metered, parse

Shape: TypeAlias = "Mapping[str, Shape | None]"
"""The names a template may use; below each, its own names, or None for whatever it holds."""

_UNCOMPILED = (SyntaxError, RecursionError, MemoryError)  # Python's own limits


class TemplateFault(Exception):
    """What is wrong with a template, and at which character of its source."""

    def __init__(self, message: str, offset: int = 0) -> None:
        self.message, self.offset = message, offset
        super().__init__(message)


@dataclass(frozen=True)
class Template:
    """A text with `{{ names }}` in it."""

    source: str

    def check(self, shape: Shape) -> list[TemplateFault]:
        """Everything wrong with it, given the names it may use."""
        try:
            tree = parse(self.source)
            _ = self._compiled
        except Refused as refused:
            return [TemplateFault(refused.message, self._offset(refused.line, r"\{[{%]"))]
        except TemplateSyntaxError as error:
            message = f"template: {error.message}"
            return [TemplateFault(message, self._offset(error.lineno, r"\{[{%#]"))]
        except (TemplateError, *_UNCOMPILED) as error:
            return [TemplateFault(f"template: {error}")]
        known = self._undeclared
        faults = []
        for node in tree.find_all(nodes.Name):
            if node.ctx == "load" and node.name in known and node.name not in shape:
                message = unknown("template variable", node.name, shape)
                faults.append(TemplateFault(message, self._word(node.lineno, node.name)))
        for path, line in _paths(tree, known):
            faults += self._check_path(path, line, shape)
        return faults

    @cached_property
    def paths(self) -> frozenset[tuple[str, ...]]:
        """The dotted names it reads, as tuples: `input.topic` is ("input", "topic")."""
        tree = parse(self.source)
        return frozenset(path for path, _ in _paths(tree, self._undeclared))

    @cached_property
    def tested(self) -> frozenset[str]:
        """The names it asks about with `is defined`."""
        tests = parse(self.source).find_all(nodes.Test)
        found = (test.node for test in tests if test.name == "defined")
        return frozenset(node.name for node in found if isinstance(node, nodes.Name))

    @cached_property
    def _undeclared(self) -> set[str]:
        return meta.find_undeclared_variables(metered(self.source))

    @cached_property
    def _compiled(self) -> Compiled:
        return ENVIRONMENT.from_string(metered(self.source))

    def render(self, names: Mapping[str, Any]) -> str:
        """The text. Raises: TemplateFault: a value is missing, or it takes too much."""
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._compiled.generate({**names, BUDGET: Budget()}):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_CHARACTERS:
                    raise TemplateFault(f"the text grew beyond {MAX_CHARACTERS} characters")
        except Refused as refused:
            offset = self._offset(refused.line, r"\{[{%]")
            raise TemplateFault(refused.message, offset) from None
        except TemplateFault:
            raise
        except Exception as error:  # Jinja's filters fail in any way on a value they don't expect
            raise TemplateFault(f"template: {error}", self._failed(error)) from error
        return "".join(pieces)

    def _check_path(self, path: tuple[str, ...], line: int, shape: Shape) -> list[TemplateFault]:
        here: Shape | None = shape.get(path[0])
        for depth, name in enumerate(path[1:], 1):
            if here is None:
                return []
            if name not in here:
                message = unknown(f"name after {'.'.join(path[:depth])!r}:", name, here)
                return [TemplateFault(message, self._word(line, name))]
            here = here[name]
        return []

    def _word(self, line: int, word: str) -> int:
        return self._offset(line, rf"(?<![\w'\"]){re.escape(word)}\b")

    def _offset(self, line: int, pattern: str) -> int:
        """Where a pattern stands in a line; Jinja knows lines, not columns."""
        lines = self.source.splitlines(keepends=True)
        start = sum(map(len, lines[: line - 1]))
        found = re.search(pattern, lines[line - 1] if line <= len(lines) else "")
        return start + (found.start() if found else 0)

    def _failed(self, error: Exception) -> int:
        """The start of the line at which rendering failed."""
        line, trace = 1, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "<template>":
                line = trace.tb_lineno
            trace = trace.tb_next
        return self._offset(line, r"\{[{%]")


def _paths(tree: nodes.Template, known: set[str]) -> list[tuple[tuple[str, ...], int]]:
    """Every dotted name that starts at one of the `known` variables, with its line."""
    steps = tree.find_all((nodes.Getattr, nodes.Getitem))
    inner = {id(getattr(node, "node", None)) for node in steps if _step(node)}
    found = []
    for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Name)):
        path = None if id(node) in inner else _path(node)
        if path is not None and path[0] in known:
            found.append((path, node.lineno))
    return found


def _path(node: nodes.Node) -> tuple[str, ...] | None:
    if isinstance(node, nodes.Name):
        return (node.name,) if node.ctx == "load" else None
    step = _step(node)
    parent = _path(node.node) if step is not None else None  # type: ignore[attr-defined]
    return None if parent is None or step is None else (*parent, step)


def _step(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Getattr):
        return node.attr
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        return node.arg.value if isinstance(node.arg.value, str) else None
    return None
