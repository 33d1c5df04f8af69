"""Conditions in Python: operators on what nodes leave build the trees that YAML writes as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from . import expression as tree


class Named(Protocol):
    """A node, whose name is known once its class is complete."""

    name: str


class Condition:
    """A condition, to be joined by `&`, `|` and `~`."""

    def __init__(self, build: Callable[[], tree.Tree]) -> None:
        self.build = build

    def __and__(self, other: Condition) -> Condition:
        return Condition(lambda: tree.join("and", (self.build(), other.build())))

    def __or__(self, other: Condition) -> Condition:
        return Condition(lambda: tree.join("or", (self.build(), other.build())))

    def __invert__(self) -> Condition:
        return Condition(lambda: tree.Not(self.build()))

    def __bool__(self) -> bool:
        raise TypeError("a condition has no value before the run; join conditions by &, | and ~")


class Value(Condition):
    """Something a node leaves in the state; compare it to get a condition."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, node: Named | None, path: tuple[str, ...], label: str | None = None) -> None:
        self._node, self._path, self._label = node, path, label
        super().__init__(self.ref)

    def ref(self) -> tree.Ref:
        """The name in the state, known once the class is complete."""
        first = () if self._node is None else (self._node.name,)
        return tree.Ref((*first, *self._path), self._label)

    def field(self, name: str) -> Value:
        """A field of the record that a function returned."""
        return Value(self._node, (*self._path, name))

    def p(self, label: str) -> Value:
        """A label's probability, of a verdict."""
        return Value(self._node, (*self._path, "p"), label)

    def is_in(self, *items: tree.Scalar) -> Condition:
        """Whether it is one of several literals. Raises: ValueError: none is given."""
        if not items:
            raise ValueError("is_in needs at least one literal; nothing is in an empty list")
        constants = tuple(tree.Constant(item) for item in items)
        return Condition(lambda: tree.Member(self.ref(), constants))

    def __eq__(self, other: Value | tree.Scalar) -> Condition:  # type: ignore[override]
        return self._compare("==", other)

    def __ne__(self, other: Value | tree.Scalar) -> Condition:  # type: ignore[override]
        return self._compare("!=", other)

    def __lt__(self, other: Value | float) -> Condition:
        return self._compare("<", other)

    def __le__(self, other: Value | float) -> Condition:
        return self._compare("<=", other)

    def __gt__(self, other: Value | float) -> Condition:
        return self._compare(">", other)

    def __ge__(self, other: Value | float) -> Condition:
        return self._compare(">=", other)

    def _compare(self, word: tree.Operator, other: Value | tree.Scalar) -> Condition:
        constant = None if isinstance(other, Value) else tree.Constant(other)

        def build() -> tree.Tree:
            right = other.ref() if isinstance(other, Value) else constant
            assert right is not None
            return tree.Compare(self.ref(), word, right)

        return Condition(build)
