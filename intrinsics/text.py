"""A text that is being written on a draft: choose a token, ask for what follows it, go back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from .decode import Sampler, TextStream
from .draft import Draft
from .job import Got, Steps, Want
from .model import Row
from .prompt import ChatFormat
from .sampling import Sampling
from .speculation import MOST_GUESSES, Guesser

Finish = Literal["end", "stop", "length", "guarded"]
_SEED_STRIDE = 1_000_003  # between the seeds of one reply's tries


@dataclass(frozen=True)
class Good:
    """A point of the text that passed, and the logits that follow it."""

    ids: tuple[int, ...]
    tokens: int
    text: str
    shown: int
    logits: Tensor


class Text:
    """A text as far as it is written, on its draft: a reply, or what an intrinsic writes.

    `logits` follow its last token. `ahead` are guessed tokens whose keys and values are computed,
    each with the logits that follow it. `proof[i]`, where it is kept, are the logits that its i-th
    token was chosen from.
    """

    def __init__(
        self, chat: ChatFormat, draft: Draft, sampling: Sampling, limit: int, proven: bool
    ) -> None:
        self.draft = draft
        self.head = len(draft.ids)
        self.stream = TextStream(chat, sampling.stop)
        self.finish: Finish | None = None
        self.logits = torch.empty(0)
        self.proof: list[Tensor] | None = [] if proven else None
        self.ahead: list[tuple[int, Tensor]] = []
        self.tries = 0
        self._sampling = sampling
        self._sampler = Sampler(sampling)
        self._limit = limit
        self._guesser = Guesser()
        self._guessed = 0
        self._known: Tensor | None = None
        self._beside = 0

    @property
    def left(self) -> int:
        """How many more tokens it may have."""
        return self._limit - len(self.stream.ids)

    def follow(self, logits: Tensor) -> None:
        """Know what follows the last token: a copy, not a view of a whole batch's logits."""
        self.logits = logits
        if self.proof is not None:
            self.proof.append(logits)

    def take(self, ends: frozenset[int]) -> str:
        """Choose the next token, or find that the reply ends here; return what text is certain."""
        token = self._sampler.choose(self.logits)
        if token in ends:
            self.finish = "end"
            return self.stream.flush()
        self._known = self._as_guessed(token)
        self.draft.ids.append(token)
        self.draft.expected = self.left - 1
        piece = self.stream.push(token)
        if self.stream.stopped:
            self.finish = "stop"
            self._cut()
        elif self.left == 0:
            self.finish = "length"
        return piece if self.finish is None else piece + self.stream.flush()

    def step(self) -> Steps[None]:
        """Find what follows the last token: computed as a guess before, or now with new guesses."""
        if self._known is not None:
            self.follow(self._known)
            return
        most = min(self.left - 1, MOST_GUESSES // (1 + self._beside))
        guesses = self._guesser.guess(self.draft.ids, most) if most else []
        self._guessed = len(guesses)
        self.draft.ids += guesses
        got = yield Want(self.draft, read=1 + len(guesses))
        del self.draft.ids[len(self.draft.ids) - len(guesses) :]
        self._beside = got.beside
        following = got.next.clone()
        self.follow(following[0])
        self.ahead = list(zip(guesses, following[1:], strict=True))

    def look(self, rows: Callable[[int | None], Sequence[Row]], tokens: int) -> Steps[Got]:
        """Compute other rows after the text so far, and in the same forward what follows it."""
        self.settle()
        read = self.finish is None and self._known is None
        got = yield Want(self.draft, int(read), rows, tokens)
        if self.finish is None:
            self.follow(got.next[0].clone() if self._known is None else self._known)
        return got

    def _as_guessed(self, token: int) -> Tensor | None:
        """What follows the chosen token, if it was guessed; else what was guessed is dropped."""
        if not self.ahead:
            return None
        guess, logits = self.ahead.pop(0)
        if guess == token:
            if not self.ahead:
                self._guesser.came_true(self._guessed, self._guessed)
            return logits
        self._guesser.came_true(self._guessed, self._guessed - len(self.ahead) - 1)
        self.settle()
        return None

    def settle(self) -> None:
        """Drop guesses that are left, and their keys and values."""
        self.ahead.clear()
        self.draft.settle()

    def _cut(self) -> None:
        """Let the draft end where the text does: a stop string may have cut a token."""
        kept, ids = self.stream.kept_ids(), self.stream.ids
        pairs = enumerate(zip(kept, ids, strict=False))
        same = next((i for i, (a, b) in pairs if a != b), min(len(kept), len(ids)))
        self._replace(kept, same)

    def _replace(self, ids: Sequence[int], same: int) -> None:
        """Let the reply be `ids`, whose first `same` are as they were."""
        self.draft.truncate(self.head + same)
        self.draft.ids += ids[same:]
        if self.proof is not None:
            del self.proof[same + 1 :]

    def here(self) -> Good:
        """This point, to come back to."""
        stream = self.stream
        ids = tuple(self.draft.ids[self.head :])
        return Good(ids, len(stream.ids), stream.text, stream.shown, self.logits)

    def back(self, good: Good) -> None:
        """Be as at that point: ids, keys and values, text, and what follows.

        The ids may have to grow too, where a stop string had cut them shorter than they were.
        """
        now = self.draft.ids[self.head :]
        pairs = enumerate(zip(good.ids, now, strict=False))
        same = next((i for i, (a, b) in pairs if a != b), min(len(good.ids), len(now)))
        self._replace(good.ids, same)
        self.stream.rewind(good.tokens, good.text, good.shown)
        self.logits = good.logits
        self.ahead.clear()
        self.finish = None

    def again(self) -> None:
        """Go on from here with another seed."""
        self.tries += 1
        seed = (self._sampling.seed + self.tries * _SEED_STRIDE) % 2**63
        self._sampler = Sampler(replace(self._sampling, seed=seed))
