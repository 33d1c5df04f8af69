"""A whole flow: six intrinsic calls and two replies over long documents, ours beside PEFT's.

Ours runs first and writes down the ids of every call and reply; the peers run the same ids. A PEFT
LoRA prefills the conversation anew for each call. A PEFT aLoRA has the base cache handed over and
cropped afterwards. Both keep the base model's cache between the replies.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import Tensor
from transformers import DynamicCache

from intrinsics.adapter import Adapter
from intrinsics.checkpoint import Progress
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.errors import RequestError
from intrinsics.fanout import Verdict
from intrinsics.messages import Document, Message
from intrinsics.readout import Ids
from intrinsics.sampling import Sampling

from .measure import Steps, alone, check_sizes, clear, load, machine, plain_network, ratio, spread
from .peft_peer import PeftPeer, require_peft
from .texts import fitted, passage

SLOW_REPETITIONS = 3  # of PEFT's, which take minutes together
STAGES = ("prefill", "turns", "intrinsics")
_QUESTIONS = (
    "Tell me at length what the documents say about the towns and their buildings.",
    "Which of these towns should a visitor see first? Give all the reasons.",
)
_NAMES = ("safety", "answerability", "certainty")

Stages = dict[str, float]
"""Seconds spent in each stage of one flow."""


@dataclass(frozen=True)
class Check:
    """One intrinsic call: what it reads, its own ids, and the answer that ours found."""

    name: str
    prefix: Ids
    own: Ids
    label: Ids
    answer: Ids
    candidates: tuple[Ids, ...]


@dataclass(frozen=True)
class Turn:
    """One reply: the ids before it, and its own up to the end token if there was one."""

    prompt: Ids
    reply: Ids


@dataclass(frozen=True)
class Script:
    """The ids of a whole flow."""

    opening: Ids
    steps: tuple[Check | Turn, ...]


def run(
    context: int = 2000, tokens: int = 48, repetitions: int = 3, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure; each figure is that of the whole flow.

    Raises: RequestError: absurd sizes, or peft is missing.
    """
    check_sizes(tokens=tokens, repetitions=repetitions)
    require_peft()
    engine = load(progress)
    if not 0 < context <= engine.model.context_tokens - 2 * tokens - 200:
        raise RequestError(f"context {context} with two replies is beyond the model's context")
    with tempfile.TemporaryDirectory() as folder:
        network, directories = plain_network(), _directories(engine, Path(folder))
        peer = alone(lambda: PeftPeer(network, directories))
    return _measure(engine, peer, _documents(engine, context), tokens, repetitions, progress)


def _measure(
    engine: Engine,
    peer: PeftPeer,
    asked: Conversation,
    tokens: int,
    repetitions: int,
    progress: Progress | None,
) -> dict[str, Any]:
    slow = min(repetitions, SLOW_REPETITIONS)
    steps = Steps(progress, "measuring flow", 1 + repetitions + 2 * slow)
    _, script = _ours(engine, asked, tokens)  # a warm-up; the ids are the same every time
    for name in peer.names:  # a warm-up of theirs where it is cheap
        alone(lambda name=name: peer.ordinary(name, script.opening[:32], 2))  # type: ignore[misc]
    steps.done()
    agreed: list[bool] = []

    def alora(check: Check, cache: DynamicCache, pending: Ids) -> None:
        logits = peer.verdict(f"alora_{check.name}", cache, pending, check.own, check.answer)
        agreed.append(_agrees(check, logits))

    def lora(check: Check, _: DynamicCache, __: Ids) -> None:
        ids = (*check.prefix, *check.own)
        peer.ordinary(f"lora_{check.name}", ids, len(check.answer), check.answer)

    flows: dict[str, Callable[[], Stages]] = {
        "ours": lambda: _ours(engine, asked, tokens)[0],
        "peft_alora": lambda: alone(lambda: _play(peer, script, alora)),
        "peft_lora": lambda: alone(lambda: _play(peer, script, lora)),
    }
    found: dict[str, list[Stages]] = {name: [] for name in flows}
    for i in range(repetitions):
        for name, flow in flows.items():
            if name == "ours" or i < slow:
                found[name].append(flow())
                steps.done()
    raw = {name: [sum(stages.values()) for stages in all_] for name, all_ in found.items()}
    return {
        "context": asked.length,
        "tokens": tokens,
        "reply_tokens": [len(step.reply) for step in script.steps if isinstance(step, Turn)],
        "checks": [step.name for step in script.steps if isinstance(step, Check)],
        "ratio_to_peft_lora": ratio(raw["peft_lora"], raw["ours"]),
        "ratio_to_peft_alora": ratio(raw["peft_alora"], raw["ours"]),
        "same_labels": all(agreed),
        "seconds": {name: spread(values) for name, values in raw.items()},
        "stages": {
            name: {stage: spread([one[stage] for one in all_])["median"] for stage in STAGES}
            for name, all_ in found.items()
        },
        "raw": raw,
        "raw_stages": found,
        "repetitions": {name: len(values) for name, values in raw.items()},
        "machine": machine(),
    }


