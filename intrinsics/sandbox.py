"""What a template may do: a short list of nodes, filters and tests, on plain data, within a budget.

Everything that is not listed is refused before it is compiled. What is listed is charged by what it
handles (characters, loop steps), so a template ends by count, on any machine at the same point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_CHARACTERS = 1_000_000  # of a value or of the text
MAX_WORK = 3_000_000  # characters handled and loop steps; under a second
MAX_SOURCE = 200_000
MAX_DEPTH = 60
LARGEST = 1e15  # a float holds every whole number up to here
BUDGET = " budget"  # the spaces keep a template from spelling what is ours
_WEIGH, _STEPS = " weigh", " steps"

_ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For),
    *(nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem, nodes.Slice),
    *(nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Keyword),
    *(nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.CondExpr),
    *(nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos, nodes.Concat),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod),
)
_REFUSED: Mapping[type[nodes.Node], str] = {
    nodes.Include: "a template can't load another one",
    nodes.Import: "a template can't load another one",
    nodes.FromImport: "a template can't load another one",
    nodes.Extends: "a template can't load another one",
    nodes.Call: "a template can't call anything; use a filter, or loop over a list it is given",
    nodes.Pow: "a template has no **; multiply",
}
_NAMES: Mapping[type[nodes.Node], str] = {
    nodes.Assign: "set",
    nodes.AssignBlock: "set",
    nodes.CallBlock: "call",
    nodes.FilterBlock: "filter",
}
_HAS = "a template has no {what}; it has names, filters, {{% if %}} and {{% for %}}"
_FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "first", "float", "int", "items", "last"),
    *("length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse"),
    *("select", "selectattr", "sort", "string", "title", "trim", "truncate", "unique", "upper"),
    "wordcount",
)
_TESTS = (
    *("boolean", "defined", "divisibleby", "eq", "equalto", "even", "false", "float", "ge", "gt"),
    *("in", "integer", "le", "lt", "mapping", "ne", "none", "number", "odd", "sequence", "string"),
    *("true", "undefined", "==", "!=", "<", "<=", ">", ">="),
)
_LOOP = ("index", "index0", "revindex", "revindex0", "first", "last", "length")


@dataclass
class Budget:
    """What one rendering may still spend."""

    left: int = MAX_WORK

    def spend(self, amount: int) -> None:
        """Changes: what is left. Raises: SecurityError: it was not enough."""
        self.left -= amount
        if self.left < 0:
            raise SecurityError(
                f"it handles more than {MAX_WORK} characters and loop steps; loop over less"
            )


class Refused(Exception):
    """A template holds what none may hold, from the given line on."""

    def __init__(self, message: str, line: int) -> None:
        self.message, self.line = message, line
        super().__init__(message)


class Sandbox(ImmutableSandboxedEnvironment):
    """Values are plain data: a name after a dot is a key, never an attribute."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`{{ input.items }}` is the input `items`, not a method."""
        _defined(obj)
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, LoopContext) and attribute in _LOOP:
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item by key or position; what has none is undefined."""
        _defined(obj)
        if isinstance(obj, Mapping | Sequence):
            try:
                return obj[argument]
            except (LookupError, TypeError):
                pass
        return self.undefined(obj=obj, name=argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Numbers of a moderate size; `+` also joins texts and lists."""
        _defined(left)
        _defined(right)
        joined = isinstance(left, str | list) and isinstance(right, str | list)
        if operator == "+" and joined:
            _charge(context, weight(left) + weight(right))
        elif not _moderate(left) or not _moderate(right):
            raise SecurityError(f"{operator} takes numbers up to {LARGEST:g} in a template")
        return super().call_binop(context, operator, left, right)


def _moderate(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) <= LARGEST


def weight(value: Any) -> int:
    """About how many characters a value has as text. Raises: SecurityError: not plain data."""
    if isinstance(value, str):
        return len(value) + 1
    if isinstance(value, bool | float) or value is None:
        return 1
    if isinstance(value, int):
        return 1 + value.bit_length() // 3
    if isinstance(value, Mapping):
        return 1 + sum(weight(key) + weight(item) for key, item in value.items())
    if isinstance(value, Sequence):
        return 1 + sum(map(weight, value))
    _defined(value)
    raise SecurityError("only text, numbers, lists and mappings are values of a template")


def _defined(value: Any) -> None:
    if isinstance(value, Undefined):
        str(value)  # it is strict: it raises, naming itself


def _charge(context: Context, amount: int) -> None:
    """Pay for handling `amount` characters, as many as one value may have at most."""
    if amount > MAX_CHARACTERS:
        raise SecurityError(f"a value grew beyond {MAX_CHARACTERS} characters")
    budget = context.get(BUDGET)
    assert isinstance(budget, Budget), "whoever renders gives a budget"
    budget.spend(amount)


@pass_context
def _weigh(context: Context, value: Any) -> Any:
    _charge(context, weight(value))
    return value


