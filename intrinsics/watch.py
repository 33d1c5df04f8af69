"""Watchers: intrinsics that judge a reply while it is written, in the forwards of its tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

from .conversation import Conversation
from .draft import Draft
from .errors import ConversationError, RequestError
from .fanout import Call, Verdict, rows_of, split
from .intrinsic import Intrinsic, Suffix
from .kv import Branch
from .located import unknown
from .messages import Message
from .model import Row
from .readout import Ids
from .sampling import Sampling

Reaction = Literal["note", "again", "stop", "raise"]
_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*\s*$|\n\s*$")


@dataclass(frozen=True)
class Watcher:
    """An intrinsic that trips when the probability of `label` is above `above`.

    `then` says what a trip does. "note" goes on; "again" rolls the reply back to the last good
    point and samples anew with another seed; "stop" ends the reply at the last good point;
    "raise" gives the reply up with an error.
    """

    intrinsic: str | Path
    label: str
    above: float = 0.5
    then: Reaction = "again"
    arguments: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises: RequestError: a value outside its range."""
        if not 0 <= self.above < 1:
            raise RequestError(f"watcher: above = {self.above}; it must be from 0 to below 1")
        if self.then not in ("note", "again", "stop", "raise"):
            raise RequestError(f"watcher: {unknown('reaction', self.then, Reaction.__args__)}")  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Watch:
    """The watchers of one reply, and when they look: after sentences or every so many tokens.

    They always look at the finished reply too. Nothing is shown before it has passed. `tries` is
    how often in all a reply may be sampled anew; then it ends at its last good point.
    """

    watchers: tuple[Watcher, ...]
    every: int | Literal["sentence"] = "sentence"
    tries: int = 3

    def __post_init__(self) -> None:
        """Raises: RequestError: no watcher, or a value outside its range."""
        if not self.watchers:
            raise RequestError("a watch needs at least one watcher")
        if self.every != "sentence" and (not isinstance(self.every, int) or self.every < 1):
            raise RequestError(
                f"watch: every = {self.every!r}; it is 'sentence' or a number of tokens from 1"
            )
        if self.tries < 0:
            raise RequestError(f"watch: tries = {self.tries}; it must be at least 0")


@dataclass(frozen=True)
class Check:
    """What a watcher found after `tokens` tokens of the reply, and whether it tripped."""

    tokens: int
    verdict: Verdict
    tripped: bool
    then: Reaction


class Guard:
    """A watch made ready for one conversation."""

    def __init__(
        self,
        watch: Watch,
        ready: Sequence[Intrinsic],
        conversation: Conversation,
        sampling: Sampling,
    ) -> None:
        """`ready` are the watchers' intrinsics, in their order. `tokens` is the longest look.

        Raises: RequestError, ConversationError: a watcher that can't judge this reply.
        """
        self.watch = watch
        self._ready = tuple(ready)
        self._chat = conversation.chat
        self._messages, self._documents = conversation.messages, conversation.documents
        self._tail = tuple(conversation.chat.reply_tail(conversation.roles))
        for watcher, intrinsic in zip(watch.watchers, ready, strict=True):
            self._check(watcher, intrinsic, sampling)
        empty = self._calls(".", ())
        self.tokens = max(call.tokens for call in empty)

    def _check(self, watcher: Watcher, intrinsic: Intrinsic, sampling: Sampling) -> None:
        definition, name = intrinsic.definition, intrinsic.name
        if not definition.output.labels:
            raise RequestError(
                f"{name} writes text and has no label that could trip; watch with an intrinsic "
                f"that judges"
            )
        if watcher.label not in definition.output.labels:
            raise RequestError(
                f"watcher {name}: {unknown('label', watcher.label, definition.output.labels)}"
            )
        if definition.reads.last != "assistant":
            raise RequestError(
                f"{name} judges the last {definition.reads.last} message, but a watcher judges "
                f"the assistant's reply so far; call {name} before the reply instead"
            )
        if definition.reads.documents == "required" and not self._documents:
            raise ConversationError(f"watcher {name} needs documents; add at least one")
        if not intrinsic.activated:
            raise RequestError(
                f"{name} is an ordinary LoRA and would prefill the reply anew at every look; "
                f"watch with an Activated LoRA"
            )
        if watcher.then == "again" and sampling.temperature == 0:
            raise RequestError(
                f"watcher {name} samples again, but at temperature 0 the same tokens would come; "
                f"give the reply a temperature"
            )

    def due(self, text: str, tokens: int) -> bool:
        """Whether to look now, after `tokens` tokens that read `text`."""
        if self.watch.every == "sentence":
            return bool(_SENTENCE_END.search(text))
        return tokens % self.watch.every == 0

    def look(self, text: str, draft: Draft) -> Look:
        """The rows that judge `text`, which the draft ends with."""
        return Look(self.watch.watchers, self._calls(text, tuple(draft.ids)), draft)

    def _calls(self, text: str, ids_so_far: Ids) -> list[Call]:
        messages = (*self._messages, Message(role="assistant", content=text))
        calls = []
        for watcher, intrinsic in zip(self.watch.watchers, self._ready, strict=True):
            instruction = intrinsic.definition.render_instruction(
                messages, self._documents, watcher.arguments
            )
            ids = tuple(self._chat.text(instruction))
            suffix = Suffix.of(intrinsic.definition, ids, intrinsic.invocation)
            calls.append(Call(intrinsic, suffix.behind(self._tail), ids_so_far))
        return calls


@dataclass(frozen=True)
class Look:
    """One look of all watchers at a reply so far."""

    watchers: tuple[Watcher, ...]
    calls: Sequence[Call]
    draft: Draft

    @property
    def tokens(self) -> int:
        """How many tokens its rows have."""
        return sum(call.tokens for call in self.calls)

    def rows(self, after: int | None) -> list[Row]:
        """Its rows, after the draft's own row."""
        branch: Branch = self.draft.branch
        return rows_of(self.calls, branch, after)

    def checks(self, logits: Sequence[Tensor], tokens: int) -> list[Check]:
        """What the watchers found."""
        found = []
        cost = self.draft.ledger()
        for watcher, call, part in zip(
            self.watchers, self.calls, split(self.calls, logits), strict=True
        ):
            verdict = call.verdict(part, cost)
            tripped = verdict.p(watcher.label) > watcher.above
            found.append(Check(tokens, verdict, tripped, watcher.then))
        return found
