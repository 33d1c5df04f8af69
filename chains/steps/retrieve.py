"""Passages of a folder become documents of the conversation."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ..errors import ChainRunError, InputError
from ..model import Retrieve
from ..talk import add_new
from .step import Outcome, Step


async def retrieve(step: Step, node: Retrieve) -> Outcome:
    """Search, and add what is found. Changes: the conversation.

    Raises: ChainRunError: the folder can't be searched.
    """
    from ..retrieval import Index  # numpy and bm25s, which most chains do not need

    query = step.render(node.query)
    try:
        index = await asyncio.to_thread(Index.open, Path(node.folder))
        found = index.search(query, node.top)
    except InputError as error:
        raise ChainRunError(str(error), step.name, "engine") from error
    add_new(step.talk, found)
    documents = [document.model_dump() for document in found]
    return Outcome({"documents": documents, "count": len(documents)}, documents)
