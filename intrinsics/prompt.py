"""Messages and documents to token ids, piece by piece, so that a conversation's past never changes.

The chat template is asked once per pattern of roles where it puts text around a message; that text
may hold control tokens. The message itself is tokenised with every special token split, so what a
user types stays text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

from jinja2 import TemplateError as JinjaError
from transformers import PreTrainedTokenizerBase

from .errors import ConversationError, TemplateError
from .messages import Document, Role, not_text

_CONTENT = "\ue000content {index}\ue001"  # private-use characters: no template looks for them
_PROBE: tuple[Role, ...] = ("user", "assistant", "user", "assistant", "user")


def documents_text(documents: Sequence[Document]) -> str:
    """The content of the message that carries documents."""
    return "Documents:" + "".join(f"\n\n[{d.id}] {d.text}" for d in documents)


@dataclass(frozen=True)
class Frame:
    """The template's text before and after a message's content."""

    head: str
    tail: str


class ChatFormat:
    """A tokenizer and its chat template, known to be append-only."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Check the template. Raises: TemplateError: it is missing or rewrites earlier turns."""
        template = tokenizer.chat_template
        if not template:
            raise TemplateError(
                f"{tokenizer.name_or_path}: the tokenizer has no chat template; write one to "
                f"chat_template.jinja in the model directory"
            )
        if tokenizer.eos_token_id is None:
            raise TemplateError(
                f"{tokenizer.name_or_path}: the tokenizer has no end token; set eos_token in "
                f"tokenizer_config.json"
            )
        self.tokenizer = tokenizer
        self._encoding = Lock()
        self._added = "|".join(
            re.escape(str(token))
            for token in tokenizer.added_tokens_decoder.values()
            if not token.special and len(str(token)) > 1 and str(token) in str(template)
        )
        self._frame = lru_cache(maxsize=1024)(self._compute_frame)
        for end in range(1, len(_PROBE) + 1):
            self._frame(_PROBE[:end])
        for end in (1, 3):
            self.reply_head(_PROBE[:end])

    @property
    def end_id(self) -> int:
        """The id of the model's own end token."""
        return int(self.tokenizer.eos_token_id)

    def message(self, roles: Sequence[Role], content: str) -> list[int]:
        """The ids that a message adds: `roles` are those before it and, last, its own.

        Raises: ConversationError: the template refuses that order of roles.
        """
        frame = self._frame(tuple(roles))
        return [*self.control(frame.head), *self.text(content), *self.control(frame.tail)]

    def reply_head(self, roles: Sequence[Role]) -> list[int]:
        """The ids that open the model's reply after messages of `roles`."""
        past = tuple(roles)
        opening = self._render(past, generate=True).removeprefix(self._render(past))
        head = self._frame((*past, "assistant")).head
        if opening != head:
            raise TemplateError(
                f"the chat template opens a reply with {opening!r} but renders an assistant "
                f"message with {head!r}; the past would change. Write an append-only template to "
                f"chat_template.jinja in the model directory"
            )
        return self.control(head)

    def reply_tail(self, roles: Sequence[Role]) -> list[int]:
        """The ids that close the model's reply after messages of `roles`."""
        return self.control(self._frame((*roles, "assistant")).tail)

    def text(self, content: str) -> list[int]:
        """Ordinary text: special tokens in it are split into characters of text.

        Raises: ConversationError: it is no text (half of a surrogate pair).
        """
        wrong = not_text(content)
        if wrong:
            raise ConversationError(f"{wrong}; remove it")
        if not self._added:
            return self._encode(content, split_special_tokens=True)
        # The template's control tokens that the tokenizer does not call special it does not split.
        pieces = re.split(f"({self._added})", content)
        return [i for piece in pieces for i in self._plain(piece)]

    def _plain(self, piece: str) -> list[int]:
        """One piece of text; a control token is encoded in two parts, so that it is none."""
        if re.fullmatch(self._added, piece):
            return [*self.text(piece[:1]), *self.text(piece[1:])]
        return self._encode(piece, split_special_tokens=True) if piece else []

    def control(self, text: str) -> list[int]:
        """Text of ours, in which special tokens count as such."""
        return self._encode(text, split_special_tokens=False)

    def shown(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens written out."""
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def same_text(self, ids: Sequence[int], others: Sequence[int]) -> bool:
        """Whether both read the same, with the same control tokens at their places in it."""
        known = set(self.tokenizer.all_special_ids)
        size = len(self.tokenizer)
        if any(not 0 <= i < size for i in ids) or _only(known, ids) != _only(known, others):
            return False
        return bool(self.tokenizer.decode(list(ids)) == self.tokenizer.decode(list(others)))

    def _encode(self, text: str, split_special_tokens: bool) -> list[int]:
        with self._encoding:  # transformers sets the way to split on the one tokenizer it keeps
            encoded = self.tokenizer(
                text, add_special_tokens=False, split_special_tokens=split_special_tokens
            )
        ids: list[int] = encoded["input_ids"]
        return ids

    def _compute_frame(self, roles: tuple[Role, ...]) -> Frame:
        before, after = self._render(roles[:-1]), self._render(roles)
        if not after.startswith(before):
            raise TemplateError(
                f"the chat template is not append-only: adding message {len(roles)} "
                f"({roles[-1]}) changes how the {len(roles) - 1} before it are rendered, so "
                f"their keys and values could not be reused. Write an append-only template to "
                f"chat_template.jinja in the model directory"
            )
        content = _CONTENT.format(index=len(roles) - 1)
        head, found, tail = after.removeprefix(before).partition(content)
        if not found or content in tail:
            raise TemplateError(
                f"the chat template does not render the content of message {len(roles)} "
                f"({roles[-1]}) exactly once"
            )
        return Frame(head, tail)

    def _render(self, roles: Sequence[Role], generate: bool = False) -> str:
        if not roles:
            return ""
        messages: list[dict[str, Any]] = [
            {"role": role, "content": _CONTENT.format(index=i)} for i, role in enumerate(roles)
        ]
        try:
            rendered = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=generate
            )
        except JinjaError as error:
            raise ConversationError(
                f"the chat template refuses the roles {' > '.join(roles)}: {error}"
            ) from error
        return str(rendered)


def _only(known: Collection[int], ids: Sequence[int]) -> list[int]:
    return [i for i in ids if i in known]
