"""Intrinsics judge the conversation, neighbouring checks in one fan-out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from intrinsics.ledger import Ledger

from .. import events as ev
from ..model import Check
from ..threads import in_thread
from .step import Outcome, Step

if TYPE_CHECKING:
    from intrinsics.fanout import Verdict


async def check(step: Step, node: Check) -> AsyncGenerator[ev.Event, None]:
    """Judge, unless an earlier check has asked these too. Raises: IntrinsicsError."""
    ahead = step.frame.ahead
    if step.name not in ahead:
        await _fan_out(step, node)
    step.outcome = ahead.pop(step.name)
    for event in verdicts(step, step.outcome):
        yield event


def verdicts(step: Step, outcome: Outcome) -> Iterator[ev.Event]:
    """What intrinsics read and found, as events."""
    told: Mapping[str, Any] = outcome.output
    for name, one in told.items():
        verdict = None if outcome.read_by is None else outcome.read_by[name]
        if verdict is not None and verdict.asked:  # else it is recalled, or there is no prompt
            yield from step.frame.run.prompts.told(step.stamp(), verdict.token_ids, verdict)
        yield ev.VerdictReached(**step.stamp(), intrinsic=name, **one)


def arguments_of(step: Step, node: Check) -> dict[str, dict[str, str]]:
    """The arguments of each intrinsic, rendered."""
    return {
        intrinsic: {key: step.render(text) for key, text in given.items()}
        for intrinsic, given in node.intrinsics.items()
    }


async def _fan_out(step: Step, node: Check) -> None:
    """Judge this node and those fused with it, and keep the outcome of each."""
    nodes = step.frame.plan.model.nodes
    riders = {name: nodes[name] for name in step.group}
    asked = {step.name: node, **{k: one for k, one in riders.items() if isinstance(one, Check)}}
    arguments: dict[str, dict[str, str]] = {}
    for one in asked.values():
        arguments |= arguments_of(step, one)
    engine, talk = step.engine(), step.frame.conversation()
    found = await in_thread(lambda: engine.fan_out(talk, list(arguments), arguments))
    own = Ledger()
    for verdict in found.verdicts:
        own += verdict.ledger
    # The base model's part and the time belong to the node that asked first.
    rest = Ledger(
        found.ledger.reused - own.reused,
        found.ledger.computed - own.computed,
        found.ledger.forwards,
        found.ledger.seconds,
    )
    for name, one in asked.items():
        ledger = rest if name == step.name else Ledger()
        for intrinsic in one.intrinsics:
            cost = found[intrinsic].ledger
            ledger += Ledger(cost.reused, cost.computed)
        judged_by = {intrinsic: found[intrinsic] for intrinsic in one.intrinsics}
        step.frame.ahead[name] = judged(judged_by, ledger)


def judged(verdicts: dict[str, Verdict], ledger: Ledger) -> Outcome:
    """The outcome of a check; one intrinsic's verdict is also the node's own."""
    state: dict[str, Any] = {
        name: {"value": verdict.value, "p": verdict.distribution}
        for name, verdict in verdicts.items()
    }
    if len(verdicts) == 1:
        state |= next(iter(state.values()))
    output = {
        name: {
            "value": verdict.value,
            "distribution": verdict.distribution,
            "ledger": verdict.ledger.to_dict(),
            **({} if verdict.asked else {"asked": False}),
        }
        for name, verdict in verdicts.items()
    }
    return Outcome(state, output, ledger, read_by=verdicts)
