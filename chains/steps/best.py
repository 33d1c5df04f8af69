"""Best of n: a turn taken several times on forks of one context, the best of them kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from intrinsics.ledger import Ledger

from .. import events as ev
from ..errors import ChainRunError, RunWaits
from ..expression import evaluate
from ..model import BestOf
from ..talk import become
from .race import race
from .step import Outcome, Step

if TYPE_CHECKING:
    from ..frame import Frame


async def best_of(step: Step, node: BestOf) -> AsyncGenerator[ev.Event, None]:
    """Let the candidates be written and judged, and commit the winner. Changes: the conversation.

    Candidate i draws with the turn's seed + i - 1. One that fails is out.
    Raises: ChainRunError: all of them failed.
    """
    frames = {str(i): step.frame.branch(f"{step.path}/{i}") for i in range(1, node.n + 1)}
    errors: dict[str, ChainRunError] = {}

    def decide(name: str, error: ChainRunError | RunWaits | None) -> bool:
        if isinstance(error, ChainRunError):
            errors[name] = error
        return False

    first = node.turn.seed + (step.attempt - 1) * node.n
    branches = {
        name: _candidate(frame, node, first + int(name) - 1) for name, frame in frames.items()
    }
    async for event in race(branches, decide):
        yield event
    scores = {name: _score(frame, node) for name, frame in frames.items() if name not in errors}
    if not scores:
        told = next(iter(errors.values())).plain
        raise ChainRunError(f"all {node.n} candidates failed: {told}", step.name, "branches")
    winner = max(scores, key=lambda name: (scores[name], -int(name)))
    chosen = frames[winner]
    become(step.talk, chosen.talk)
    yield ev.AttemptChosen(
        **step.stamp(), chosen=int(winner), scores=tuple(scores.get(name) for name in frames)
    )
    state = {
        **chosen.state["turn"],
        "attempts": step.attempt,
        "score": scores[winner],
        "chosen": int(winner),
        "judge": chosen.state["judge"],
    }
    output = {
        "text": state["text"],
        "chosen": int(winner),
        "candidates": [
            {"text": one.state["turn"]["text"], "score": scores[name]}
            if name in scores
            else {"error": errors[name].plain}
            for name, one in frames.items()
        ],
    }
    ledger = sum((one.total for one in frames.values()), Ledger())
    step.outcome = Outcome(state, output, ledger, str(state["text"]))


async def _candidate(frame: Frame, node: BestOf, seed: int) -> AsyncGenerator[ev.Event, None]:
    turn = node.turn.model_copy(update={"seed": seed})
    async with aclosing(frame.perform("turn", turn)) as events:
        async for event in events:
            yield event
    frame.local["candidate"] = frame.state["turn"]
    async with aclosing(frame.perform("judge", node.judge)) as events:
        async for event in events:
            yield event


def _score(frame: Frame, node: BestOf) -> float:
    return float(evaluate(node.by, frame.state))
