"""`chains run` and `chains check`: one run of a chain, or intrinsics on one conversation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..inputs import RunInput
from ..render import ASCII, UNICODE, badges, in_words
from .common import (
    DocumentsOption,
    FoldersOption,
    InputOption,
    JsonOption,
    MessageOption,
    ModelOption,
    load_engine,
    print_json,
    read_json,
)

if TYPE_CHECKING:
    from intrinsics.fanout import FanOut, Verdict


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(epilog="Example: chains run guarded_rag --input question.json --json")(run)
    app.command(epilog='Example: chains check safety --message "How do I bake bread?"')(check)


def given(input_: str | None, message: str | None, documents: list[Path] | None) -> RunInput:
    """What the options say, together. Raises: InputError."""
    data = read_json(input_) if input_ else {}
    if message is not None:
        data["messages"] = [*data.get("messages", []), {"role": "user", "content": message}]
    for path in documents or ():
        data["documents"] = [*data.get("documents", []), read_document(path)]
    return RunInput.of(data, input_ or "input")


def read_document(path: Path) -> dict[str, str]:
    """A text file as a document. Raises: InputError: it is no UTF-8 text."""
    from ..errors import InputError

    try:
        return {"id": path.stem, "text": path.read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def run(
    chain: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped chain.")],
    input_: InputOption = None,
    message: MessageOption = None,
    documents: DocumentsOption = None,
    model: ModelOption = None,
    folders: FoldersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a chain once and print its output."""
    from intrinsics.catalogue import Catalogue

    from ..chain import Chain

    loaded = Chain.load(chain, catalogue=Catalogue(folders or ()))
    request = given(input_, message, documents)
    result = loaded.run(load_engine(model, folders), request)
    if as_json:
        print_json(result.to_dict())
        return
    console = Console(highlight=False)
    console.print(result.output, markup=False)
    ledger = result.ledger
    console.print(
        f"{ledger['reused']:,} tokens reused, {ledger['computed']:,} computed, "
        f"{ledger['forwards']} forwards, {ledger['seconds']:.1f} s",
        style="bright_black",
    )


def check(
    intrinsics: Annotated[list[str], typer.Argument(help="Names or directories of intrinsics.")],
    input_: InputOption = None,
    message: MessageOption = None,
    documents: DocumentsOption = None,
    model: ModelOption = None,
    folders: FoldersOption = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="With --json: the ids a verdict was read from.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fire intrinsics on a conversation, all in one fan-out."""
    request = given(input_, message, documents)
    engine = load_engine(model, folders)
    conversation = engine.conversation(request.messages, request.documents)
    found = engine.fan_out(conversation, intrinsics)
    if as_json:
        print_json(to_dict(found, tokens))
        return
    console = Console(highlight=False)
    glyphs = ASCII if console.options.ascii_only else UNICODE
    shown = []
    for verdict in found.verdicts:
        positive = engine.intrinsic(_named(intrinsics, verdict)).definition.output.positive
        words = in_words(verdict.value, verdict.distribution, positive)
        shown.append(replace(words, intrinsic=verdict.intrinsic))
    note = f"{found.ledger.forwards} forward{'s' if found.ledger.forwards > 1 else ''}"
    for line in badges(shown, console.width, glyphs, note):
        console.print(line)


def _named(intrinsics: list[str], verdict: Verdict) -> str:
    """What the user called it: a name, or the directory it was loaded from."""
    return next(
        i for i in intrinsics if Path(i).name == verdict.intrinsic or i == verdict.intrinsic
    )


def to_dict(found: FanOut, tokens: bool) -> dict[str, Any]:
    """The contract of `chains check --json`."""
    return {
        "results": [_result(verdict, tokens) for verdict in found.verdicts],
        "forwards": found.ledger.forwards,
        "ledger": found.ledger.to_dict(),
    }


def _result(verdict: Verdict, tokens: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "intrinsic": verdict.intrinsic,
        "value": verdict.value,
        "distribution": verdict.distribution,
        "activated_at": verdict.ledger.activated_at,
        "reused": verdict.ledger.reused,
        "computed": verdict.ledger.computed,
    }
    if verdict.raw_distribution != verdict.distribution or tokens:
        told["raw_distribution"] = verdict.raw_distribution
    if tokens:
        told["token_ids"] = list(verdict.token_ids)
        told["candidates"] = {label: list(ids) for label, ids in verdict.candidates.items()}
    return told
