"""A fixed text."""

from __future__ import annotations

from ..model import Say
from .step import Outcome, Step


async def say(step: Step, node: Say) -> Outcome:
    """Add the text as an assistant message. Changes: the conversation."""
    text = step.render(node.text)
    step.talk.add("assistant", text)
    return Outcome({"text": text}, text, said=text)
