"""Branches that run at once, each on a fork of the conversation, and their join."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import TYPE_CHECKING

from intrinsics.ledger import Ledger

from .. import events as ev
from ..errors import ChainRunError, RunWaits
from ..model import Parallel
from ..talk import Talk, add_new, become
from .race import race
from .step import Outcome, Step

if TYPE_CHECKING:
    from ..frame import Frame


async def parallel(step: Step, node: Parallel) -> AsyncGenerator[ev.Event, None]:
    """Run the branches and join them. Changes: the conversation, by what the joined ones said.

    What finished is never run again: a retry goes on with the others.
    Raises: ChainRunError: reason "branches", with each that failed; RunWaits: one asks a human.
    """
    frame, path = step.frame, step.path
    done = frame.finished.setdefault(step.name, {})
    frames = {name: frame.branch(path) for name in node.branches if name not in done}
    errors: dict[str, ChainRunError] = {}
    waits: list[RunWaits] = []

    def decide(name: str, error: ChainRunError | RunWaits | None) -> bool:
        if error is None:
            done[name] = frames[name]
        elif isinstance(error, RunWaits):
            waits.append(error)
        else:
            errors[name] = error
        return node.join == "first" or (node.join == "any" and error is None)

    branches = {name: one.perform(name, node.branches[name]) for name, one in frames.items()}
    async for event in race(branches, decide):
        yield event
    decided = bool(done) if node.join != "all" else len(done) == len(node.branches)
    if not decided:
        if waits:
            raise waits[0]
        raise _failure(step, node, errors, done)
    for name in node.branches:
        if name not in done and name not in errors:
            yield ev.Cancelled(**{**step.stamp(), "branch": path, "node": name})
    del frame.finished[step.name]
    joined = {name: done[name] for name in node.branches if name in done}
    commit(step.talk, list(joined.values()))
    ledger = sum((one.total for one in joined.values()), Ledger())
    state = {name: one.state[name] for name, one in joined.items()}
    output = {name: one.outputs[name] for name, one in joined.items()}
    said = next((one.said for one in joined.values() if one.said), None)
    if node.join != "all":
        [(winner, slot)] = state.items()
        state = {**slot, "winner": winner}
        output = {"winner": winner, "output": output[winner]}
    step.outcome = Outcome(state, output, ledger, said)


def commit(talk: Talk, branches: list[Frame]) -> None:
    """Take over what branches have said, in their order. Changes: the conversation."""
    writers = [one for one in branches if one.talk.mark > one.begin]
    if len(writers) == 1:
        become(talk, writers[0].talk)  # with the keys and values it has
        return
    messages = []
    for one in writers:
        stood = one.talk.standing(one.begin)
        said = one.talk.since(stood)
        own = [part for part in said if not part.documents]
        messages += own[one.begin - stood :]  # without a question that was only moved
        add_new(talk, (document for part in said for document in part.documents))
    talk.repeat(messages)  # after all documents, before which a question may stand


def _failure(
    step: Step, node: Parallel, errors: dict[str, ChainRunError], done: Iterable[str]
) -> ChainRunError:
    told = "; ".join(f"{name}: {error.plain}" for name, error in errors.items())
    kept = f" (finished: {', '.join(done)})" if done else ""
    message = f"{len(errors)} of {len(node.branches)} branches failed: {told}{kept}"
    return ChainRunError(message, step.name, "branches")
