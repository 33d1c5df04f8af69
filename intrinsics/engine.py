"""The engine: prefill once, call one intrinsic or fan out over many, generate the base's turns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import TypeVar

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from .catalogue import Catalogue
from .checkpoint import DEFAULT_NAME, Progress, resolve
from .conversation import Conversation
from .device import use_threads
from .errors import NO_MODELS, BaseModelError, IntrinsicsError, RequestError
from .fanout import Call, FanOut, Verdict, check_request, fan_out
from .generation import Generation
from .intrinsic import Intrinsic, prepare
from .job import Job, Steps, Want, failing
from .ledger import Ledger
from .messages import Document, Message
from .model import Model
from .prompt import ChatFormat
from .prove import Prover
from .readout import Ids
from .retention import Retention
from .sampling import Sampling
from .scheduler import Scheduler, Stats
from .scratch import Scratch, calls_again
from .settled import SettledVerdict, settled, with_settled
from .watch import Guard, Watch
from .writer import Reply, Writer

T = TypeVar("T")
Arguments = Mapping[str, Mapping[str, str]]
QUEUE = 256


class Engine:
    """A base model, its tokenizer, and the intrinsics that run on it.

    Verbs may be called from any number of threads; requests in work at the same time share
    forwards. Tasks use `submit` and await the job, or `async for` over `stream`; where hundreds
    run at once they await `room` first.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        catalogue: Catalogue,
        *,
        kv_budget: int | None = None,
        queue: int = QUEUE,
        prove: bool = False,
    ) -> None:
        """`kv_budget` in bytes of keys and values; None is a quarter of the machine's memory.

        `queue`: how many requests may be in work or waiting before a verb waits for room.
        `prove`: compute every result a second time from scratch, and compare; slow.
        Raises: RequestError: a budget or queue below 1.
        """
        self.model = model
        self.chat = ChatFormat(tokenizer)
        self.catalogue = catalogue
        self.lock = RLock()
        self._ready: dict[Path, Intrinsic] = {}
        self._retention = Retention(model.tree, kv_budget)
        self._scheduler = Scheduler(model, self._retention, queue)
        self._prover = Prover(model) if prove else None

    @staticmethod
    def load(
        model: str | Path | None = None,
        *,
        folders: Sequence[Path] = (),
        cache: Path | None = None,
        progress: Progress | None = None,
        threads: int | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        kv_budget: int | None = None,
        queue: int = QUEUE,
        prove: bool = False,
    ) -> Engine:
        """Load a base model (None: the packaged one) and find the intrinsics in `folders` too.

        `cache` is where the packaged model is converted to at first use (None: `~/.cache`);
        `device` and `dtype` are those of `Model.load`, the last three those of `Engine`.
        Raises: BaseModelError: there is no usable model; TemplateError: its chat template is not
        append-only. The network is used only for a hub name that is not in the local cache.
        """
        if os.environ.get(NO_MODELS):
            raise BaseModelError(f"{NO_MODELS} is set, so no model is loaded; script its answers")
        use_threads(threads)
        directory = resolve(model, cache=cache, progress=progress)
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                directory, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # transformers raises many kinds for a broken directory
            raise BaseModelError(f"{directory}: no usable tokenizer: {error}") from error
        name = DEFAULT_NAME if model is None else Path(model).name
        return Engine(
            Model.load(directory, name, device=device, dtype=dtype),
            tokenizer,
            Catalogue(folders),
            kv_budget=kv_budget,
            queue=queue,
            prove=prove,
        )

    @property
    def kv_bytes(self) -> int:
        """Memory held by keys and values."""
        return self.model.tree.allocated_bytes

    def conversation(
        self, messages: Iterable[Message] = (), documents: Iterable[Document] = ()
    ) -> Conversation:
        """A new conversation: a leading system message, then the documents, then the rest.

        Raises: ConversationError: a message or document it can't take.
        """
        conversation = Conversation(self.chat, self.model.tree.branch(held=False))
        rest = list(messages)
        if rest and rest[0].role == "system":
            conversation.add("system", rest.pop(0).content)
        conversation.add_documents(documents)
        for message in rest:
            conversation.add(message.role, message.content)
        return conversation

    def intrinsic(self, name: str | Path) -> Intrinsic:
        """The intrinsic of that name or directory, its adapter loaded at first use.

        Raises: RequestError: unknown name; DefinitionError, AdapterError: it can't be used.
        """
        definition = self.catalogue.get(name)
        with self.lock:
            if definition.directory not in self._ready:
                if definition.name in self.model.bank:
                    raise RequestError(
                        f"two intrinsics are named {definition.name!r}; rename "
                        f"{definition.directory}"
                    )
                self._ready[definition.directory] = prepare(definition, self.model, self.chat)
            return self._ready[definition.directory]

    def forget(self, intrinsic: str | Path) -> None:
        """Give an intrinsic's adapter up, so that another one of the same name can be called.

        Changes: the bank; no request may be using it meanwhile. The next call loads it again.
        """
        directory = self.catalogue.get(intrinsic).directory
        with self.lock, self.model.lock:
            ready = self._ready.pop(directory, None)
            if ready is not None:
                self.model.bank.remove(ready.name)

    def prefill(self, conversation: Conversation, *, timeout: float | None = None) -> Ledger:
        """Compute the keys and values the conversation lacks. Changes: its branch.

        Raises: ContextTooLong: the conversation is longer than the model's context.
        """
        return self._start(_prefill(conversation, conversation.ids), timeout).result()

    def call(
        self,
        conversation: Conversation,
        intrinsic: str | Path,
        arguments: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> Verdict:
        """One intrinsic's verdict; see `fan_out`."""
        name = self.intrinsic(intrinsic).name
        found = self.fan_out(conversation, [intrinsic], {name: arguments or {}}, timeout=timeout)
        return found.verdicts[0]

    def fan_out(
        self,
        conversation: Conversation,
        intrinsics: Sequence[str | Path],
        arguments: Arguments | None = None,
        *,
        timeout: float | None = None,
    ) -> FanOut:
        """The verdicts of all `intrinsics` on the conversation, read in one forward.

        Texts are written after it, in a forward for each token; see `TextVerdict`.
        What the conversation still lacks is prefilled on the way and kept; what the intrinsics
        compute is dropped. Changes: the conversation's branch, if it lacked something.
        Raises: RequestError: none or twice the same; ConversationError: the conversation lacks
        what one of them judges; ContextTooLong; MemoryBudgetError; TimedOut.
        """
        return self.submit(conversation, intrinsics, arguments, timeout=timeout).result()

    def submit(
        self,
        conversation: Conversation,
        intrinsics: Sequence[str | Path],
        arguments: Arguments | None = None,
        *,
        timeout: float | None = None,
    ) -> Job[FanOut]:
        """`fan_out` as a job: `await` it in a task, or collect its `result()` later."""
        job = self._fan_out(conversation, intrinsics, arguments or {}, timeout)
        self._scheduler.submit(job)
        return job

    def submit_all(
        self, requests: Iterable[tuple[Conversation, Sequence[str | Path], Arguments]]
    ) -> list[Job[FanOut]]:
        """`submit` for several conversations or arguments at once: they share the next forward.

        One that can't be asked fails alone, as its job's result tells. Raises: TimedOut.
        """
        jobs: list[Job[FanOut]] = []
        for request in requests:
            try:
                jobs.append(self._fan_out(*request, None))
            except IntrinsicsError as error:
                jobs.append(Job(failing(error)))
        self._scheduler.submit_all(jobs)
        return jobs

    def _fan_out(
        self,
        conversation: Conversation,
        intrinsics: Sequence[str | Path],
        given: Arguments,
        timeout: float | None,
    ) -> Job[FanOut]:
        ready = [self.intrinsic(name) for name in intrinsics]
        check_request(ready, given)
        known: dict[str, SettledVerdict] = {}
        for one in ready:
            verdict = settled(one.definition, conversation, given.get(one.name, {}))
            if verdict is not None:
                known[one.name] = verdict
        calls = [
            Call.of(one, conversation, given.get(one.name, {}))
            for one in ready
            if one.name not in known
        ]
        asked = fan_out(self.model, conversation, calls) if calls else None
        order = [one.name for one in ready]
        return Job(self._proved(with_settled(asked, known, order)), timeout)

    def again(self, found: FanOut) -> FanOut:
        """The same verdicts once more, from what the KV cache holds of their prompts by now."""
        known = {one.intrinsic: one for one in found.verdicts if isinstance(one, SettledVerdict)}
        calls = calls_again(found, self.intrinsic)
        asked = fan_out(self.model, self.conversation(), calls) if calls else None
        order = [one.intrinsic for one in found.verdicts]
        return self._start(with_settled(asked, known, order), None).result()

    def scratch(self, verdict: Verdict) -> Scratch:
        """A verdict to be computed again as an ordinary LoRA must, chunk by chunk.

        Raises: RequestError: it is a text, which is written and not scored.
        """
        intrinsic = self.intrinsic(verdict.intrinsic)
        if isinstance(verdict, SettledVerdict):
            raise RequestError(f"{intrinsic.name} was not asked: there are no documents")
        if not verdict.candidates:
            raise RequestError(f"{intrinsic.name} writes text; only scored verdicts are recomputed")
        return Scratch(self.model, intrinsic, verdict, lambda steps: self._start(steps, None))

    def stream(
        self,
        conversation: Conversation,
        sampling: Sampling | None = None,
        watch: Watch | None = None,
        *,
        timeout: float | None = None,
    ) -> Generation:
        """Generate the model's reply, piece by piece, under a watch if one is given.

        Raises: RequestError, ConversationError: it can't be answered, or not be watched so.
        """
        chosen = sampling or Sampling()
        guard = None
        if watch is not None:
            ready = [self.intrinsic(watcher.intrinsic) for watcher in watch.watchers]
            guard = Guard(watch, ready, conversation, chosen)
        writer = Writer(self.model, conversation, chosen, guard, self._prover)
        return Generation(self._scheduler, conversation, writer, timeout)

    def generate(
        self,
        conversation: Conversation,
        sampling: Sampling | None = None,
        watch: Watch | None = None,
        *,
        timeout: float | None = None,
    ) -> Reply:
        """Generate the model's reply. Changes: the conversation, which gets it as a message."""
        generation = self.stream(conversation, sampling, watch, timeout=timeout)
        for _ in generation:
            pass
        return generation.reply

    async def room(self) -> None:
        """Wait until another request can be taken in at once: for tasks, before they submit."""
        await self._scheduler.room()

    def stats(self) -> Stats:
        """Requests in work and waiting, and the KV memory: bytes, segments, hits, evictions."""
        return self._scheduler.stats()

    def release(self) -> None:
        """Give up all keys and values that no request is reading; they are computed again."""
        with self.model.lock:
            self._retention.release()

    def judged(self, found: FanOut) -> None:
        """Called with what a fan-out found, on the engine's thread: for a subclass that listens."""

    def _proved(self, steps: Steps[FanOut]) -> Steps[FanOut]:
        found = yield from steps
        for verdict in found.verdicts if self._prover else ():
            assert self._prover is not None
            if verdict.asked:
                self._prover.check_verdict(verdict)
        self.judged(found)
        return found

    def _start(self, steps: Steps[T], timeout: float | None) -> Job[T]:
        job = Job(steps, timeout)
        self._scheduler.submit(job)
        return job


def _prefill(conversation: Conversation, ids: Ids) -> Steps[Ledger]:
    draft = conversation.draft(ids)
    try:
        yield Want(draft)
        conversation.adopt(draft)
        return draft.ledger()
    finally:
        draft.release()
