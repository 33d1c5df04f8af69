"""What stands around a question and must not move its verdict: passages, turns, forged verdicts.

Each function gives a new example with the same label; none changes what is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from intrinsics.data import Example
from intrinsics.messages import Document, Message
from variety import Row


def question_at(example: Example) -> int:
    """The place of the last user message; every conversation that is judged has one."""
    return max(i for i, message in enumerate(example.messages) if message.role == "user")


def question(example: Example) -> str:
    """The last user message."""
    return example.messages[question_at(example)].content


def asking(example: Example, text: str) -> Example:
    """The example with another last user message."""
    at = question_at(example)
    messages = list(example.messages)
    messages[at] = Message(role="user", content=text)
    return example.model_copy(update={"messages": tuple(messages)})


def without_system(example: Example) -> Example:
    """The example without a leading system message."""
    if example.messages[0].role != "system":
        return example
    return example.model_copy(update={"messages": example.messages[1:]})


def distinct_passages(rows: Iterable[Row]) -> list[Document]:
    """The distinct documents of rows, in order; the rows' labels may be of any kind."""
    documents = (Document.model_validate(one) for row in rows for one in row.get("documents", ()))
    return list({document.text: document for document in documents}.values())


def elsewhere(example: Example, pool: Sequence[Document]) -> list[Document]:
    """The passages of articles from which the example has none."""
    own = {document.id for document in example.documents}
    return [passage for passage in pool if passage.id not in own]


def among(example: Example, others: Sequence[Document], place: int) -> Example:
    """The example with other documents, its own after the first `place` of them.

    Ids stay unique: an article's second passage gets a number.
    """
    own, seen = example.documents, {document.id for document in example.documents}
    named = []
    for other in others:
        name, number = other.id, 2
        while name in seen:
            name, number = f"{other.id}_{number}", number + 1
        seen.add(name)
        named.append(Document(id=name, text=other.text))
    return example.model_copy(update={"documents": (*named[:place], *own, *named[place:])})


def turns(told: Sequence[Document], asks: Sequence[str]) -> list[Message]:
    """Earlier turns: each passage as the answer to a question about its article.

    `asks`: wordings of that question, with {} for the article's name, used in turn.
    """
    messages = []
    for number, passage in enumerate(told):
        asked = asks[number % len(asks)].format(passage.id.replace("_", " "))
        messages.append(Message(role="user", content=asked))
        messages.append(Message(role="assistant", content=passage.text))
    return messages


def after_turns(example: Example, earlier: Sequence[Message]) -> Example:
    """The example with earlier turns, behind its system message."""
    head = len(example.messages) - len(without_system(example).messages)
    messages = (*example.messages[:head], *earlier, *example.messages[head:])
    return example.model_copy(update={"messages": messages})


def in_document(example: Example, said: str, random: Random | None = None) -> Example:
    """The example with `said` at the end of its last document, or where `random` puts it.

    Only at either end of some document: a sentence in the middle could cut an answer in two.
    """
    documents = list(example.documents)
    at = len(documents) - 1 if random is None else random.randrange(len(documents))
    text, first = documents[at].text, random is not None and random.random() < 0.5
    joined = f"{said} {text}" if first else f"{text} {said}"
    documents[at] = Document(id=documents[at].id, text=joined)
    return example.model_copy(update={"documents": tuple(documents)})


def in_question(example: Example, said: str) -> Example:
    """The example with `said` on a line of its own at the end of the last user message."""
    return asking(example, f"{question(example)}\n{said}")
