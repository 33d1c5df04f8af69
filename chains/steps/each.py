"""One node for each item of a list; intrinsics over items ride in one fan-out."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from intrinsics.errors import IntrinsicsError
from intrinsics.ledger import Ledger
from intrinsics.messages import Document, Message

from .. import events as ev
from ..errors import ChainRunError, RunWaits
from ..expression import evaluate
from ..model import LIMITS, Check, Map
from ..talk import Talk
from ..threads import in_thread
from .check import arguments_of, judged, verdicts
from .race import race
from .step import Outcome, Step

if TYPE_CHECKING:
    from intrinsics.conversation import Conversation
    from intrinsics.fanout import FanOut

    from ..frame import Frame

AT_ONCE = 32
"""Branches in work at a time; the others wait."""


async def each(step: Step, node: Map) -> AsyncGenerator[ev.Event, None]:
    """Run the node for every item. Changes: nothing but the step.

    Raises: ChainRunError: it is no list; or an item failed, and `failed` is "raise".
    """
    items = evaluate(node.over, step.frame.names)
    if not isinstance(items, list):
        raise ChainRunError(f"{node.over} is {items!r}, not a list", step.name, "branches")
    frames: dict[str, Frame] = {}
    done: dict[str, Outcome] = {}
    errors: dict[str, str] = {}
    for i, item in enumerate(items, start=1):
        try:
            frames[str(i)] = _frame(step, i, item)
        except IntrinsicsError as fault:  # it fits in no conversation
            errors[str(i)] = str(fault)
        except ValidationError as fault:  # it is no document, or no message
            first = fault.errors()[0]
            errors[str(i)] = f"{first['loc'][0]}: {first['msg']}; it is {first['input']!r}"
    if isinstance(node.do, Check) and all(getattr(node.do, limit) is None for limit in LIMITS):
        events, whole = await _fan_out(step, node.do, frames, done, errors)
        for event in events:
            yield event
    else:
        whole = None
        async for event in _apart(node, frames, done, errors):
            yield event
    if errors and node.failed == "raise":
        number, error = min(errors.items(), key=lambda one: int(one[0]))
        message = f"{len(errors)} of {len(items)} items failed; item {number}, "
        message += f"{_short(items[int(number) - 1])}: {error}"
        raise ChainRunError(message, step.name, "branches")
    cost = sum((one.ledger for one in done.values()), Ledger())
    if whole is not None:  # of shared forwards each item tells all
        cost = replace(cost, forwards=whole.forwards, seconds=whole.seconds)
    step.outcome = _joined(node, items, done, errors, cost)


def _frame(step: Step, index: int, item: Any) -> Frame:
    """A document or a message stands alone in its branch, where its intrinsics expect it."""
    talk: Talk | None = None
    opener, keys = step.frame.run.opener, set(item) if isinstance(item, Mapping) else set()
    if keys == set(Document.model_fields):
        talk = opener.conversation(step.talk.messages, [Document(**item)])
    elif keys == set(Message.model_fields):
        system = [one for one in step.talk.messages if one.role == "system"]
        talk = opener.conversation([*system, Message(**item)])
    return step.frame.branch(step.path, talk, {"item": item, "index": index})


async def _apart(
    node: Map, frames: dict[str, Frame], done: dict[str, Outcome], errors: dict[str, str]
) -> AsyncGenerator[ev.Event, None]:
    waits: list[RunWaits] = []

    def decide(name: str, error: ChainRunError | RunWaits | None) -> bool:
        if error is None:
            one = frames[name]
            done[name] = Outcome(one.state[name], one.outputs[name], one.total)
        elif isinstance(error, RunWaits):
            waits.append(error)
        else:
            errors[name] = error.plain
        return False

    names = list(frames)
    for start in range(0, len(names), AT_ONCE):
        batch = names[start : start + AT_ONCE]
        async for event in race({one: frames[one].perform(one, node.do) for one in batch}, decide):
            yield event
    if waits:
        raise waits[0]


async def _fan_out(
    step: Step,
    node: Check,
    frames: dict[str, Frame],
    done: dict[str, Outcome],
    errors: dict[str, str],
) -> tuple[list[ev.Event], Ledger]:
    """Ask the intrinsics about all items at once: their rows share forwards.

    The events, and the forwards and seconds of all; other requests may have shared them.
    """
    steps = {name: Step(frame, name, node, 1) for name, frame in frames.items()}
    engine, shared = step.engine(), step.frame.conversation()
    asked: dict[str, dict[str, dict[str, str]]] = {}
    for name, one in steps.items():
        try:
            asked[name] = arguments_of(one, node)
        except ChainRunError as error:  # a template of an argument
            errors[name] = error.plain

    def ask() -> dict[str, FanOut | IntrinsicsError]:
        engine.prefill(shared)  # once, before it is read by all
        requests: list[tuple[Conversation, list[str], dict[str, dict[str, str]]]] = [
            (steps[name].frame.conversation(), list(node.intrinsics), arguments)
            for name, arguments in asked.items()
        ]
        found: dict[str, FanOut | IntrinsicsError] = {}
        for name, job in zip(asked, engine.submit_all(requests), strict=True):
            try:
                found[name] = job.result()
            except IntrinsicsError as error:
                found[name] = error
        return found

    events: list[ev.Event] = []
    began, before = time.perf_counter(), engine.model.forwards
    answers = await in_thread(ask) if asked else {}
    whole = Ledger(forwards=engine.model.forwards - before, seconds=time.perf_counter() - began)
    for name, found in answers.items():
        if isinstance(found, IntrinsicsError):
            errors[name] = str(found)
            continue
        done[name] = judged({one.intrinsic: one for one in found.verdicts}, found.ledger)
        events += verdicts(steps[name], done[name])
    return events, whole


def _joined(
    node: Map, items: list[Any], done: dict[str, Outcome], errors: dict[str, str], ledger: Ledger
) -> Outcome:
    values: list[Any] = []
    outputs: list[Any] = []
    for number in (str(i) for i in range(1, len(items) + 1)):
        if number in done:
            values.append(done[number].state)
            outputs.append(done[number].output)
        elif node.failed == "keep":
            values.append(None)
            outputs.append(None)
    failed = [
        {"index": int(number), "item": items[int(number) - 1], "error": errors[number]}
        for number in sorted(errors, key=int)
    ]
    state = {"values": values, "failed": failed, "count": len(done), "failures": len(failed)}
    return Outcome(state, {"values": outputs, "failed": failed}, ledger)


def _short(item: Any) -> str:
    text = repr(item)
    return text if len(text) <= 60 else f"{text[:60]} ..."
