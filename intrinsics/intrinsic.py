"""An intrinsic made ready for one base model: its tokens checked, its adapter in the bank."""

from __future__ import annotations

from dataclasses import dataclass

from .adapter import Adapter
from .errors import AdapterError, InvocationMismatch
from .model import Model
from .prompt import ChatFormat
from .readout import Candidates, Ids
from .spec import Definition


@dataclass(frozen=True)
class Intrinsic:
    """A definition, its invocation as ids, and its labels as candidates.

    `activated` is False for an ordinary LoRA, which has to prefill everything anew.
    """

    definition: Definition
    invocation: Ids
    candidates: Candidates
    activated: bool

    @property
    def name(self) -> str:
        """The name of its definition and of its adapter in the bank."""
        return self.definition.name


@dataclass(frozen=True)
class Suffix:
    """What follows a conversation to ask an intrinsic: tokens, adapted from `active_from` on."""

    ids: Ids
    active_from: int

    @staticmethod
    def of(definition: Definition, instruction: Ids, invocation: Ids) -> Suffix:
        """A rendered instruction and the invocation, in the definition's order.

        What stands before the invocation is read with the base model's weights, what stands after
        it with the adapter's too. PEFT finds the same place: no text holds the invocation's tokens.
        """
        if definition.instruction_place == "after":
            return Suffix((*invocation, *instruction), 0)
        return Suffix((*instruction, *invocation), len(instruction))

    def behind(self, tail: Ids) -> Suffix:
        """The same behind more tokens of the base model."""
        return Suffix((*tail, *self.ids), len(tail) + self.active_from)


def tokenised(definition: Definition, chat: ChatFormat) -> tuple[Ids, Candidates]:
    """The invocation and the candidates of a definition as this tokenizer writes them."""
    labels = {label: chat.text(label) for label in definition.output.labels}
    candidates = Candidates.of(labels, end=chat.end_id)
    return tuple(chat.control(definition.invocation)), candidates


def prepare(definition: Definition, model: Model, chat: ChatFormat) -> Intrinsic:
    """Load an intrinsic's adapter into the model's bank. Changes: the bank.

    Raises: AdapterError: weights missing, corrupt or for another base model; InvocationMismatch:
    the definition's invocation is not tokenised as the adapter was trained.
    """
    adapter = Adapter.load(definition.directory / "adapter")
    intrinsic = matched(definition, adapter, model, chat)
    with model.lock:
        model.bank.add(definition.name, adapter)
    return intrinsic


def matched(definition: Definition, adapter: Adapter, model: Model, chat: ChatFormat) -> Intrinsic:
    """A definition and an adapter as one intrinsic of this base model, if they are one.

    Changes: nothing. Raises: as `prepare`.
    """
    invocation, candidates = tokenised(definition, chat)
    _check_base(definition, adapter, model)
    if adapter.invocation is not None and adapter.invocation != invocation:
        raise InvocationMismatch(
            f"{definition.place('invocation')}: invocation {definition.invocation!r} is "
            f"{list(invocation)} for this tokenizer, but the adapter was trained with "
            f"{list(adapter.invocation)} ({chat.tokenizer.decode(list(adapter.invocation))!r}); "
            f"use that invocation, or train the adapter again"
        )
    model.bank.check(definition.name, adapter)
    return Intrinsic(definition, invocation, candidates, adapter.activated)


def _check_base(definition: Definition, adapter: Adapter, model: Model) -> None:
    trained = adapter.base_model.rstrip("/").rsplit("/", 1)[-1]
    if trained and trained != definition.base_model:
        raise AdapterError(
            f"{definition.place('base_model')}: base_model is {definition.base_model!r}, but the "
            f"adapter was trained on {trained!r}; use the adapter that belongs here"
        )
    if not adapter.fingerprint and model.name and definition.base_model != model.name:
        raise AdapterError(
            f"{definition.place('base_model')}: made for {definition.base_model!r}, but "
            f"{model.name!r} is loaded, and the adapter does not tell by its weights whether that "
            f"is the same; load {definition.base_model!r} from a directory or hub name like that"
        )
    if adapter.fingerprint and adapter.fingerprint != model.fingerprint:
        raise AdapterError(
            f"{definition.name}: the adapter was trained on other weights of "
            f"{definition.base_model} (fingerprint {adapter.fingerprint}) than the loaded base "
            f"model ({model.fingerprint}); load that model, or train the adapter again"
        )
