"""Fan-out: many intrinsics on one prefix, as the rows of one forward, read back as verdicts.

What writes text goes on alone after that forward, a token at a time, on a draft of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from .conversation import Conversation
from .draft import Draft
from .errors import RequestError
from .intrinsic import Intrinsic, Suffix
from .job import Steps, Want
from .kv import Branch
from .ledger import Ledger
from .located import unknown
from .model import Model, Row
from .readout import Ids, calibrated
from .reads import check_reads
from .text import Finish
from .text_output import TextOutput
from .written import GreedyText, room_for, write

LATER_TOKENS = 32  # what segments may round up, for a draft and the one before it


@dataclass(frozen=True)
class Verdict:
    """What an intrinsic found: a typed value and the distribution it was read from.

    With a threshold in the definition the value need not be the likeliest label.
    `distribution` is calibrated where the definition says so, `raw_distribution` never.
    `token_ids` is the whole prompt, the invocation included; `candidates` the ids of each label:
    with them anyone can recompute the raw distribution.
    """

    intrinsic: str
    value: str | bool | int | float
    distribution: dict[str, float]
    raw_distribution: dict[str, float]
    ledger: Ledger
    token_ids: Ids
    candidates: dict[str, Ids]

    @property
    def asked(self) -> bool:
        """Whether the model was asked, and the definition did not settle it."""
        return True

    def p(self, label: str) -> float:
        """The probability of a label. Raises: RequestError: there is no such label."""
        if label not in self.distribution:
            known = ", ".join(self.distribution) or "none, since it writes text"
            raise RequestError(f"{self.intrinsic} has no label {label!r}; it has {known}")
        return self.distribution[label]


@dataclass(frozen=True)
class TextVerdict(Verdict):
    """The text that an intrinsic wrote, as `value`; there is no distribution and no candidate.

    It may be empty. `finish` is "end", or "length" at max_tokens or at the end of the context.
    `written` are the ids behind it, with the end token where it came to one, and `logprobs` the
    log-probability of each, which was the highest there was.
    """

    written: Ids
    logprobs: tuple[float, ...]
    finish: Finish


@dataclass(frozen=True)
class FanOut:
    """The verdicts of several intrinsics on one prefix, and what they cost together."""

    verdicts: tuple[Verdict, ...]
    ledger: Ledger

    def __getitem__(self, intrinsic: str) -> Verdict:
        """The verdict of one of them, by name. Raises: RequestError: it was not asked."""
        for verdict in self.verdicts:
            if verdict.intrinsic == intrinsic:
                return verdict
        asked = [verdict.intrinsic for verdict in self.verdicts]
        raise RequestError(unknown("verdict", intrinsic, asked))


@dataclass(frozen=True)
class Call:
    """One intrinsic on one prefix: the tokens it reads, and those that ask it."""

    intrinsic: Intrinsic
    suffix: Suffix
    prefix: Ids

    @staticmethod
    def of(intrinsic: Intrinsic, conversation: Conversation, arguments: Mapping[str, str]) -> Call:
        """Render the instruction. Raises: ConversationError: what it judges is lacking."""
        check_reads(intrinsic.definition, conversation)
        text = intrinsic.definition.render_instruction(
            conversation.messages, conversation.documents, arguments
        )
        ids = tuple(conversation.chat.text(text))
        suffix = Suffix.of(intrinsic.definition, ids, intrinsic.invocation)
        return Call(intrinsic, suffix, conversation.ids)

    @property
    def prompt(self) -> Ids:
        """Everything its verdict is read after."""
        return (*self.prefix, *self.suffix.ids)

    @property
    def activated_at(self) -> int:
        """The position of the first adapted token; an ordinary LoRA acts from the start."""
        return len(self.prefix) + self.suffix.active_from if self.intrinsic.activated else 0

    @property
    def own(self) -> Ids:
        """The tokens of its first row: instruction and invocation; of a LoRA the last one."""
        return self.suffix.ids if self.intrinsic.activated else self.prompt[-1:]

    @property
    def writes(self) -> int:
        """How many tokens of text it may write; 0 where its output is scored."""
        output = self.intrinsic.definition.output
        return output.max_tokens if isinstance(output, TextOutput) else 0

    @property
    def later(self) -> int:
        """Tokens it needs memory for on a draft of its own."""
        if self.intrinsic.activated:
            return len(self.own) + self.writes + LATER_TOKENS if self.writes else 0
        return len(self.prompt) + self.writes + LATER_TOKENS

    @property
    def tokens(self) -> int:
        """How many tokens its rows have, those of its candidates included."""
        return len(self.own) + sum(len(run) for run in self.intrinsic.candidates.extra)

    def rows(self, branch: Branch, after: int | None, first: int) -> list[Row]:
        """Its first row and those of its candidates; `first` is the number of the first one."""
        own, name = self.own, self.intrinsic.name
        start = self.suffix.active_from if self.intrinsic.activated else 0
        rows = [Row(own, branch, after, name, active_from=start, read=(len(own) - 1,))]
        for run in self.intrinsic.candidates.extra:
            rows.append(Row(run, branch, first, name, read=tuple(range(len(run)))))
        return rows

    def verdict(self, logits: Sequence[Tensor], cost: Ledger) -> Verdict:
        """Read the value from the logits of its rows. `cost` is that of the whole fan-out."""
        scores: dict[Ids, Tensor] = {(): logits[0][0]}
        for run, scored in zip(self.intrinsic.candidates.extra, logits[1:], strict=True):
            scores |= {run[: i + 1]: scored[i] for i in range(len(run))}
        definition, candidates = self.intrinsic.definition, self.intrinsic.candidates
        assert candidates.ids, "a text is written, not read from labels"
        raw = candidates.distribution(scores)
        distribution = calibrated(raw, definition.calibration)
        reused = len(self.prefix) if self.intrinsic.activated else 0
        computed = len(self.prompt) - reused + self.tokens - len(self.own)
        return Verdict(
            intrinsic=definition.name,
            value=definition.value_of(distribution),
            distribution=distribution,
            raw_distribution=raw,
            ledger=Ledger(reused, computed, cost.forwards, cost.seconds, self.activated_at),
            token_ids=self.prompt,
            candidates=dict(candidates.ids),
        )

    def text_verdict(self, found: GreedyText, cost: Ledger) -> TextVerdict:
        """What it wrote. `cost` is that of the whole fan-out."""
        own = found.cost
        return TextVerdict(
            intrinsic=self.intrinsic.name,
            value=found.text,
            distribution={},
            raw_distribution={},
            ledger=Ledger(own.reused, own.computed, cost.forwards, cost.seconds, self.activated_at),
            token_ids=self.prompt,
            candidates={},
            written=found.ids,
            logprobs=found.logprobs,
            finish=found.finish,
        )


def rows_of(calls: Sequence[Call], branch: Branch, after: int | None) -> list[Row]:
    """The rows of several calls on one prefix, to stand after `after + 1` others in a forward."""
    rows: list[Row] = []
    before = 0 if after is None else after + 1
    for call in calls:
        rows += call.rows(branch, after, before + len(rows))
    return rows


def split(calls: Sequence[Call], logits: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    """The logits of `rows_of`, call by call."""
    parts, rest = [], logits
    for call in calls:
        count = 1 + len(call.intrinsic.candidates.extra)
        parts.append(rest[:count])
        rest = rest[count:]
    return parts


def fan_out(model: Model, conversation: Conversation, calls: Sequence[Call]) -> Steps[FanOut]:
    """All labels of Activated LoRAs in one forward with what the conversation lacks.

    Then comes each LoRA alone, and each text, in one forward a token or fewer. What the
    conversation lacked is kept, what the intrinsics compute is dropped.
    Raises: ContextTooLong: there is no room for a text.
    """
    limits = {
        call.intrinsic.name: room_for(model, call.intrinsic.name, len(call.prompt), call.writes)
        for call in calls
        if call.writes
    }
    draft = conversation.draft(calls[0].prefix, later=max(call.later for call in calls))
    drafts = [draft]
    found: dict[str, Sequence[Tensor]] = {}
    texts: dict[str, GreedyText] = {}
    try:
        light = [call for call in calls if call.intrinsic.activated and not call.writes]
        got = yield Want(
            draft,
            rows=lambda after: rows_of(light, draft.branch, after),
            tokens=sum(call.tokens for call in light),
        )
        conversation.adopt(draft)
        for call, logits in zip(light, split(light, got.rows), strict=True):
            found[call.intrinsic.name] = logits
        for call in calls:
            name = call.intrinsic.name
            if call.writes:
                drafts.append(_text_draft(call, draft.branch, limits[name]))
                texts[name] = yield from write(model, conversation.chat, drafts[-1])
                drafts[-1].release()  # the next one needs the memory
            elif not call.intrinsic.activated:
                found[name] = yield from _ordinary(call, drafts)
        base = draft.ledger() if draft.computed else Ledger()
        cost = Ledger(
            forwards=sum(one.forwards for one in drafts), seconds=sum(one.seconds for one in drafts)
        )
    finally:
        for one in drafts:
            one.release()
    verdicts = tuple(
        call.text_verdict(texts[call.intrinsic.name], cost)
        if call.writes
        else call.verdict(found[call.intrinsic.name], cost)
        for call in calls
    )
    reused = base.reused + sum(verdict.ledger.reused for verdict in verdicts)
    computed = base.computed + sum(verdict.ledger.computed for verdict in verdicts)
    return FanOut(verdicts, Ledger(reused, computed, cost.forwards, cost.seconds))


def _ordinary(call: Call, drafts: list[Draft]) -> Steps[Sequence[Tensor]]:
    """An ordinary LoRA acts on the whole prompt, so it is prefilled anew for it."""
    branch = drafts[0].branch.tree.branch()
    draft = Draft(call.prompt[:-1], branch, adapter=call.intrinsic.name)
    drafts.append(draft)
    got = yield Want(draft, rows=lambda after: rows_of([call], branch, after), tokens=call.tokens)
    draft.release()  # the next LoRA needs the memory
    return got.rows


def _text_draft(call: Call, base: Branch, limit: int) -> Draft:
    """Where a text is written: after the base's prefix or, by an ordinary LoRA, all anew."""
    branch = base.fork() if call.intrinsic.activated else base.tree.branch()
    name, start = call.intrinsic.name, call.activated_at
    return Draft(call.prompt, branch, name, active_from=start, expected=limit)


def check_request(ready: Sequence[Intrinsic], arguments: Mapping[str, object]) -> None:
    """Raises: RequestError: no intrinsic, one named twice, or arguments for one not called."""
    names = [intrinsic.name for intrinsic in ready]
    if not names:
        raise RequestError("no intrinsic was named; name at least one")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RequestError(f"{', '.join(twice)} named twice in one fan-out; name each once")
    unknown = sorted(set(arguments) - set(names))
    if unknown:
        raise RequestError(f"arguments for {', '.join(unknown)}, which is not called here")
