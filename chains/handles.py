"""Nodes and edges as Python handles them: operators build what YAML writes as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

from pydantic import ValidationError

from intrinsics.located import Loc

from . import expression as tree
from .conditions import Condition, Value
from .errors import ChainDefinitionError
from .functions import name_of
from .kinds import Retry
from .model import Budget as BudgetModel
from .model import Edge, ErrorKind, Function, RunBudget, SubChain
from .model import Node as NodeModel
from .places import CodePlace, Places, caller

Operand: TypeAlias = Value | tree.Scalar


@dataclass(frozen=True)
class Budget:
    """What a run, or a loop, may use: nodes run, tokens computed, seconds.

    `then` is where a run goes on when its budget is spent, the end if not given; a loop says that
    by itself.
    """

    steps: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    then: Node | None = None

    def of_loop(self) -> BudgetModel:
        """It as data. Raises: ValidationError: no or an impossible bound."""
        return BudgetModel(steps=self.steps, tokens=self.tokens, seconds=self.seconds)

    def of_run(self) -> RunBudget:
        """It as data. Raises: ValidationError: no or an impossible bound."""
        then = {} if self.then is None else {"then": self.then.name}
        return RunBudget(steps=self.steps, tokens=self.tokens, seconds=self.seconds, **then)


@dataclass(frozen=True)
class Verdict:
    """One intrinsic's part of a check node, or one branch of a parallel one."""

    node: Node
    intrinsic: str

    @property
    def value(self) -> Value:
        """Its value: a label, a truth value or a number."""
        return Value(self.node, (self.intrinsic, "value"))

    def p(self, label: str) -> Value:
        """The probability of a label."""
        return Value(self.node, (self.intrinsic, "p"), label)

    def field(self, name: str) -> Value:
        """A part of a branch's slot, such as `text`; a verdict of a branch that judges."""
        return Value(self.node, (self.intrinsic, name))


@dataclass(frozen=True)
class _Loop:
    """What bounds a way back."""

    at_most: int | None
    then: Node | None
    best: Value | None = None
    budget: Budget | None = None
    or_else: Node | None = None


@dataclass(frozen=True)
class Arrow:
    """An edge without its names yet."""

    source: Node
    target: Node
    when: Condition | None
    otherwise: bool
    place: CodePlace
    abstain_below: float | None = None
    until: Condition | None = None
    on_error: tuple[ErrorKind | Literal["any"], ...] = ()
    loop: _Loop | None = None

    def edge(self) -> Edge:
        """It as data. Raises: ValidationError: a bound that can't be."""
        loop = self.loop or _Loop(None, None)
        return Edge(
            source=self.source.name,
            target=self.target.name,
            when=None if self.when is None else self.when.build(),
            otherwise=self.otherwise,
            at_most=loop.at_most,
            then=None if loop.then is None else loop.then.name,
            or_else=None if loop.or_else is None else loop.or_else.name,
            abstain_below=self.abstain_below,
            until=None if self.until is None else self.until.build(),
            best=None if loop.best is None else loop.best.ref(),
            budget=None if loop.budget is None else loop.budget.of_loop(),
            on_error=self.on_error,
        )


@dataclass(frozen=True)
class Path:
    """Edges in a row; `>>` goes on from the last one's target."""

    arrows: tuple[Arrow, ...]

    def __rshift__(self, target: Node) -> Path:
        return Path((*self.arrows, Arrow(self.arrows[-1].target, target, None, False, caller())))


@dataclass(frozen=True)
class Exit:
    """One of several ways out of a node."""

    source: Node
    when: Condition | None = None
    abstain_below: float | None = None
    until: Condition | None = None
    on_error: tuple[ErrorKind | Literal["any"], ...] = ()

    def __rshift__(self, target: Node) -> Path:
        return Path((self._arrow(target, caller()),))

    if not TYPE_CHECKING:  # which shall see what is not there

        def __getattr__(self, name: str) -> NoReturn:
            """Raises: AttributeError: a way out has no such part; names what it has."""
            raise AttributeError(
                f"a way out has no {name!r}; `>> node` leads on, and "
                f"`.again(node, at_most=3, then=other)` leads back"
            )

    def again(
        self,
        target: Node,
        *,
        at_most: int,
        then: Node,
        best: Value | None = None,
        budget: Budget | None = None,
        or_else: Node | None = None,
    ) -> Path:
        """Go back to `target`, at most that many times in a run; after that go to `then`.

        After `until`: if it never holds, the attempt with the greatest `best` remains, or what
        was tried is taken back and the run goes to `or_else`.
        """
        loop = _Loop(at_most, then, best, budget, or_else)
        return Path((self._arrow(target, caller(), loop),))

    def _arrow(self, target: Node, place: CodePlace, loop: _Loop | None = None) -> Arrow:
        free = self.when is None and self.abstain_below is None and self.until is None
        otherwise = free and not self.on_error
        tests = (self.abstain_below, self.until, self.on_error)
        return Arrow(self.source, target, self.when, otherwise, place, *tests, loop)