@pass_context
def _steps(context: Context, value: Any, each: int) -> Any:
    """A loop's list, paid for before the first step: `each` is the number of nodes in its body."""
    _defined(value)
    context.get(BUDGET).spend((1 + len(value)) * each)
    return value


@pass_context
def _join(context: Context, value: Any, d: str = "", attribute: str | None = None) -> Any:
    _charge(context, weight(value) + weight(d) * len(value))
    return _builtin("join", context, value, d, attribute)


@pass_context
def _replace(context: Context, value: Any, old: str, new: str) -> Any:
    _charge(context, weight(value) + weight(old) + weight(new))
    text = str(value)
    _charge(context, len(text) + text.count(str(old)) * len(str(new)))
    return text.replace(str(old), str(new))


@pass_context
def _round(context: Context, value: Any, precision: int = 0) -> Any:
    if not _moderate(value) or not isinstance(precision, int) or not 0 <= precision <= 15:
        raise SecurityError("round takes a number, and between 0 and 15 digits")
    return round(float(value), precision)


@pass_context
def _tojson(context: Context, value: Any) -> Any:
    _charge(context, weight(value))
    return _checked(context, str(_builtin("tojson", context, value)))


def _plain(name: str, context: Context, value: Any, /, *args: Any, **options: Any) -> Any:
    """Jinja's own filter of that name, paid for."""
    given = () if isinstance(value, Undefined) else (value,)  # `default` takes what is missing
    _charge(context, sum(map(weight, (*given, *args, *options.values()))))
    return _checked(context, _builtin(name, context, value, *args, **options))


def _checked(context: Context, found: Any) -> Any:
    value = list(found) if isinstance(found, Iterator) else found
    _charge(context, weight(value))
    return value


def _builtin(name: str, context: Context, value: Any, /, *args: Any, **options: Any) -> Any:
    return _JINJA.call_filter(name, value, args, options, context, context.eval_ctx)


def _environment() -> Sandbox:
    made = Sandbox(
        undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False, finalize=_weigh
    )
    made.globals.clear()
    made.tests = {name: made.tests[name] for name in _TESTS}
    made.filters = {name: pass_context(partial(_plain, name)) for name in _FILTERS}
    made.filters |= {"join": _join, "replace": _replace, "round": _round, "tojson": _tojson}
    made.filters |= {_WEIGH: _weigh, _STEPS: _steps}
    return made


_JINJA = Sandbox(undefined=StrictUndefined, autoescape=False)
ENVIRONMENT = _environment()


def parse(source: str) -> nodes.Template:
    """A template's tree, of allowed nodes only. Raises: Refused; Jinja's TemplateSyntaxError."""
    if len(source) > MAX_SOURCE:
        raise Refused(f"longer than {MAX_SOURCE} characters", 1)
    try:
        tree = ENVIRONMENT.parse(source)
    except (RecursionError, MemoryError):
        raise Refused("nested too deeply", 1) from None
    except ValueError as error:  # a literal that is no number
        raise Refused(str(error), 1) from None
    level: list[nodes.Node] = [tree]
    for _ in range(MAX_DEPTH):
        for node in level:
            _check(node)
        level = [child for node in level for child in node.iter_child_nodes()]
    if level:
        raise Refused("nested too deeply", level[0].lineno)
    return tree


def _check(node: nodes.Node) -> None:
    kind = type(node)
    if kind not in _ALLOWED:
        what = f"{{% {_NAMES.get(kind, kind.__name__.lower())} %}}"
        raise Refused(_REFUSED.get(kind, _HAS.format(what=what)), node.lineno or 1)
    if isinstance(node, nodes.For) and node.recursive:
        raise Refused(_HAS.format(what="recursive loop"), node.lineno)


class _Metered(NodeTransformer):
    """The tree with a price on whatever takes time that its length does not show."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return _filter(parts, "join")

    def visit_For(self, node: nodes.For) -> nodes.Node:
        size = 1 + sum(1 for _ in node.find_all(nodes.Node))
        self.generic_visit(node)
        node.iter = _filter(node.iter, _STEPS, nodes.Const(size))
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _filter(node.expr, _WEIGH)
        for operand in node.ops:
            operand.expr = _filter(operand.expr, _WEIGH)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        self.generic_visit(node)
        node.args = [_filter(argument, _WEIGH) for argument in node.args]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _filter(node.node, _WEIGH)
        return node


def _filter(node: nodes.Node, name: str, *args: nodes.Expr) -> nodes.Filter:
    assert isinstance(node, nodes.Expr)
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)


def metered(source: str) -> nodes.Template:
    """The tree that is compiled: that of `parse`, which pays for what it does."""
    tree = _Metered().visit(parse(source))
    assert isinstance(tree, nodes.Template)
    tree.set_environment(ENVIRONMENT)
    return tree
