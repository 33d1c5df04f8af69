"""The way out of a node: which edge is taken, what a loop keeps of its attempts, what it undoes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import events as ev
from .expression import evaluate, substituted
from .limits import Part, Used, spent
from .model import START, ErrorKind
from .talk import become

if TYPE_CHECKING:
    from .frame import Frame
    from .plan import Exit
    from .talk import Talk


@dataclass(frozen=True)
class Try:
    """One attempt of a loop: its score, the slots of its nodes, and the conversation with it."""

    score: float | None
    state: dict[str, Any]
    talk: Talk
    said: str
    heads: tuple[str, ...]


def leave(frame: Frame, here: str, failure: ErrorKind | None) -> tuple[str, list[ev.Event]]:
    """Where the run goes from `here`, and what happens on the way. Changes: the frame.

    The first edge whose condition holds is taken; a bounded one that is spent leads to its
    `then`. After a failure only error edges count.
    """
    if frame.plan.model.budget is not None:
        over = frame.over_budget()
        if over is not None:
            return _stop(frame, here, *over)
    exit_ = _chosen(frame, here, failure)
    return _take(frame, here, exit_, failed=failure is not None)


def _stop(frame: Frame, here: str, part: Part, limit: float) -> tuple[str, list[ev.Event]]:
    budget = frame.plan.model.budget
    assert budget is not None
    frame.stopped = True
    frame.ahead.clear()
    told = ev.BudgetSpent(
        **frame.stamp(), budget=part, limit=limit, source=here, target=budget.then, loop=False
    )
    return budget.then, [told]


def _chosen(frame: Frame, here: str, failure: ErrorKind | None) -> Exit:
    if failure is not None:
        for exit_ in frame.plan.failing[here]:
            if failure in exit_.edge.on_error or "any" in exit_.edge.on_error:
                return exit_
    abstains: Exit | None = None
    for exit_ in frame.plan.exits[here]:
        if exit_.condition is None or exit_.edge.until is not None:
            return exit_
        if evaluate(exit_.condition, frame.names):
            if exit_.edge.abstain_below is None or not _last_by_guard(frame):
                return exit_
            abstains = exit_  # what a guard said is not the model's, so another way comes first
    assert abstains is not None, "a checked chain has an edge for every case"
    return abstains


def _take(frame: Frame, here: str, exit_: Exit, *, failed: bool) -> tuple[str, list[ev.Event]]:
    edge, told = exit_.edge, list[ev.Event]()
    holds = edge.until is not None and bool(evaluate(edge.until, frame.names))
    by_guard = exit_.undoes and not (failed or holds) and _by_guard(frame, edge.target)
    target, label = edge.target, exit_.label
    is_spent = False
    if holds:
        label, target = next(iter(edge.onward.items()))
    elif edge.at_most is not None:
        count = frame.taken[exit_.index] = frame.taken.get(exit_.index, 0) + 1
        over = _loop_spent(frame, exit_)
        if over is not None:
            told.append(over)
        if by_guard or over is not None or count > edge.at_most:
            label, target = edge.spent
            is_spent = True
    if here != START:
        told.insert(
            0,
            ev.EdgeTaken(
                run=frame.run.id,
                at=frame.run.now(),
                branch=frame.path,
                source=here,
                target=target,
                condition=label,
                operands=_operands(frame, exit_, holds=holds, by_guard=by_guard),
            ),
        )
    if edge.until is not None:
        told += _kept(frame, exit_, ended=holds or is_spent, holds=holds)
    if edge.abstain_below is not None:
        told += _take_back(frame, here)
    gives_up = is_spent and edge.or_else is not None
    if gives_up:
        frame.said = frame.said_before.get(edge.target, "")
    if exit_.undoes and (gives_up or not (holds or is_spent)):
        dropped = frame.rewind(frame.marks[edge.target])
        frame.ahead.clear()
        told.append(ev.RolledBack(**frame.stamp(), node=edge.target, messages=dropped))
    return target, told


def _operands(frame: Frame, exit_: Exit, *, holds: bool, by_guard: bool) -> str | None:
    """Why the way is taken: its condition with values in place of names, as what is true now."""
    if by_guard:
        name = exit_.edge.target
        return f"{name}.finish == {frame.state[name]['finish']!r}"
    if exit_.condition is None:
        return None
    text = substituted(exit_.condition, frame.names)
    return text if holds or exit_.edge.until is None else f"not {text}"


def _by_guard(frame: Frame, name: str) -> bool:
    """Whether a guard has just refused or replaced what a node said: that stands."""
    left = frame.state.get(name)
    if not isinstance(left, dict) or left.get("attempts") != frame.attempts.get(name):
        return False
    return left.get("finish") in ("refused", "replaced")


def _last_by_guard(frame: Frame) -> bool:
    """Whether what was said last stands where a guard refused or replaced a reply."""
    turns = (name for name, left in frame.state.items() if isinstance(left, dict))
    said = (name for name in turns if frame.state[name].get("text") == frame.said)
    return any(_by_guard(frame, name) for name in said)


def _loop_spent(frame: Frame, exit_: Exit) -> ev.BudgetSpent | None:
    edge = exit_.edge
    began = frame.began.get(edge.target)
    if edge.budget is None or began is None:  # a run may come into a loop from its side
        return None
    used = Used(
        frame.steps - began.steps,
        frame.total.computed - began.tokens,
        frame.elapsed - began.seconds,
    )
    over = spent(edge.budget, used)
    if over is None:
        return None
    return ev.BudgetSpent(
        **frame.stamp(),
        budget=over[0],
        limit=over[1],
        source=edge.source,
        target=edge.spent[1],
        loop=True,
    )


def _kept(frame: Frame, exit_: Exit, *, ended: bool, holds: bool) -> Iterator[ev.Event]:
    """Keep this attempt; at the end of the loop, choose. Changes: the frame, if another is best."""
    edge, tries = exit_.edge, frame.tries.setdefault(exit_.index, [])
    score = None if edge.best is None else float(evaluate(edge.best, frame.names))
    slots = {name: frame.state[name] for name in exit_.loop if name in frame.state}
    tries.append(Try(score, slots, frame.talk.fork(), frame.said, tuple(frame.heads)))
    if not ended:
        return
    chosen = len(tries) - 1
    told = [{"score": one.score, **one.state} for one in tries]
    if not holds and edge.or_else is not None:
        _leave_tries(frame, edge.target, told)
        tries.clear()
        return
    if edge.best is not None and not holds:
        chosen = max(range(len(tries)), key=lambda i: (tries[i].score, -i))
    best = tries[chosen]
    if chosen < len(tries) - 1:
        frame.state |= best.state
        frame.said = best.said
        become(frame.talk, best.talk)
        frame.heads[:] = best.heads
        frame.ahead.clear()
    _leave_tries(frame, edge.target, told)
    scores = tuple(one.score for one in tries)
    tries.clear()
    yield ev.AttemptChosen(**frame.stamp(), node=edge.target, chosen=chosen + 1, scores=scores)


def _leave_tries(frame: Frame, name: str, tries: list[dict[str, Any]]) -> None:
    if name in frame.state:
        frame.state[name] = {**frame.state[name], "tries": tries}


def _take_back(frame: Frame, here: str) -> Iterator[ev.Event]:
    """Abstaining: the last message, which is a turn's reply, was never said."""
    mark = frame.talk.mark
    while mark and frame.talk.since(mark - 1)[0].documents:
        mark -= 1
    dropped = frame.rewind(mark - 1)
    frame.ahead.clear()
    frame.said = ""
    yield ev.RolledBack(**frame.stamp(), node=here, messages=dropped)
