"""A question to a human."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from .. import events as ev
from ..errors import ChainRunError
from ..model import Ask
from .step import Outcome, Step


async def ask(step: Step, node: Ask) -> AsyncGenerator[ev.Event, None]:
    """Wait for the answer. Changes: the conversation.

    Raises: ChainRunError: nobody is there; RunWaits: the run is recorded, and goes on later.
    """
    question, run = step.render(node.question), step.frame.run
    if run.answer is None:
        raise ChainRunError(
            "asks a human, and nobody is there; run it in `chains demo`, or pass `answer`",
            step.name,
        )
    yield ev.Asked(**step.stamp(), question=question)
    answer = await run.answer(question)
    step.talk.add("assistant", question)
    step.talk.add("user", answer)
    step.outcome = Outcome({"text": answer}, answer)
