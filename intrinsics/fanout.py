"""Fan-out: many intrinsics on one prefix, laid out as the rows of one forward and read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from .conversation import Conversation
from .errors import ConversationError, RequestError
from .intrinsic import Intrinsic
from .kv import Branch
from .ledger import Ledger
from .located import unknown
from .model import Row
from .readout import Ids, calibrated
from .spec import Definition


@dataclass(frozen=True)
class Verdict:
    """What an intrinsic found: a typed value and the distribution it was read from.

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

    def p(self, label: str) -> float:
        """The probability of a label. Raises: RequestError: there is no such label."""
        if label not in self.distribution:
            known = ", ".join(self.distribution)
            raise RequestError(f"{self.intrinsic} has no label {label!r}; it has {known}")
        return self.distribution[label]


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
    """One intrinsic on one prefix: the tokens it reads, its instruction, and its invocation."""

    intrinsic: Intrinsic
    instruction: Ids
    prefix: Ids

    @staticmethod
    def of(intrinsic: Intrinsic, conversation: Conversation, arguments: Mapping[str, str]) -> Call:
        """Render the instruction. Raises: ConversationError: what it judges is lacking."""
        check_reads(intrinsic.definition, conversation)
        text = intrinsic.definition.render_instruction(
            conversation.messages, conversation.documents, arguments
        )
        return Call(intrinsic, tuple(conversation.chat.text(text)), conversation.ids)

    @property
    def prompt(self) -> Ids:
        """Everything its verdict is read after."""
        return (*self.prefix, *self.instruction, *self.intrinsic.invocation)

    @property
    def activated_at(self) -> int:
        """The position of the first adapted token; an ordinary LoRA acts from the start."""
        return len(self.prefix) + len(self.instruction) if self.intrinsic.activated else 0

    def first_row(self, branch: Branch, after: int | None) -> Row:
        """Its instruction and invocation as a row; an ordinary LoRA's whole prompt, anew."""
        name = self.intrinsic.name
        if not self.intrinsic.activated:
            last = len(self.prompt) - 1
            return Row(self.prompt, branch.tree.branch(), adapter=name, read=(last,))
        own = (*self.instruction, *self.intrinsic.invocation)
        start = len(self.instruction)
        return Row(own, branch, after, name, active_from=start, read=(len(own) - 1,))


class Layout:
    """The rows of a fan-out, and where each call's candidates are scored."""

    def __init__(self, conversation: Conversation, calls: Sequence[Call]) -> None:
        self.calls = tuple(calls)
        self.rows: list[Row] = []
        self._places: list[dict[Ids, tuple[int, int]]] = []
        pending, after = conversation.pending, None
        if pending:
            after = 0
            self.rows.append(Row(pending, conversation.branch, store=True))
        for call in calls:
            self._places.append(self._lay_out(call, conversation.branch, after))

    def _lay_out(self, call: Call, branch: Branch, after: int | None) -> dict[Ids, tuple[int, int]]:
        """Add a call's rows; tell which row and place scores each inner run of its candidates."""
        first = len(self.rows)
        row = call.first_row(branch, after)
        self.rows.append(row)
        place: dict[Ids, tuple[int, int]] = {(): (first, 0)}
        for run in call.intrinsic.candidates.extra:
            for i in range(len(run)):
                place[run[: i + 1]] = (len(self.rows), i)
            read = tuple(range(len(run)))
            self.rows.append(Row(run, row.branch, first, call.intrinsic.name, read=read))
        return place

    def verdicts(self, logits: Sequence[Tensor], cost: Ledger) -> tuple[Verdict, ...]:
        """The verdict of each call. `cost` is that of the whole fan-out."""
        return tuple(
            _verdict(call, {run: logits[row][i] for run, (row, i) in place.items()}, cost)
            for call, place in zip(self.calls, self._places, strict=True)
        )


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


def check_reads(definition: Definition, conversation: Conversation) -> None:
    """Raises: ConversationError: the conversation lacks what the intrinsic judges."""
    reads = definition.reads
    last = conversation.messages[-1].role if conversation.messages else "nothing"
    if last != reads.last:
        raise ConversationError(
            f"{definition.name} judges the last {reads.last} message, but the conversation ends "
            f"with {last}; call it after the {reads.last} message"
        )
    if reads.documents == "required" and not conversation.documents:
        raise ConversationError(f"{definition.name} needs documents; add at least one")


def _verdict(call: Call, logits: Mapping[Ids, Tensor], cost: Ledger) -> Verdict:
    definition, candidates = call.intrinsic.definition, call.intrinsic.candidates
    raw = candidates.distribution(logits)
    distribution = calibrated(raw, definition.calibration.temperature)
    own = len(call.prompt) - (len(call.prefix) if call.intrinsic.activated else 0)
    computed = own + sum(len(run) for run in candidates.extra)
    reused = len(call.prompt) - own
    return Verdict(
        intrinsic=definition.name,
        value=definition.output.value_of(distribution),
        distribution=distribution,
        raw_distribution=raw,
        ledger=Ledger(reused, computed, cost.forwards, cost.seconds, call.activated_at),
        token_ids=call.prompt,
        candidates=dict(candidates.ids),
    )
