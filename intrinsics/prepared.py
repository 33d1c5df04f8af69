"""Labelled conversations as token ids, all of them checked before any work is done with one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .conversation import Conversation
from .data import Example
from .engine import Engine
from .errors import DataError, IntrinsicsError
from .intrinsic import Suffix, tokenised
from .located import unknown
from .readout import Candidates, Ids
from .reads import check_reads
from .spec import Definition
from .text_output import TextOutput
from .text_target import target_ids


@dataclass(frozen=True)
class Prepared:
    """An example as token ids; `target` is its label's candidate, or the text with its end."""

    prefix: Ids
    suffix: Suffix
    target: Ids


def prepare(engine: Engine, definition: Definition, examples: Sequence[Example]) -> list[Prepared]:
    """Tokenise examples.

    Raises: DataError: there is none, or one lacks what is judged, is too long, or has a label or
    arguments that the intrinsic does not know; the message names it.
    """
    return [one for _, one in _checked(engine, definition, examples)]


def conversations(
    engine: Engine, definition: Definition, examples: Sequence[Example]
) -> list[Conversation]:
    """The examples as conversations that the intrinsic can judge, nothing of them computed yet.

    Raises: DataError, as `prepare` does.
    """
    return [conversation for conversation, _ in _checked(engine, definition, examples)]


def _checked(
    engine: Engine, definition: Definition, examples: Sequence[Example]
) -> Iterator[tuple[Conversation, Prepared]]:
    if not examples:
        raise DataError("there are no rows; give at least one")
    invocation, candidates = tokenised(definition, engine.chat)
    room = engine.model.context_tokens
    for i, example in enumerate(examples, start=1):
        name = example.id or f"row {i}"
        try:
            conversation, one = _prepare(engine, definition, example, invocation, candidates)
        except IntrinsicsError as error:
            raise DataError(f"{name}: {error}") from error
        length = sum(map(len, (one.prefix, one.suffix.ids, one.target)))
        if length > room:
            raise DataError(
                f"{name}: {length} tokens do not fit into the model's context of {room}; shorten "
                f"the example or drop it"
            )
        yield conversation, one


def _prepare(
    engine: Engine,
    definition: Definition,
    example: Example,
    invocation: Ids,
    candidates: Candidates,
) -> tuple[Conversation, Prepared]:
    output = definition.output
    if isinstance(output, TextOutput):
        target = target_ids(engine.chat, output, example.target)
    elif example.label in candidates.ids:
        target = candidates.ids[example.label]
    else:
        raise DataError(unknown("label", example.label, candidates.ids))
    conversation = engine.conversation(example.messages, example.documents)
    check_reads(definition, conversation)
    instruction = definition.render_instruction(
        conversation.messages, conversation.documents, example.arguments
    )
    suffix = Suffix.of(definition, tuple(engine.chat.text(instruction)), invocation)
    return conversation, Prepared(conversation.ids, suffix, target)
