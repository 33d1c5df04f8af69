"""Guessing the next tokens from the text itself: what followed the same words before.

A forward of a few tokens takes hardly longer than one of a single token, so guesses are computed
along with the token that was chosen. Each is kept only if the sampler chooses it too, from the
logits it would have had anyway: the text is the same as without guessing.
Source: prompt lookup decoding; verification as in speculative decoding, arXiv 2211.17192.
"""

from __future__ import annotations

from collections.abc import Sequence

_WORDS = (3, 2)  # lengths of what must have occurred before, the longest first
_FIRST_GUESSES = 3
MOST_GUESSES = 7  # in all, of the requests that share a forward: in a crowd rows are not free
_REST_TOKENS = 12  # without a guess, after some were all wrong


class Guesser:
    """Proposes continuations of one text that grows, and learns how often they come true."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, ...], int] = {}
        self._read = 0
        self._guesses = _FIRST_GUESSES
        self._resting = 0

    def guess(self, ids: Sequence[int], most: int) -> list[int]:
        """At most `most` ids that may follow `ids`, which goes on where it ended last time."""
        self._learn(ids)
        if self._resting:
            self._resting -= 1
            return []
        count = min(self._guesses, most)
        for size in _WORDS:
            at = self._seen.get(tuple(ids[-size:]))
            if at is not None and len(ids) > size:
                return list(ids[at : at + count])
        return []

    def came_true(self, guessed: int, right: int) -> None:
        """Guess more where all was right, less where much was wrong, and rest where all was."""
        if right == guessed:
            self._guesses = min(MOST_GUESSES, 2 * self._guesses)
        elif right == 0:
            self._resting = _REST_TOKENS
            self._guesses = _FIRST_GUESSES
        else:
            self._guesses = max(_FIRST_GUESSES, right)

    def _learn(self, ids: Sequence[int]) -> None:
        """Note what followed each run of ids last; the run that ends the text has no sequel yet."""
        for end in range(max(self._read, 1), len(ids)):
            for size in _WORDS:
                if end >= size:
                    self._seen[tuple(ids[end - size : end])] = end
        self._read = len(ids)