def _directories(engine: Engine, folder: Path) -> list[Path]:
    """Each shipped adapter twice: as it is, and as a LoRA that acts from the first token on."""
    directories = []
    for name in _NAMES:
        adapter = Adapter.load(engine.catalogue.get(name).directory / "adapter")
        for kind, invocation in (("alora", adapter.invocation), ("lora", None)):
            path = folder / f"{kind}_{name}"
            Adapter(adapter.modules, invocation, adapter.base_model, adapter.alpha).save(path)
            directories.append(path)
    return directories


def _documents(engine: Engine, context: int) -> Conversation:
    """Documents and the first question, of about `context` tokens together."""

    def build(room: int) -> Conversation:
        parts = max(1, min(4, room // 8))
        documents = [
            Document(id=f"{i + 1}", text=passage(engine.chat, room // parts, i))
            for i in range(parts)
        ]
        return engine.conversation([Message(role="user", content=_QUESTIONS[0])], documents)

    return fitted(context, build)


class _Clock:
    """Seconds spent in each stage."""

    def __init__(self) -> None:
        self.stages: Stages = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = perf_counter()
        yield
        self.stages[name] += perf_counter() - started


def _ours(engine: Engine, asked: Conversation, tokens: int) -> tuple[Stages, Script]:
    """The flow by the engine's verbs."""
    clear(engine)
    clock, steps = _Clock(), list[Check | Turn]()
    talk = engine.conversation(asked.messages, asked.documents)
    opening = talk.ids

    def judge(*names: str) -> None:
        with clock.stage("intrinsics"):
            found = engine.fan_out(talk, names)
        steps.extend(_check(verdict, talk) for verdict in found.verdicts)

    with clock.stage("prefill"):
        engine.prefill(talk)
    for i, question in enumerate(_QUESTIONS):
        if i:
            talk.add("user", question)
        judge("safety", "answerability")
        prompt = (*talk.ids, *talk.chat.reply_head(talk.roles))
        with clock.stage("turns"):
            reply = engine.generate(talk, Sampling(max_tokens=tokens))
        ended = () if reply.finish == "length" else (talk.chat.end_id,)
        steps.append(Turn(prompt, (*reply.ids, *ended)))
        judge("certainty")
    return clock.stages, Script(opening, tuple(steps))


def _check(verdict: Verdict, talk: Conversation) -> Check:
    label = max(verdict.raw_distribution, key=verdict.raw_distribution.__getitem__)
    ids, end = verdict.candidates[label], talk.chat.end_id
    answer = ids if ids[-1] == end else (*ids, end)
    own = verdict.token_ids[talk.length :]
    return Check(verdict.intrinsic, talk.ids, own, ids, answer, tuple(verdict.candidates.values()))


def _play(
    peer: PeftPeer, script: Script, judge: Callable[[Check, DynamicCache, Ids], None]
) -> Stages:
    """The same flow on a peer; `judge` gets the base cache and the ids that it lacks."""
    clock = _Clock()
    with clock.stage("prefill"):
        cache = peer.prefill(script.opening)
    for step in script.steps:
        if isinstance(step, Turn):
            with clock.stage("turns"):
                peer.turn(cache, step.prompt[cache.get_seq_length() :], step.reply)
        else:
            with clock.stage("intrinsics"):
                judge(step, cache, step.prefix[cache.get_seq_length() :])
    return clock.stages


def _agrees(check: Check, logits: Sequence[Tensor]) -> bool:
    """Whether our label is what these logits prefer among the labels, token by token."""
    for i, token in enumerate(check.label):
        rivals = {ids[i] for ids in check.candidates if ids[:i] == check.label[:i]}
        scores = logits[i]
        if max(rivals, key=lambda rival: float(scores[rival])) != token:
            return False
    return True
