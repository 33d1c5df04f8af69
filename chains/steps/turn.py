"""A turn of the base model, streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from .. import events as ev
from ..errors import ChainRunError
from ..model import Turn
from ..threads import in_thread
from .step import Outcome, Step


async def turn(step: Step, node: Turn) -> AsyncGenerator[ev.Event, None]:
    """Reply. Changes: the conversation. Raises: ChainRunError, IntrinsicsError."""
    engine, talk = step.engine(), step.frame.conversation()
    from intrinsics.decode import Sampling  # torch, which a turn needs anyway

    if node.prompt is not None:
        talk.add("user", step.render(node.prompt))
    if not talk.messages or talk.messages[-1].role != "user":
        raise ChainRunError(
            "there is no user message to reply to; end the input's messages with one, or "
            "give the node a prompt",
            step.name,
        )
    seed = node.seed + step.attempt - 1
    sampling = Sampling(node.max_tokens, node.temperature, node.top_p, seed, node.stop)
    generation = engine.stream(talk, sampling)
    try:
        while (piece := await in_thread(lambda: next(generation, None))) is not None:
            yield ev.Token(**step.stamp(), text=piece)
    finally:
        generation.close()
    reply = generation.reply
    state = {"text": reply.text, "finish": reply.finish, "attempts": step.attempt}
    step.outcome = Outcome(state, reply.text, reply.ledger, reply.text)
