"""What an engine must give, done the slow way: whole texts, one at a time, and no cache.

It shares the weights, the chat format and the sampler with the engine, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from intrinsics.decode import Sampler
from intrinsics.engine import Engine
from intrinsics.errors import ConversationError, Guarded, IntrinsicsError
from intrinsics.messages import Message, Role
from intrinsics.prove import Prover
from intrinsics.sampling import Sampling
from intrinsics.watch import Reaction, Watch

Ids = tuple[int, ...]

# Both sides sum in float32 in another order: logits were seen up to 4e-6 apart. A choice that
# turns on less than this may fall either way.
TIE = 1e-4
SEED_STRIDE = 1_000_003  # between the seeds of one reply's tries, as the engine documents them


@dataclass
class Twin:
    """A conversation as plain lists: its messages, and the ids that each of them added."""

    messages: list[Message] = field(default_factory=list)
    added: list[Ids] = field(default_factory=list)

    @property
    def ids(self) -> Ids:
        """Everything so far."""
        return tuple(i for part in self.added for i in part)

    @property
    def roles(self) -> list[Role]:
        """Who spoke, in order."""
        return [message.role for message in self.messages]

    def copy(self) -> Twin:
        """The same past, for a fork or for what is in flight."""
        return Twin(list(self.messages), list(self.added))

    def rollback(self, messages: int) -> None:
        """Keep the first `messages`. Changes: in place."""
        del self.messages[messages:], self.added[messages:]


@dataclass(frozen=True)
class Looked:
    """What a watcher must find: after how many tokens, which distribution, and what it did."""

    tokens: int
    distribution: dict[str, float]
    tripped: bool


@dataclass
class Expected:
    """A reply as it must be; `tie` if some choice in it was so close that both ways are right.

    `chosen` is how many tokens there were before a stop string cut them.
    """

    ids: list[int] = field(default_factory=list)
    chosen: int = 0
    text: str = ""
    finish: str = ""
    looks: list[Looked] = field(default_factory=list)
    error: type[IntrinsicsError] | None = None
    tie: bool = False


class _Draw:
    """The engine's sampler on two logits: as they are, and with the choice made less likely."""

    def __init__(self, sampling: Sampling) -> None:
        self._plain, self._nudged = Sampler(sampling), Sampler(sampling)

    def choose(self, logits: Tensor) -> tuple[int, bool]:
        """The next token, and whether the choice was a tie."""
        token = self._plain.choose(logits)
        less = logits.clone()
        less[token] -= TIE
        return token, self._nudged.choose(less) != token