@dataclass(eq=False)
class Node:
    """A node of a chain. Its name is that of the attribute it is assigned to."""

    model: NodeModel | None
    place: CodePlace
    call: Callable[..., Any] | None = None
    arguments: dict[str, Operand] = field(default_factory=dict)
    build: Callable[[], NodeModel] | None = None
    inside: dict[Loc, Node] = field(default_factory=dict)
    sub: Places | None = None
    limits: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __rshift__(self, target: Node) -> Path:
        return Path((Arrow(self, target, None, False, caller()),))

    def again(
        self, target: Node, *, at_most: int, then: Node, budget: Budget | None = None
    ) -> Path:
        """Always go back to `target`, at most that many times in a run; after that to `then`."""
        loop = _Loop(at_most, then, None, budget)
        return Path((Arrow(self, target, None, False, caller(), loop=loop),))

    def until(self, condition: Condition) -> Exit:
        """A loop in one line: `.again(...)` goes back as long as the condition does not hold.

        Raises: ChainDefinitionError: no condition.
        """
        return Exit(self, until=_condition(condition))

    def on_error(self, *reasons: ErrorKind) -> Exit:
        """The way out if the node failed for good, by one of these reasons or, without, by any."""
        return Exit(self, on_error=reasons or ("any",))

    def retry(self, times: int, *, wait: float = 0.0, factor: float = 2.0) -> Node:
        """The same node, tried `times` more if it fails; pauses begin with `wait` seconds.

        Raises: ChainDefinitionError: an impossible number.
        """
        try:
            limits = {**self.limits, "retry": Retry(times=times, wait=wait, factor=factor)}
        except ValidationError as error:
            raise ChainDefinitionError([caller().fault(error.errors()[0]["msg"])]) from None
        return replace(self, limits=limits)

    def within(self, seconds: float | None = None, *, idle: float | None = None) -> Node:
        """The same node, which fails after `seconds`, or after `idle` seconds without an event."""
        bounds = {"timeout": seconds, "idle_timeout": idle}
        wrong = [f"{bound:g}" for bound in bounds.values() if bound is not None and not bound > 0]
        if wrong:
            message = f"a time-out is a number of seconds above 0; it is {wrong[0]}"
            raise ChainDefinitionError([caller().fault(message)])
        return replace(self, limits={**self.limits, **bounds})

    def when(self, condition: Condition) -> Exit:
        """The way out if a condition holds; ways are tried in the order of the flow.

        Raises: ChainDefinitionError: no condition.
        """
        return Exit(self, _condition(condition))

    def abstain_below(self, probability: float) -> Exit:
        """The way out if the probability that a check found is below this one.

        The reply that was judged is taken back: what follows stands in its place.
        Raises: ChainDefinitionError: no number between 0 and 1.
        """
        if not 0 < probability < 1:
            message = f"abstain_below is {probability}; it is a number between 0 and 1"
            raise ChainDefinitionError([caller().fault(message)])
        return Exit(self, abstain_below=probability)

    @property
    def otherwise(self) -> Exit:
        """The way out if no condition held."""
        return Exit(self)

    if not TYPE_CHECKING:  # which shall see what is not there

        def __getattr__(self, name: str) -> NoReturn:
            """Raises: AttributeError: it leaves no such part; tells how verdicts are read."""
            raise AttributeError(
                f"a node has no {name!r}; of several verdicts or branches write [{name!r}], as in "
                f"node[{name!r}].value, and of other parts node.field({name!r})"
            )

    def __getitem__(self, part: str) -> Verdict:
        """One of a check node's verdicts, or of a parallel node's branches."""
        return Verdict(self, part)

    def field(self, name: str) -> Value:
        """A part of what the node leaves, such as `values` of a map."""
        return Value(self, (name,))

    @property
    def value(self) -> Value:
        """The value of a check node with one intrinsic, or of a function node."""
        return Value(self, ("value",))

    def p(self, label: str) -> Value:
        """A label's probability, of a check node with one intrinsic."""
        return Value(self, ("p",), label)

    @property
    def text(self) -> Value:
        """The text of a turn, say or ask node."""
        return Value(self, ("text",))

    @property
    def finish(self) -> Value:
        """Why a turn's reply ended: end, stop or length."""
        return Value(self, ("finish",))

    @property
    def attempts(self) -> Value:
        """How many times a turn has replied in this run."""
        return Value(self, ("attempts",))

    def built(self) -> NodeModel:
        """The node as data."""
        model = self.model
        if self.build is not None:
            model = self.build()
        elif self.call is not None:
            model = Function(call=name_of(self.call), arguments=operands(self.arguments))
        elif isinstance(model, SubChain):
            model = model.model_copy(update={"arguments": operands(self.arguments)})
        assert model is not None
        return model.model_copy(update=self.limits) if self.limits else model

    def calls(self) -> list[Callable[..., Any]]:
        """The functions that it calls, in nodes inside it too."""
        own = [] if self.call is None else [self.call]
        return own + [call for node in self.inside.values() for call in node.calls()]


def _condition(given: Condition) -> Condition:
    if not isinstance(given, Condition):
        remedy = 'compare what a node leaves, such as screen.value == "unsafe"'
        message = f"a condition is data, and this is a {type(given).__name__}; {remedy}"
        raise ChainDefinitionError([caller(2).fault(message)])
    return given


def operands(given: dict[str, Operand]) -> dict[str, tree.Operand]:
    """Arguments as data."""
    return {
        key: value.ref() if isinstance(value, Value) else tree.Constant(value)
        for key, value in given.items()
    }
