"""Verdicts computed again, for a comparison: from the KV cache, or as an ordinary LoRA has to.

That is: every token of its prompt, none reused. The adapter acts where it was trained to act, so
the verdict must come out the same. It is in the ordinary LoRA's favour: its weights would have work
to do on the tokens before, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .draft import Draft
from .fanout import Call, FanOut, Verdict, rows_of
from .intrinsic import Intrinsic, Suffix
from .job import Job, Steps, Want
from .ledger import Ledger
from .model import Model

CHUNK_TOKENS = 96  # so short that a request which comes meanwhile hardly waits


def calls_again(found: FanOut, ready: Callable[[str], Intrinsic]) -> list[Call]:
    """The calls behind some verdicts, from their tokens; `ready` gives an intrinsic by name."""
    calls = []
    for verdict in (one for one in found.verdicts if one.asked):
        intrinsic, prompt, end = ready(verdict.intrinsic), verdict.token_ids, verdict.ledger.reused
        start = verdict.ledger.activated_at or 0
        calls.append(Call(intrinsic, Suffix(prompt[end:], max(start - end, 0)), prompt[:end]))
    return sorted(calls, key=lambda call: -len(call.prefix))  # those that share it first


class Scratch:
    """Computes one verdict in chunks; each is a request of its own, and the caller may pause."""

    def __init__(
        self,
        model: Model,
        intrinsic: Intrinsic,
        verdict: Verdict,
        start: Callable[[Steps[None]], Job[None]],
    ) -> None:
        self._prompt = verdict.token_ids
        unactivated = replace(intrinsic, activated=False)
        self._call = Call(unactivated, Suffix((), 0), self._prompt)
        self._start = start
        self._draft = Draft(
            (),
            model.tree.branch(),
            intrinsic.name,
            active_from=verdict.ledger.activated_at or 0,
            expected=len(self._prompt),
        )
        self.verdict: Verdict | None = None

    @property
    def tokens(self) -> int:
        """How many tokens it takes in all."""
        return len(self._prompt) - 1 + self._call.tokens

    @property
    def ledger(self) -> Ledger:
        """What it has cost so far."""
        done = self.tokens if self.verdict else self._draft.computed
        return Ledger(0, done, self._draft.forwards, self._draft.seconds)

    def step(self) -> None:
        """Compute the next chunk; after the last one `verdict` is there. Waits for the engine.

        Raises: MemoryBudgetError: its keys and values do not fit beside those in use.
        """
        self._start(self._next()).result()

    def release(self) -> None:
        """Give its keys and values up."""
        self._draft.release()

    def _next(self) -> Steps[None]:
        draft, before = self._draft, len(self._prompt) - 1
        if len(draft.ids) < before:
            draft.ids += self._prompt[len(draft.ids) : min(len(draft.ids) + CHUNK_TOKENS, before)]
            yield Want(draft)
            return
        got = yield Want(
            draft,
            rows=lambda after: rows_of([self._call], draft.branch, after),
            tokens=self._call.tokens,
        )
        self.verdict = self._call.verdict(got.rows, draft.ledger())
