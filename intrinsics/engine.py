"""The engine: prefill once, call one intrinsic or fan out over many, generate the base's turns."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import RLock

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from .catalogue import Catalogue
from .checkpoint import DEFAULT_NAME, Progress, resolve
from .conversation import Conversation
from .decode import Sampling
from .errors import BaseModelError, RequestError
from .fanout import Call, FanOut, Layout, Verdict, check_request
from .generation import Generation, Reply
from .intrinsic import Intrinsic, prepare
from .ledger import Ledger
from .messages import Document, Message
from .model import Model, use_threads
from .prompt import ChatFormat

Arguments = Mapping[str, Mapping[str, str]]


class Engine:
    """A base model, its tokenizer, and the intrinsics that run on it.

    Verbs may be called from several threads; one forward runs at a time.
    """

    def __init__(
        self, model: Model, tokenizer: PreTrainedTokenizerBase, catalogue: Catalogue
    ) -> None:
        self.model = model
        self.chat = ChatFormat(tokenizer)
        self.catalogue = catalogue
        self.lock = RLock()
        self._ready: dict[Path, Intrinsic] = {}

    @staticmethod
    def load(
        model: str | Path | None = None,
        *,
        folders: Sequence[Path] = (),
        cache: Path | None = None,
        progress: Progress | None = None,
        threads: int | None = None,
    ) -> Engine:
        """Load a base model (None: the packaged one) and find the intrinsics in `folders` too.

        `cache` is where the packaged model is converted to at first use (None: `~/.cache`).
        Raises: BaseModelError: there is no usable model; TemplateError: its chat template is not
        append-only. The network is used only for a hub name that is not in the local cache.
        """
        use_threads(threads)
        directory = resolve(model, cache=cache, progress=progress)
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                directory, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # transformers raises many kinds for a broken directory
            raise BaseModelError(f"{directory}: no usable tokenizer: {error}") from error
        name = DEFAULT_NAME if model is None else Path(model).name
        return Engine(Model.load(directory, name), tokenizer, Catalogue(folders))

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
        conversation = Conversation(self.chat, self.model.tree.branch())
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

    @torch.inference_mode()
    def prefill(self, conversation: Conversation) -> Ledger:
        """Compute the keys and values the conversation lacks. Changes: its branch.

        Raises: ContextTooLong: the conversation is longer than the model's context.
        """
        with self.lock:
            conversation.check_idle()
            started, forwards = time.perf_counter(), self.model.forwards
            reused, pending = conversation.cached, conversation.pending
            self.model.prefill(conversation.branch, pending)
            return self._ledger(started, forwards, reused, len(pending))

    def call(
        self,
        conversation: Conversation,
        intrinsic: str | Path,
        arguments: Mapping[str, str] | None = None,
    ) -> Verdict:
        """One intrinsic's verdict; see `fan_out`."""
        name = self.intrinsic(intrinsic).name
        found = self.fan_out(conversation, [intrinsic], {name: arguments or {}})
        return found.verdicts[0]

    @torch.inference_mode()
    def fan_out(
        self,
        conversation: Conversation,
        intrinsics: Sequence[str | Path],
        arguments: Arguments | None = None,
    ) -> FanOut:
        """The verdicts of all `intrinsics` on the conversation, read in one forward.

        What the conversation still lacks is prefilled on the way and kept; what the intrinsics
        compute is dropped. Changes: the conversation's branch, if it lacked something.
        Raises: RequestError: none or twice the same; ConversationError: the conversation lacks
        what one of them judges; ContextTooLong.
        """
        given = arguments or {}
        ready = [self.intrinsic(name) for name in intrinsics]
        check_request(ready, given)
        with self.lock:
            conversation.check_idle()
            calls = [Call.of(one, conversation, given.get(one.name, {})) for one in ready]
            started, forwards = time.perf_counter(), self.model.forwards
            cached, pending = conversation.cached, conversation.pending
            self.model.prefill_early(conversation.branch, pending)
            layout = Layout(conversation, calls)
            logits = self.model.forward(layout.rows)
            base = self._ledger(started, forwards, cached if pending else 0, len(pending))
        verdicts = layout.verdicts(logits, base)
        reused = base.reused + sum(verdict.ledger.reused for verdict in verdicts)
        computed = base.computed + sum(verdict.ledger.computed for verdict in verdicts)
        return FanOut(verdicts, Ledger(reused, computed, base.forwards, base.seconds))

    def stream(self, conversation: Conversation, sampling: Sampling | None = None) -> Generation:
        """Generate the model's reply, piece by piece; see `Generation`."""
        return Generation(self.model, self.lock, conversation, sampling or Sampling())

    def generate(self, conversation: Conversation, sampling: Sampling | None = None) -> Reply:
        """Generate the model's reply. Changes: the conversation, which gets it as a message."""
        generation = self.stream(conversation, sampling)
        for _ in generation:
            pass
        return generation.reply

    def _ledger(self, started: float, forwards: int, reused: int, computed: int) -> Ledger:
        seconds = time.perf_counter() - started
        return Ledger(reused, computed, self.model.forwards - forwards, seconds)
