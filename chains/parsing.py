"""The text of a condition to its tree: Python's own parser, and a short list of what is allowed."""

from __future__ import annotations

import ast
from typing import Literal

from .expression import Compare, Constant, Join, Member, Not, Operand, Operator, Ref, Tree, join

MAX_CHARACTERS = 2000
MAX_DEPTH = 40
_WORDS: dict[type[ast.cmpop], Operator] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_ALLOWED = "use names, literals, == != < <= > >=, in [...], and, or, not, and parentheses"


class ExpressionFault(Exception):
    """What is wrong with a condition, and at which character of its text."""

    def __init__(self, message: str, at: int = 0) -> None:
        self.message, self.at = message, at
        super().__init__(message)


def parse(text: str) -> Tree:
    """The tree of a condition, positions included. Raises: ExpressionFault."""
    if len(text) > MAX_CHARACTERS:
        raise ExpressionFault(f"longer than {MAX_CHARACTERS} characters; use a function node")
    line = text.replace("\n", " ").replace("\t", " ")  # one character for one: columns stay
    start = len(line) - len(line.lstrip())
    try:
        body = ast.parse(line.strip(), mode="eval").body
    except SyntaxError as error:
        at = max(0, (error.offset or 1) - 1)
        raise ExpressionFault(f"not a condition: {error.msg}; {_ALLOWED}", start + at) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ExpressionFault(f"not a condition: {error}", start) from None
    return _Reader(line.strip(), start).tree(body, 0)


class _Reader:
    def __init__(self, text: str, start: int) -> None:
        self._bytes = text.encode()
        self._start = start

    def tree(self, node: ast.expr, depth: int) -> Tree:
        at = self._at(node)
        if depth > MAX_DEPTH:
            raise ExpressionFault("nested too deeply; use a function node", at)
        if isinstance(node, ast.BoolOp):
            kind: Literal["and", "or"] = "and" if isinstance(node.op, ast.And) else "or"
            return join(kind, tuple(self.tree(term, depth + 1) for term in node.values), at)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return Not(self.tree(node.operand, depth + 1), at)
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        return self._operand(node)

    def _comparison(self, node: ast.Compare) -> Tree:
        sides = [node.left, *node.comparators]
        terms: list[Tree] = []
        for left, word, right in zip(sides, node.ops, sides[1:], strict=False):
            terms.append(self._pair(left, word, right))
        return terms[0] if len(terms) == 1 else Join("and", tuple(terms), self._at(node))

    def _pair(self, left: ast.expr, word: ast.cmpop, right: ast.expr) -> Tree:
        at = self._at(left)
        if isinstance(word, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple) or not right.elts:
                raise ExpressionFault("after 'in' comes a list of literals", self._at(right))
            items = tuple(self._constant(item) for item in right.elts)
            member = Member(self._operand(left), items, at)
            return Not(member, at) if isinstance(word, ast.NotIn) else member
        if type(word) not in _WORDS:
            raise ExpressionFault(f"'is' is not a comparison here; {_ALLOWED}", at)
        return Compare(self._operand(left), _WORDS[type(word)], self._operand(right), at)

    def _operand(self, node: ast.expr) -> Operand:
        if isinstance(node, ast.Constant | ast.UnaryOp) or _is_word(node):
            return self._constant(node)
        if isinstance(node, ast.Call):
            return self._probability(node)
        return Ref(self._path(node), None, self._at(node))

    def _probability(self, node: ast.Call) -> Ref:
        path = self._path(node.func)
        label = node.args[0] if len(node.args) == 1 and not node.keywords else None
        if path[-1] != "p" or not isinstance(label, ast.Constant):
            raise ExpressionFault(
                "only .p('label'), a label's probability, can be called", self._at(node)
            )
        if not isinstance(label.value, str):
            raise ExpressionFault("a label is text; put it in quotes", self._at(label))
        return Ref(path, label.value, self._at(node))

    def _path(self, node: ast.expr) -> tuple[str, ...]:
        if isinstance(node, ast.Name):
            return (node.id,)
        if isinstance(node, ast.Attribute):
            return (*self._path(node.value), node.attr)
        raise ExpressionFault(f"not allowed in a condition; {_ALLOWED}", self._at(node))

    def _constant(self, node: ast.expr) -> Constant:
        at, sign, inner = self._at(node), 1, node
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            sign, inner = -1, node.operand
        if isinstance(inner, ast.Name) and _is_word(inner):
            return Constant(inner.id == "true", at)
        value = inner.value if isinstance(inner, ast.Constant) else None
        if isinstance(value, bool | str) and sign == 1:
            return Constant(value, at)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ExpressionFault(f"not allowed in a condition; {_ALLOWED}", at)
        try:
            return Constant(sign * value, at)
        except ValueError as error:
            raise ExpressionFault(str(error), at) from None

    def _at(self, node: ast.expr) -> int:
        """The node's place in characters; Python counts bytes."""
        return self._start + len(self._bytes[: node.col_offset].decode())


def _is_word(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("true", "false")
