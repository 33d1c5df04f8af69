"""Choosing the next token, and turning a growing list of ids into text."""

from __future__ import annotations

import torch
from torch import Tensor

from .prompt import ChatFormat
from .sampling import Sampling

_UNFINISHED = "\ufffd"  # what a tokenizer gives for a character whose bytes are not all there


class Sampler:
    """Draws tokens for one reply, from a random stream of its own."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = torch.Generator().manual_seed(sampling.seed)

    def choose(self, logits: Tensor) -> int:
        """The next token id. Shapes: logits (vocabulary,)."""
        if self._sampling.temperature == 0:
            return int(logits.argmax())
        weights = torch.softmax(logits.float().cpu() / self._sampling.temperature, dim=-1)
        if self._sampling.top_p < 1:
            weights = nucleus(weights, self._sampling.top_p)
        return int(torch.multinomial(weights, 1, generator=self._random))


def nucleus(weights: Tensor, top_p: float) -> Tensor:
    """Keep the fewest most likely tokens whose weights reach `top_p`; the others become 0.

    Source: nucleus sampling, arXiv 1904.09751.
    """
    ordered, index = weights.sort(descending=True)
    outside = ordered.cumsum(0) - ordered >= top_p
    return weights.scatter(0, index[outside], 0.0)


class TextStream:
    """Ids in, text out: complete characters only, nothing that may begin a stop string.

    `stopped` tells that a stop string was met; `text` then ends before it.
    """

    def __init__(self, chat: ChatFormat, stop: tuple[str, ...]) -> None:
        self._chat = chat
        self._stop = stop
        self._shown = 0
        self.ids: list[int] = []
        self.text = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Take one more id; return the text that is now certain."""
        self.ids.append(token)
        text = self._decode(self.ids)  # all of them: some tokenizers drop a first space
        if text.endswith(_UNFINISHED):
            return ""
        self.text = text
        return self._release(self._cut())

    def flush(self) -> str:
        """The text held back until now, when no more ids come."""
        if not self.stopped:
            self.text = self._decode(self.ids)
        return self._release(len(self.text))

    @property
    def shown(self) -> int:
        """How much of the text is certain."""
        return self._shown

    def rewind(self, count: int, text: str, shown: int) -> None:
        """Go back to the first `count` ids, which read `text`, certain up to `shown`."""
        del self.ids[count:]
        self.text, self._shown, self.stopped = text, shown, False

    def _cut(self) -> int:
        """How far the text is certain; ends the stream at a stop string."""
        found = [at for at in (self.text.find(s) for s in self._stop) if at >= 0]
        if found:
            self.stopped = True
            self.text = self.text[: min(found)]
            return len(self.text)
        held = 0
        for stop in self._stop:
            for size in range(1, len(stop)):
                if self.text.endswith(stop[:size]):
                    held = max(held, size)
        return len(self.text) - held

    def _release(self, until: int) -> str:
        piece = self.text[self._shown : until]
        self._shown = max(self._shown, until)
        return piece

    def kept_ids(self) -> list[int]:
        """The ids behind `text`: where a stop string cut a token, the rest of it re-encoded."""
        if not self.stopped:
            return self.ids
        kept = len(self.ids)
        while kept and not self.text.startswith(self._decode(self.ids[:kept])):
            kept -= 1
        rest = self.text.removeprefix(self._decode(self.ids[:kept]))
        return [*self.ids[:kept], *self._chat.text(rest)]

    def _decode(self, ids: list[int]) -> str:
        return str(self._chat.tokenizer.decode(ids))
