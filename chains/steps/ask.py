"""A question to a human."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from .. import events as ev
from ..errors import ChainRunError, RunWaits
from ..model import Ask
from .step import Outcome, Step


async def ask(step: Step, node: Ask) -> AsyncGenerator[ev.Event, None]:
    """Wait for the answer. Changes: the conversation.

    Raises: ChainRunError: nobody is there; RunWaits: the answer comes later, to a recorded run.
    """
    question, run = step.render(node.question), step.frame.run
    recorder = run.recorder
    answer = None if recorder is None else recorder.answer(step)
    if answer is None:
        if recorder is not None:
            recorder.ask(step, question)
        elif run.answer is None:
            raise ChainRunError(
                "asks a human, and nobody is there; run it in `chains demo`, or pass `answer`",
                step.name,
            )
        yield ev.Asked(**step.stamp(), question=question)
        answer = None if run.answer is None else await run.answer(question)
        if answer is None:
            raise RunWaits(step.name, question)
        if recorder is not None:  # of two answers the first counts
            answer = recorder.answer(step, answer) or answer
    step.talk.add("assistant", question)
    step.talk.add("user", answer)
    step.outcome = Outcome({"text": answer}, answer)
