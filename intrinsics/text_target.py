"""Target texts of training: as token ids, and how well an adapter foretells them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .errors import DataError
from .model import Model, Row
from .prompt import ChatFormat
from .readout import Ids
from .text_output import TextOutput

_ROWS = 16  # of a forward: each token's logits over the vocabulary are kept until it is scored


def target_ids(chat: ChatFormat, output: TextOutput, text: str) -> Ids:
    """The ids of a target and the end token. Raises: DataError: longer than may be written."""
    ids = tuple(chat.text(text.strip()))
    if not ids:
        raise DataError("the target is empty; give it text")
    if len(ids) > output.max_tokens:
        raise DataError(
            f"the target has {len(ids)} tokens, but at most {output.max_tokens} are written; raise "
            f"max_tokens or drop the row"
        )
    return (*ids, chat.end_id)


@torch.no_grad()
def text_scores(model: Model, rows: Sequence[Row], targets: Sequence[Ids]) -> tuple[float, float]:
    """The mean negative log-likelihood of a token, and the share of texts written exactly.

    `rows[i]` reads what foretells each token of `targets[i]`. A greedy writer gives a target
    exactly where each of its tokens is the likeliest after those before it: none is written here.
    """
    loss, exact, tokens = 0.0, 0, 0
    for first in range(0, len(rows), _ROWS):
        some = targets[first : first + _ROWS]
        logits = model.forward(rows[first : first + _ROWS])
        for found, target in zip(logits, some, strict=True):
            wanted = torch.tensor(target)
            loss += float(torch.nn.functional.cross_entropy(found, wanted, reduction="sum"))
            exact += bool((found.argmax(-1) == wanted).all())
            tokens += len(target)
    return loss / tokens, exact / len(rows)
