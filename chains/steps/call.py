"""A Python function, sync or async."""

from __future__ import annotations

from typing import Any

from ..errors import ChainRunError
from ..model import Function
from ..threads import detached
from .step import Outcome, Step


async def function(step: Step, node: Function) -> Outcome:
    """Call it. Raises: ChainRunError: it raised, or returned what it does not say.

    A sync function runs in a thread, unless nothing could go on meanwhile: a thread costs more
    than all the rest of a node. Out of time, it is left to itself and its result is dropped.
    """
    call = step.frame.plan.call(node.call)
    given = call.taking(step.values(node.arguments))
    try:
        value: Any
        if call.is_async:
            value = await call.call(**given)
        elif step.frame.run.alone and not step.frame.path and node.timeout is None:
            value = call.call(**given)
        else:
            value = await detached(lambda: call.call(**given))
    except Exception as error:
        message = f"{call.call.__name__} raised {type(error).__name__}: {error}"
        raise ChainRunError(message, step.name, "function") from error
    try:
        plain = call.checked(value)
    except ChainRunError as error:
        raise ChainRunError(str(error), step.name, "output") from error
    return Outcome({"value": plain}, plain)
