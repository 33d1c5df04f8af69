"""Conditions as data: a small tree that is checked, drawn, printed, and evaluated.

The text of a tree parses back to an equal tree. A tree reads the state and computes nothing else:
names, literals, comparisons, `in`, `and`, `or`, `not`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Scalar: TypeAlias = str | int | float | bool
LARGEST = 1e15  # a float holds every whole number up to here
Operator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">="]

OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TURNED: Mapping[Operator, Operator] = {
    "==": "==",
    "!=": "!=",
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
}


@dataclass(frozen=True)
class Constant:
    """A literal."""

    value: Scalar
    at: int = field(default=0, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Raises: ValueError: a number that a condition can't hold."""
        if isinstance(self.value, int | float) and not abs(self.value) <= LARGEST:
            raise ValueError(f"{self.value!r} is beyond {LARGEST:g}, the largest literal")

    def __str__(self) -> str:
        if isinstance(self.value, bool):
            return str(self.value).lower()
        return repr(self.value)

    def __eq__(self, other: object) -> bool:
        """Equal values of the same type: 1, 1.0 and true are three constants."""
        if not isinstance(other, Constant):
            return NotImplemented
        return type(self.value) is type(other.value) and self.value == other.value

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


@dataclass(frozen=True)
class Ref:
    """A name in the state, `screen.safety.value`, or a label's probability, `sure.p('correct')`."""

    path: tuple[str, ...]
    label: str | None = None
    at: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        dotted = ".".join(self.path)
        return dotted if self.label is None else f"{dotted}({self.label!r})"


@dataclass(frozen=True)
class Compare:
    """A comparison of two operands; `0.5 < x` is `x > 0.5`, as Python itself turns it round."""

    left: Operand
    operator: Operator
    right: Operand
    at: int = field(default=0, compare=False, repr=False)

    def __post_init__(self) -> None:
        """The name stands on the left. Changes: a literal that stood there."""
        if isinstance(self.left, Constant) and isinstance(self.right, Ref):
            sides = self.right, self.left
            object.__setattr__(self, "left", sides[0])
            object.__setattr__(self, "right", sides[1])
            object.__setattr__(self, "operator", _TURNED[self.operator])

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right}"


@dataclass(frozen=True)
class Member:
    """Whether an operand is one of several literals."""

    left: Operand
    items: tuple[Constant, ...]
    at: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.left} in [{', '.join(map(str, self.items))}]"


@dataclass(frozen=True)
class Not:
    """The opposite."""

    term: Tree
    at: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        plain = isinstance(self.term, Constant | Ref)
        return f"not {self.term}" if plain else f"not ({self.term})"


@dataclass(frozen=True)
class Join:
    """All of several terms (`and`) or any of them (`or`)."""

    operator: Literal["and", "or"]
    terms: tuple[Tree, ...]
    at: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        texts = (f"({term})" if isinstance(term, Join) else str(term) for term in self.terms)
        return f" {self.operator} ".join(texts)


Operand: TypeAlias = Constant | Ref
Tree: TypeAlias = Constant | Ref | Compare | Member | Not | Join


def join(kind: Literal["and", "or"], terms: tuple[Tree, ...], at: int = 0) -> Join:
    """A `Join` whose terms are not joined by the same word: `a and (b and c)` is one of three."""
    flat: list[Tree] = []
    for term in terms:
        same = isinstance(term, Join) and term.operator == kind
        flat += term.terms if same and isinstance(term, Join) else (term,)
    return Join(kind, tuple(flat), at)


def refs(tree: Tree) -> Iterator[Ref]:
    """Every name the tree reads."""
    match tree:
        case Ref():
            yield tree
        case Compare(left, _, right):
            yield from (*refs(left), *refs(right))
        case Member(left, _):
            yield from refs(left)
        case Not(term):
            yield from refs(term)
        case Join(_, terms):
            for term in terms:
                yield from refs(term)
        case Constant():
            return


def evaluate(tree: Tree, state: Mapping[str, Any]) -> Any:
    """The tree's value in a state of plain data. `and` and `or` stop at the first that decides."""
    match tree:
        case Constant(value):
            return value
        case Ref(path, label):
            return _read(path if label is None else (*path, label), state)
        case Compare(left, word, right):
            return OPERATORS[word](evaluate(left, state), evaluate(right, state))
        case Member(left, items):
            return evaluate(left, state) in [item.value for item in items]
        case Not(term):
            return not evaluate(term, state)
        case Join("and", terms):
            return all(evaluate(term, state) for term in terms)
        case Join(_, terms):
            return any(evaluate(term, state) for term in terms)


def substituted(tree: Tree, state: Mapping[str, Any]) -> str:
    """The tree's text with values in place of names: "0.41 < 0.7"."""
    match tree:
        case Constant():
            return str(tree)
        case Ref():
            return _shown(evaluate(tree, state))
        case Compare(left, word, right):
            return f"{substituted(left, state)} {word} {substituted(right, state)}"
        case Member(left, items):
            return f"{substituted(left, state)} in [{', '.join(map(str, items))}]"
        case Not(term):
            return f"not ({substituted(term, state)})"
        case Join(word, terms):
            return f" {word} ".join(f"({substituted(term, state)})" for term in terms)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _read(path: tuple[str, ...], state: Mapping[str, Any]) -> Any:
    value: Any = state
    for step in path:
        value = value[step]
    return value
