"""A saved chat: its forks with their token ids, in one JSON file that is replaced as a whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from intrinsics.messages import Document, Message, Role
from intrinsics.prompt import documents_text

from .chain import Chain
from .errors import InputError, OutputError
from .forks import Fork, Turn
from .loader import read

if TYPE_CHECKING:
    from intrinsics.conversation import Conversation
    from intrinsics.engine import Engine

KIND: Literal["alora-chains chat"] = "alora-chains chat"


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SavedEntry(_Data):
    """A message, or a block of documents (`ahead`: laid before a question), and its token ids."""

    role: Role
    content: str = ""
    documents: tuple[Document, ...] = ()
    ids: tuple[int, ...]
    ahead: bool = False


class SavedTurn(_Data):
    """What the user said, and where in the conversation it began; see `Turn`."""

    text: str
    mark: int
    documents: int


class SavedFork(_Data):
    """A fork; its chain is kept as YAML, so that the file needs no other."""

    name: str
    chain: str
    entries: tuple[SavedEntry, ...]
    turns: tuple[SavedTurn, ...]


class SavedChat(_Data):
    """The whole file. `model` is the fingerprint of the base model that the ids belong to."""

    kind: Literal["alora-chains chat"] = KIND
    version: Literal[1] = 1
    model: str
    current: str
    forks: tuple[SavedFork, ...]


def save(path: Path, engine: Engine, forks: Iterable[Fork], current: Fork) -> None:
    """Write the forks to a file, whole or not at all.

    Raises: OutputError: it could not be written, or is a file of another kind; it is as it was.
    """
    chat = SavedChat(
        model=engine.model.fingerprint,
        current=current.name,
        forks=tuple(_saved(fork) for fork in forks),
    )
    fresh: Path | None = None
    try:
        target = path.expanduser().resolve()  # the file behind a link, not the link
        if target.exists() and not _is_chat(target):
            raise OutputError(f"{path}: is there already and no saved chat; give another name")
        with tempfile.NamedTemporaryFile(
            "w", dir=target.parent, prefix=f".{target.name}-", delete=False, encoding="utf-8"
        ) as file:
            fresh = Path(file.name)
            file.write(chat.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, target)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~ of nobody
        if fresh is not None:
            fresh.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({error}); nothing was changed") from error


def load(path: Path, engine: Engine) -> tuple[list[Fork], str, int]:
    """The forks in a file, the name of the current one, and how many texts were tokenised anew.

    A text is tokenised anew where another base model is loaded than the one that was saved with.
    Raises: InputError: it can't be read or is no saved chat; ChainError: a chain can't be used.
    """
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~ of nobody
        raise InputError(f"{path}: cannot be read ({error})") from error
    try:
        chat = SavedChat.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise InputError(f"{path}: no saved chat: {place}: {first['msg']}") from None
    known, anew, forks = chat.model == engine.model.fingerprint, 0, []
    for saved in chat.forks:
        fork, others = _restored(saved, engine, f"{path}, chain of {saved.name}", known)
        forks.append(fork)
        anew += others
    if chat.current not in [fork.name for fork in forks]:
        raise InputError(f"{path}: no saved chat: it has no fork {chat.current!r}")
    return forks, chat.current, anew


def _saved(fork: Fork) -> SavedFork:
    entries = tuple(
        SavedEntry(
            role=entry.message.role,
            content="" if entry.documents else entry.message.content,
            documents=entry.documents,
            ids=ids,
            ahead=entry.ahead,
        )
        for entry, ids in fork.conversation.entries
    )
    turns = tuple(SavedTurn(text=t.text, mark=t.mark, documents=t.documents) for t in fork.turns)
    return SavedFork(name=fork.name, chain=fork.chain.to_yaml(), entries=entries, turns=turns)


def _restored(saved: SavedFork, engine: Engine, where: str, known: bool) -> tuple[Fork, int]:
    chain = Chain(*read(saved.chain, where), engine.catalogue)
    conversation = engine.conversation()
    anew = sum(not _add(conversation, entry, known) for entry in saved.entries)
    turns = [Turn(one.text, one.mark, one.documents) for one in saved.turns]
    marks = [turn.mark for turn in turns]
    if marks != sorted(set(marks)) or any(mark >= conversation.mark for mark in marks):
        raise InputError(f"{where}: its turns do not fit its messages; the file was changed")
    return Fork(saved.name, chain, conversation, turns), anew


def _add(conversation: Conversation, entry: SavedEntry, known: bool) -> bool:
    content = documents_text(entry.documents) if entry.documents else entry.content
    message = Message(role=entry.role, content=content)
    ids = entry.ids if known else ()
    return conversation.restore(message, entry.documents, ids, ahead=entry.ahead)


def _is_chat(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return KIND in file.read(200)
    except (OSError, ValueError):
        return False
