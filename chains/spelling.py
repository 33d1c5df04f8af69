"""Pieces of Python source: names, literals, calls, conditions."""

from __future__ import annotations

import keyword
from collections.abc import Collection, Iterable, Mapping

from .expression import Compare, Constant, Join, Member, Not, Operand, Ref, Tree

WIDTH = 100
_JOINTS = {"and": " & ", "or": " | "}
_PROPERTIES = ("value", "text", "finish", "attempts")


class Names:
    """Hands out names that nothing else in a file has, and collects the imports they need."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._imports: dict[tuple[str, str], str] = {}

    def new(self, wanted: str) -> str:
        """The name itself, with underscores behind it if it is taken."""
        while wanted in self._taken or keyword.iskeyword(wanted):
            wanted += "_"
        self._taken.add(wanted)
        return wanted

    def imported(self, name: str, module: str = "chains") -> str:
        """What a name of a module is called in the file."""
        if (module, name) not in self._imports:
            self._imports[module, name] = self.new(name)
        return self._imports[module, name]

    def imports(self) -> list[str]:
        """The statements that import them, those of `chains` first."""
        modules = sorted({module for module, _ in self._imports}, key=lambda m: (m != "chains", m))
        return [_import(module, self._of(module)) for module in modules]

    def _of(self, module: str) -> list[str]:
        known = {name: here for (one, name), here in self._imports.items() if one == module}
        order = sorted(known, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
        return [name if name == known[name] else f"{name} as {known[name]}" for name in order]


def _import(module: str, names: list[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return line
    listed = "".join(f"    {name},\n" for name in names)
    return f"from {module} import (\n{listed})"


def literal(value: object) -> str:
    """A literal; text in double quotes where those need no escape."""
    if isinstance(value, str) and "'" not in value and '"' not in value:
        return f'"{repr(value)[1:-1]}"'
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        parts = (f"{literal(key)}: {literal(one)}" for key, one in value.items())
        return f"{{{', '.join(parts)}}}"
    return repr(value)


def call(head: str, parts: Iterable[str], indent: int = 4, brackets: str = "()") -> str:
    """`head(part, part)`, on one line where it is short, else a line for each part."""
    given, opening, closing = list(parts), brackets[0], brackets[1]
    line = f"{head}{opening}{', '.join(given)}{closing}"
    if "\n" not in line and indent + len(line) <= WIDTH:
        return line
    deeper = (part.replace("\n", "\n    ") for part in given)
    inner = "".join(f"{' ' * (indent + 4)}{part},\n" for part in deeper)
    return f"{head}{opening}\n{inner}{' ' * indent}{closing}"


def keywords(given: Mapping[str, str]) -> list[str]:
    """Arguments by name; those whose names Python can't write stand in a mapping."""
    plain = {k: v for k, v in given.items() if k.isidentifier() and not keyword.iskeyword(k)}
    rest = [f"{literal(name)}: {one}" for name, one in given.items() if name not in plain]
    parts = [f"{name}={one}" for name, one in plain.items()]
    return [*parts, f"**{{{', '.join(rest)}}}"] if rest else parts


class Values:
    """Writes what is read of the state; `known` are the nodes that have a name by then."""

    def __init__(self, names: Names, known: Collection[str]) -> None:
        self._names, self._known = names, known

    def operand(self, operand: Operand) -> str:
        """A name in the state, or a literal."""
        return literal(operand.value) if isinstance(operand, Constant) else self.ref(operand)

    def ref(self, ref: Ref) -> str:
        """A name in the state."""
        path = ref.path if ref.label is None else ref.path[:-1]
        label = "" if ref.label is None else f".p({literal(ref.label)})"
        first, *rest = path
        if first in self._known:
            return f"{first}{self._parts(rest, bool(label))}{label}" if rest or label else first
        if first == "input" and len(rest) == 1 and not label:
            return f"{self._names.imported('given')}({literal(rest[0])})"
        return f"{self._names.imported('read')}({literal('.'.join(path))}){label}"

    @staticmethod
    def _parts(rest: list[str], labelled: bool) -> str:
        """What comes after a node's name: a verdict in brackets, its usual parts as attributes."""
        if rest and rest[0] not in _PROPERTIES and (labelled or rest[1:] == ["value"]):
            head, rest = f"[{literal(rest[0])}]", rest[1:]
        elif rest and rest[0] in _PROPERTIES:
            head, rest = f".{rest[0]}", rest[1:]
            return head + "".join(f".field({literal(one)})" for one in rest)
        else:
            head = ""
        if rest == ["value"]:
            return f"{head}.value"
        return head + "".join(f".field({literal(one)})" for one in rest)

    def condition(self, tree: Tree) -> str:
        """A condition, as operators on values."""
        match tree:
            case Compare(left, word, right):
                return f"{self.operand(left)} {word} {self.operand(right)}"
            case Member(left, items):
                return f"{self.operand(left)}.is_in({', '.join(literal(i.value) for i in items)})"
            case Not(term):
                return f"~{self._term(term)}"
            case Join(kind, terms):
                return _JOINTS[kind].join(map(self._term, terms))
            case Ref() | Constant():
                return self.operand(tree)

    def _term(self, tree: Tree) -> str:
        inner = self.condition(tree)
        return inner if isinstance(tree, Ref) else f"({inner})"
