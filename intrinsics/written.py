"""What an adapter writes: greedy text on a private draft, every step shared with other requests."""

from __future__ import annotations

from dataclasses import dataclass

from .draft import Draft
from .errors import ContextTooLong
from .job import Steps, Want
from .ledger import Ledger
from .model import Model
from .prompt import ChatFormat
from .readout import Ids
from .sampling import Sampling
from .text import Finish, Text


@dataclass(frozen=True)
class GreedyText:
    """A text and the ids behind it; `finish` is "end" or "length".

    `ids` include the end token, where it came to one; `logprobs` has the log-probability of each.
    """

    text: str
    ids: Ids
    logprobs: tuple[float, ...]
    finish: Finish
    cost: Ledger


def room_for(model: Model, name: str, prompt: int, most: int) -> int:
    """How many tokens may follow a prompt: at most `most`, their end within the context.

    Raises: ContextTooLong: none; nothing has been computed.
    """
    room = model.context_tokens - prompt
    if room < 1:
        raise ContextTooLong(
            f"{prompt} tokens leave no room for what {name} writes: they do not fit into the "
            f"model's context of {model.context_tokens}; shorten the documents or roll the "
            f"conversation back"
        )
    return min(room, most)


def write(model: Model, chat: ChatFormat, draft: Draft) -> Steps[GreedyText]:
    """Write greedily after the draft's ids, at most as many tokens as it expects.

    Changes: the draft, which the caller releases: nobody else may read an adapter's tokens.
    """
    limit = draft.expected
    text = Text(chat, draft, Sampling(max_tokens=limit), limit, proven=False)
    text.follow((yield Want(draft, read=1)).next[0].clone())
    ends = model.end_ids | {chat.end_id}
    ids: list[int] = []
    logprobs: list[float] = []
    while text.finish is None:
        ids.append(int(text.logits.argmax()))
        logprobs.append(float(text.logits.double().log_softmax(-1).max()))
        text.take(ends)
        if text.finish is None:
            yield from text.step()
    return GreedyText(
        text.stream.text.strip(), tuple(ids), tuple(logprobs), text.finish, draft.ledger()
    )