class Reference:
    """Computes everything from scratch, on networks of its own."""

    def __init__(self, engine: Engine, plain: PreTrainedModel) -> None:
        """`engine` has the intrinsics and never runs; `plain` is as transformers made it."""
        self.engine, self.chat, self.plain = engine, engine.chat, plain
        plain.set_attn_implementation("eager")
        self._prover = Prover(engine.model)
        self._ends = engine.model.end_ids | {engine.chat.end_id}

    def add(self, twin: Twin, role: Role, content: str) -> None:
        """Append a message, rendered anew. Changes: `twin`."""
        twin.added.append(tuple(self.chat.message([*twin.roles, role], content)))
        twin.messages.append(Message(role=role, content=content))

    def add_reply(self, twin: Twin, ids: Sequence[int], text: str) -> None:
        """Append a reply that was generated: its very ids, in the template's frame."""
        head, tail = self.chat.reply_head(twin.roles), self.chat.reply_tail(twin.roles)
        twin.added.append((*head, *ids, *tail))
        twin.messages.append(Message(role="assistant", content=text))

    @torch.inference_mode()
    def following(self, ids: Sequence[int]) -> Tensor:
        """The logits that follow a text. Shapes: (vocabulary,)."""
        output = self.plain(torch.tensor([list(ids)]), use_cache=False, logits_to_keep=1)
        logits: Tensor = output.logits[0, -1]
        return logits

    def distribution(
        self, name: str, ids: Sequence[int], messages: Sequence[Message]
    ) -> dict[str, float]:
        """What an intrinsic finds after `ids`: each label scored in a text of its own."""
        intrinsic = self.engine.intrinsic(name)
        instruction = intrinsic.definition.render_instruction(tuple(messages), (), {})
        said = self.chat.text(instruction)
        invoked = self.chat.control(intrinsic.definition.invocation)
        if intrinsic.definition.instruction_place == "after":
            prompt, start = [*ids, *invoked, *said], len(ids)
        else:
            prompt, start = [*ids, *said, *invoked], len(ids) + len(said)
        start = start if intrinsic.activated else 0
        scores = []
        for label in intrinsic.candidates.ids.values():
            read = range(len(prompt) - 1, len(prompt) + len(label) - 1)
            logits = self._prover.logits([*prompt, *label[:-1]], read, name, start)
            logs = torch.log_softmax(logits.double(), dim=-1)
            scores.append(logs[range(len(label)), label].sum())
        weights = torch.stack(scores).softmax(dim=0).tolist()
        return dict(zip(intrinsic.candidates.ids, weights, strict=True))

    def reply(self, twin: Twin, sampling: Sampling, watch: Watch | None = None) -> Expected:
        """The reply to a conversation, under a watch of one watcher if there is one."""
        frame = self.chat.reply_head(twin.roles), self.chat.reply_tail(twin.roles)
        room = self.engine.model.context_tokens - len(twin.ids) - len(frame[0]) - len(frame[1])
        chosen = replace(sampling, max_tokens=min(sampling.max_tokens, room))
        every = None if watch is None else watch.every
        assert every != "sentence"
        reply, draw, good, tries = Expected(), _Draw(chosen), list[int](), 0
        while not reply.finish:
            self._write(reply, chosen, draw, [*twin.ids, *frame[0]], every)
            then = "pass" if watch is None else self._look(reply, twin, watch)
            if then == "raise":
                reply.error = Guarded
                return reply
            if then == "pass":
                good = list(reply.ids)
                continue
            reply.ids, reply.chosen = list(good), len(good)
            last = watch is not None and tries == watch.tries
            reply.finish = "guarded" if then == "stop" or last else ""
            tries += 1
            draw = _Draw(replace(chosen, seed=chosen.seed + tries * SEED_STRIDE))
        guarded = reply.finish == "guarded"
        reply.text = self._certain(reply.ids) if guarded else self._decode(reply.ids)
        if not reply.text.strip():
            reply.error = Guarded if guarded else ConversationError
        return reply

    def _write(
        self, reply: Expected, sampling: Sampling, draw: _Draw, before: list[int], every: int | None
    ) -> None:
        """Write until the reply ends, or until a watcher looks. Changes: `reply`."""
        while not reply.finish:
            token, tie = draw.choose(self.following([*before, *reply.ids]))
            reply.tie |= tie
            if token in self._ends:
                reply.finish = "end"
                return
            reply.ids.append(token)
            reply.chosen = len(reply.ids)
            if any(stop in self._decode(reply.ids) for stop in sampling.stop):
                reply.finish = "stop"
                reply.ids = self._before(sampling.stop, reply.ids)
            elif len(reply.ids) == sampling.max_tokens:
                reply.finish = "length"
            elif every is not None and len(reply.ids) % every == 0:
                return

    def _look(self, reply: Expected, twin: Twin, watch: Watch) -> Reaction | str:
        """Let the watcher judge the reply so far; return what comes of it. Changes: `reply`."""
        [watcher] = watch.watchers
        text = self._decode(reply.ids) if reply.finish else self._certain(reply.ids)
        if not text.strip():
            return "pass"
        whole = twin.copy()
        self.add_reply(whole, reply.ids, text)
        found = self.distribution(str(watcher.intrinsic), whole.ids, whole.messages)
        over = found[watcher.label] - watcher.above
        reply.tie |= abs(over) < TIE
        reply.looks.append(Looked(reply.chosen, found, over > 0))
        return watcher.then if over > 0 and watcher.then != "note" else "pass"

    def _before(self, stops: Sequence[str], ids: Sequence[int]) -> list[int]:
        """The ids before the first stop string; of a token that it cuts, the rest as text."""
        text = self._decode(ids)
        text = text[: min(text.index(stop) for stop in stops if stop in text)]
        kept = max(n for n in range(len(ids)) if text.startswith(self._decode(ids[:n])))
        rest = text.removeprefix(self._decode(ids[:kept]))
        return [*ids[:kept], *self.chat.text(rest)]

    def _certain(self, ids: Sequence[int]) -> str:
        """The text as far as its last character is whole."""
        for end in range(len(ids), 0, -1):
            text = self._decode(ids[:end])
            if not text.endswith("\ufffd"):
                return text
        return ""

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.chat.tokenizer.decode(list(ids)))
