"""Random requests on eight conversations at once, each compared with the slow reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest

from conftest import check_integrity, tiny_engine, tiny_network, write_intrinsic
from faults import Fault, Faults
from intrinsics import scheduler
from intrinsics.catalogue import Catalogue
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.errors import (
    Cancelled,
    ContextTooLong,
    ConversationError,
    Guarded,
    MemoryBudgetError,
    RequestError,
    TimedOut,
)
from intrinsics.fanout import FanOut
from intrinsics.generation import Generation
from intrinsics.job import Job
from intrinsics.messages import Role
from intrinsics.sampling import Sampling
from intrinsics.watch import Reaction, Watch, Watcher
from intrinsics.writer import Reply
from reference import Expected, Reference, Twin

T = TypeVar("T")
Collect = Callable[[], None]

TALKS = 8
LONG_TOKENS = 150  # a conversation beyond that is rolled back, so that the reference stays quick
BUDGET_TOKENS = 1000  # less than eight conversations and their requests: some must be evicted
TOLERANCE = 1e-5  # on probabilities: float32 sums in another order, up to 2e-6 was seen
FAULT_SHARE = 0.02  # of the writes and adapter updates, some twenty in a forward
WORDS = ["the", "blue", "harbour", "never", "closed", "before", "noon,", "so", "why", "did", "Anna"]
JUDGES: dict[Role, tuple[str, ...]] = {
    "user": ("asked", "aloud", "whole"),
    "assistant": ("judge",),
}


class Reader:
    """Reads a reply in two goes, as a caller may who does something else in between."""

    def __init__(self, stream: Generation) -> None:
        self._stream: Generation | None = stream
        self._pieces: list[str] = []
        self._error: Exception | None = None

    def begin(self) -> None:
        """Read one piece."""
        assert self._stream is not None
        try:
            self._pieces.append(next(self._stream, ""))
        except Exception as error:
            self._error = error

    def finish(self) -> Reply:
        """Read the rest. Raises: what the generation met, whenever that was."""
        assert self._stream is not None
        if self._error is not None:
            raise self._error
        self._pieces += self._stream
        assert "".join(self._pieces) == self._stream.reply.text
        return self._stream.reply

    def give_up(self, close: bool) -> None:
        """Close the generation, or drop it."""
        assert self._stream is not None
        if close:
            self._stream.close()
        self._stream = None


def judged_engine(folder: Path, budget_tokens: int | None = None, queue: int = 256) -> Engine:
    """A tiny engine with the intrinsics of `folder`, which are written at the first call."""
    small = tiny_engine()
    if not folder.exists():
        labels, text = ("calm", "loud"), "{{ messages[-1].content }}!\n"
        write_intrinsic(small, folder, "asked", ("yes", "no", "not at all"), seed=1)
        write_intrinsic(small, folder, "aloud", labels, instruction=text, rank=2, seed=2)
        write_intrinsic(small, folder, "judge", labels, last="assistant", instruction=text, seed=3)
        write_intrinsic(small, folder, "whole", labels, activated=False, rank=2, seed=4)
    budget = budget_tokens and budget_tokens * small.model.token_bytes
    catalogue = Catalogue([folder])
    return Engine(small.model, small.chat.tokenizer, catalogue, kv_budget=budget, queue=queue)


class Stress:
    """Eight conversations of an engine and their twins, through rounds of random requests.

    What begins a request returns how to collect it: wait for it, and compare.
    """

    def __init__(self, folder: Path, seed: int, patch: pytest.MonkeyPatch) -> None:
        self.random, self.patch = Random(seed), patch
        self.engine = judged_engine(folder, BUDGET_TOKENS)
        self.reference = Reference(judged_engine(folder), tiny_network())
        self.faults = Faults(patch, self.engine.model.bank)  # the reference has a bank too
        self.talks = [self.engine.conversation() for _ in range(TALKS)]
        self.twins = [Twin() for _ in range(TALKS)]
        self.readers: list[Reader] = []
        self.seen: Counter[str] = Counter()

    def round(self) -> None:
        """Begin something on every conversation at once; then collect in any order."""
        begin = [self.check] * 6 + [self.reply] * 6 + [self.watched] * 3 + [self.abandon]
        begin += [self.cancel, self.late, self.too_long, self.wrong, self.hungry]
        for i in range(TALKS):
            self.change(i)
        self.faults.share = self.random.choice([0, 0, FAULT_SHARE])
        small = self.random.random() < 0.5
        self.patch.setattr(scheduler, "MAX_ACTIVE", 4 if small else 64)
        self.patch.setattr(scheduler, "IDLE_CHUNK_TOKENS", 64 if small else 512)
        self.patch.setattr(scheduler, "BUSY_CHUNK_TOKENS", 24 if small else 96)
        with self.engine.model.lock:  # none is computed before all are in line
            order = self.random.sample(range(TALKS), TALKS)
            collects = [self.random.choice(begin)(i) for i in order]
        fork = self.meanwhile()
        self.random.shuffle(collects)
        for collect in collects:
            collect()
        self.faults.share = 0
        if fork:
            i = self.random.randrange(TALKS)
            self.talks[i], self.twins[i] = fork
        for talk, twin in zip(self.talks, self.twins, strict=True):
            assert talk.ids == twin.ids
            assert talk.messages == tuple(twin.messages)

    def rest(self) -> None:
        """Wait until nothing is in work, and see that everything is in order."""
        check_integrity(self.engine)
        for talk in self.talks:
            assert all(part in self.engine.model.tree.segments for part, _ in talk.branch.path())
        stats = self.engine.stats().kv
        assert stats.bytes <= stats.budget_bytes, stats

    def change(self, i: int) -> None:
        """Append to a conversation, roll it back, or put a fork of another in its place."""
        twin = self.twins[i]
        if twin.messages and (len(twin.ids) > LONG_TOKENS or self.random.random() < 0.2):
            kept = self.random.randrange(len(twin.messages))
            self.talks[i].rollback(kept)
            twin.rollback(kept)
        elif self.random.random() < 0.15:
            other = self.random.randrange(TALKS)
            self.talks[i], self.twins[i] = self.talks[other].fork(), self.twins[other].copy()
        if not self.twins[i].messages or self.random.random() < 0.6:
            role: Role = "user" if self.random.random() < 0.7 else "assistant"
            content = " ".join(self.random.choices(WORDS, k=self.random.randint(1, 9)))
            self.talks[i].add(role, content)
            self.reference.add(self.twins[i], role, content)

    def meanwhile(self) -> tuple[Conversation, Twin] | None:
        """What may be done while requests are in work; perhaps a fork."""
        fork = None
        if self.random.random() < 0.3:
            i = self.random.randrange(TALKS)
            fork = self.talks[i].fork(), self.twins[i].copy()
        for reader in self.readers:
            reader.begin()
        self.readers.clear()
        if self.random.random() < 0.2:
            talk = self.random.choice(self.talks)
            self.attempt(lambda: self.engine.prefill(talk))
        if self.random.random() < 0.1:
            self.engine.release()
        return fork

    def attempt(self, run: Callable[[], T], *errors: type[Exception]) -> T | type[Exception]:
        """What `run` gives, or which error it met: a fault, no room, or one of `errors`."""
        expected: tuple[type[Exception], ...] = (Fault, MemoryBudgetError, *errors)
        try:
            found = run()
        except expected as error:
            assert self.faults.share or not isinstance(error, Fault)
            self.seen[type(error).__name__] += 1
            return type(error)
        self.seen["done"] += 1
        return found

    def check(self, i: int) -> Collect:
        """Some intrinsics at once; the conversation may go on, or back, before they are read."""
        names, twin = self.judges(i), self.twins[i].copy()
        job = self.engine.submit(self.talks[i], names)
        if self.random.random() < 0.3:
            self.change(i)
        return lambda: self.compare(names, twin, self.attempt(job.result))

    def judges(self, i: int) -> list[str]:
        """Some of those that can judge how the conversation ends now."""
        known = JUDGES[self.twins[i].roles[-1]]
        return self.random.sample(known, self.random.randint(1, len(known)))

    def compare(self, names: Sequence[str], twin: Twin, found: FanOut | type[Exception]) -> None:
        """Verdicts are those of the reference."""
        if not isinstance(found, type):
            for name in names:
                assert found[name].token_ids[: len(twin.ids)] == twin.ids
                expected = self.reference.distribution(name, twin.ids, twin.messages)
                assert found[name].distribution == pytest.approx(expected, abs=TOLERANCE)

    def cancel(self, i: int) -> Collect:
        """A check that is given up at once, or when others have been collected."""
        names = self.judges(i)
        job = self.engine.submit(self.talks[i], names)
        if self.random.random() < 0.5:
            job.cancel()

        def collect() -> None:
            job.cancel()
            self.compare(names, self.twins[i], self.attempt(job.result, Cancelled))

        return collect

    def late(self, i: int) -> Collect:
        """A check or a reply with little time, which may be enough."""
        timeout = self.random.choice([1e-6, 1e-3, 1e-2])
        if self.random.random() < 0.5:
            return self.reply(i, timeout=timeout)
        names = self.judges(i)
        job = self.engine.submit(self.talks[i], names, timeout=timeout)
        return lambda: self.compare(names, self.twins[i], self.attempt(job.result, TimedOut))

    def sampling(self, watched: bool) -> Sampling:
        """Greedy or drawn; at times so long that guesses come true, at times with stop strings."""
        pick = self.random.choice
        return Sampling(
            max_tokens=pick([1, 2, 2, 3, 4, 4, 5, 6, 6, 20]),
            temperature=pick([0.3, 0.7, 1.5] if watched else [0.0, 0.0, 0.3, 0.7, 1.5]),
            top_p=pick([0.8, 1.0]),
            seed=self.random.randrange(10**6),
            stop=pick([(), (), ("e",), ("a", "t", "f>")]),
        )

    def stopping(self, i: int, sampling: Sampling) -> Sampling:
        """The same with a stop string of two or three tokens, which the reply will have."""
        text = self.reference.reply(self.twins[i], sampling).text
        at, size = self.random.randrange(len(text) or 1), self.random.randint(2, 3)
        stop = text[at : at + size]
        return replace(sampling, stop=(stop,)) if stop and stop.isascii() else sampling

    def reply(self, i: int, watch: Watch | None = None, timeout: float | None = None) -> Collect:
        """A reply, read to its end."""
        sampling = self.sampling(watched=watch is not None)
        if self.random.random() < 0.2:
            sampling = self.stopping(i, sampling)
        reader = Reader(self.engine.stream(self.talks[i], sampling, watch, timeout=timeout))
        if self.random.random() < 0.3:
            self.readers.append(reader)

        def collect() -> None:
            found = self.attempt(reader.finish, ConversationError, Guarded, TimedOut)
            if found not in (Fault, MemoryBudgetError, TimedOut):
                self.compare_reply(i, self.reference.reply(self.twins[i], sampling, watch), found)

        return collect

    def compare_reply(self, i: int, expected: Expected, found: Reply | type[Exception]) -> None:
        """A reply is that of the reference, or right too. Changes: the twin, which gets it."""
        if isinstance(found, type):
            assert found is expected.error or expected.tie
            return
        told = (list(found.ids), found.text, found.finish, len(found.checks), None)
        wanted = expected.ids, expected.text, expected.finish, len(expected.looks), expected.error
        if told != wanted:
            assert expected.tie, f"{told} instead of {wanted}"
            self.seen["tie"] += 1
        else:
            for check, look in zip(found.checks, expected.looks, strict=True):
                assert (check.tokens, check.tripped) == (look.tokens, look.tripped)
                probabilities = pytest.approx(look.distribution, abs=TOLERANCE)
                assert check.verdict.distribution == probabilities
                self.seen["look"] += 1
        self.seen["guessed right"] += not found.checks and found.ledger.forwards < len(found.ids)
        self.reference.add_reply(self.twins[i], found.ids, found.text)

    def watched(self, i: int) -> Collect:
        """A reply under a watch."""
        thens: list[Reaction] = ["note", "again", "again", "stop", "raise"]
        above, then = self.random.choice([0.5, 0.8, 0.95]), self.random.choice(thens)
        watcher = Watcher("judge", "calm", above, then)
        every, tries = self.random.randint(1, 4), self.random.randint(0, 2)
        return self.reply(i, Watch((watcher,), every=every, tries=tries))

    def abandon(self, i: int, tokens: int = 30) -> Collect:
        """A reply that is closed or dropped, at once or after its first piece."""
        sampling = Sampling(tokens, 1.0, seed=self.random.randrange(10**6))
        reader = Reader(self.engine.stream(self.talks[i], sampling))
        begun, close = self.random.random() < 0.5, self.random.random() < 0.5

        def collect() -> None:
            if begun:
                reader.begin()
            reader.give_up(close)
            self.seen["abandoned"] += 1

        return collect

    def hungry(self, i: int) -> Collect:
        """A reply for which there is hardly room."""
        return self.abandon(i, 400)

    def too_long(self, i: int) -> Collect:
        """A check on more than the model's context."""
        fork = self.talks[i].fork()
        fork.add("user", "x" * 520)
        job: Job[Any] = self.engine.submit(fork, ["asked"])

        def collect() -> None:
            assert isinstance(self.attempt(job.result, ContextTooLong), type)

        return collect

    def wrong(self, i: int) -> Collect:
        """Requests that are refused before anything is computed."""
        talk, watch = self.talks[i], Watch((Watcher("judge", "clam"),), every=2)
        for begin in (
            lambda: self.engine.submit(talk, ["nobody"]),
            lambda: self.engine.submit(talk, ["asked", "asked"]),
            lambda: self.engine.submit(talk, ["asked", "judge"]),
            lambda: self.engine.stream(talk, Sampling(temperature=1.0), watch),
        ):
            found = self.attempt(begin, RequestError, ConversationError)
            assert found in (RequestError, ConversationError)
        return lambda: None
