"""Passages of a folder become documents of the conversation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from intrinsics.laid import waits
from intrinsics.ledger import Ledger
from intrinsics.messages import Document

from .. import events as ev
from ..errors import ChainRunError, InputError
from ..model import Retrieve
from ..talk import add_new, numbered
from .guarding import Found, Looking, failed
from .step import Outcome, Step


async def retrieve(step: Step, node: Retrieve) -> AsyncGenerator[ev.Event, None]:
    """Search, and add what is found and let pass. Changes: the conversation.

    Raises: ChainRunError: the folder can't be searched, or a guard says so.
    """
    from ..retrieval import Index  # numpy and bm25s, which most chains do not need

    query = step.render(node.query)
    try:
        folder = step.frame.plan.files.find(node.folder)
        index = await asyncio.to_thread(Index.open, folder)
        found = numbered(step.talk, index.search(query, node.top))
    except InputError as error:
        raise ChainRunError(str(error), step.name, "engine") from error
    judged = await _judged(step, node, found, query)
    for _, one in judged:
        for event in one.events(step):
            yield event
    dropped = set()
    for document, one in judged:
        if one.tripped and one.guard.then == "go":
            raise failed(step, one.guard)
        if one.tripped and one.guard.then == "drop":
            dropped.add(document.id)
    kept = [document for document in found if document.id not in dropped]
    add_new(step.talk, kept)
    documents = [document.model_dump() for document in kept]
    ledger = sum((one.ledger for _, one in judged), Ledger())
    step.outcome = Outcome({"documents": documents, "count": len(documents)}, documents, ledger)


async def _judged(
    step: Step, node: Retrieve, found: list[Document], query: str
) -> list[tuple[Document, Found]]:
    """What every guard finds of every passage, each alone before the question.

    The query is the question where the user's is not last.
    """
    if not node.guards:
        return []
    talk = step.frame.conversation()
    known = {one.id for one in talk.documents}
    pairs = [(one, guard) for one in found if one.id not in known for guard in node.guards]
    asking = talk.fork()
    if not waits(talk.since(max(0, talk.mark - 1))):
        asking.add("user", query)
    asked = []
    for document, guard in pairs:
        fork = asking.fork()
        fork.add_documents([document])
        asked.append((guard, fork))
    verdicts = await Looking(step, asked).found()
    return [(document, one) for (document, _), one in zip(pairs, verdicts, strict=True)]
