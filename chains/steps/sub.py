"""A whole chain in one node."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from .. import events as ev
from ..errors import ChainRunError, InputError
from ..inputs import typed_inputs
from ..model import SubChain
from .step import Outcome, Step


async def subchain(step: Step, node: SubChain) -> AsyncGenerator[ev.Event, None]:
    """Run it on this conversation, with a state of its own. Changes: the conversation.

    Raises: ChainRunError: what stopped it; RunWaits.
    """
    try:
        inputs = typed_inputs(node.of, step.values(node.arguments))
    except InputError as error:
        raise ChainRunError(str(error), step.name, "branches") from error
    frame = step.frame.sub(step.path, step.frame.plan.inner(node.of), {"input": inputs})
    try:
        async with aclosing(frame.flow()) as events:
            async for event in events:
                yield event
        text = frame.output()
    except ChainRunError as error:
        raise ChainRunError(str(error), step.name, error.reason) from error
    step.outcome = Outcome({"text": text}, text, frame.total, text)
