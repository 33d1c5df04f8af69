"""`chains run` and `chains check`: one run of a chain, or intrinsics on one conversation."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from intrinsics.catalogue import Catalogue

from ..chain import Chain, find
from ..chat import make_ready, read_document
from ..errors import ChainRunError, InputError
from ..inputs import RunInput, typed_inputs
from ..recorder import Recorder, recorded
from ..render import DIM, Costs, badges, figures, in_words
from ..runview import RunView
from ..screen import Screen, ticking
from ..store import Store
from ..tracing.log import to_line
from .common import (
    AllowOption,
    DocumentsOption,
    FoldersOption,
    FunctionsOption,
    InputOption,
    JsonOption,
    MessageOption,
    ModelOption,
    errors,
    functions_of,
    going_on,
    load_engine,
    print_json,
    read_json,
    shows_unicode,
    tolerate_foreign_text,
)
from .named import ChainArgument, is_python, load

if TYPE_CHECKING:
    from intrinsics.engine import Engine
    from intrinsics.fanout import FanOut, Verdict

    from ..events import Event
    from ..runner import Answer, Run


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(epilog="Example: chains run guarded_rag --input question.json --json")(run)
    app.command(epilog='Example: chains check safety --message "How do I bake bread?"')(check)


def given(input_: str | None, message: str | None, documents: list[Path] | None) -> RunInput:
    """What the options say, together. Raises: InputError."""
    request = RunInput.of(read_json(input_) if input_ else {}, input_ or "input")
    messages = [one.model_dump() for one in request.messages]
    if message is not None:
        messages.append({"role": "user", "content": message})
    texts = [*request.documents, *(read_document(path) for path in documents or ())]
    whole = {"messages": messages, "documents": [one.model_dump() for one in texts]}
    return RunInput.of({**whole, "inputs": request.inputs}, "--message")


def run(
    chain: ChainArgument,
    input_: InputOption = None,
    message: MessageOption = None,
    documents: DocumentsOption = None,
    model: ModelOption = None,
    folders: FoldersOption = None,
    functions: FunctionsOption = None,
    allow: AllowOption = None,
    record: Annotated[
        Path | None,
        typer.Option("--record", metavar="DB", help="Record the run in this file; see `resume`."),
    ] = None,
    node: Annotated[
        str | None, typer.Option("--node", metavar="NAME", help="Run this one node alone.")
    ] = None,
    as_events: Annotated[
        bool, typer.Option("--events", help="Print each event as a line of JSON, as it happens.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a chain once: show the run, or print what came of it, or its events, as JSON."""
    if as_json and as_events:
        raise typer.BadParameter("choose one of --events and --json", param_hint="--events")
    if node is not None and record is not None:
        raise InputError("a node alone is not recorded; leave --record out")
    calls, catalogue = functions_of(functions or ()), Catalogue(folders or ())
    loaded = load(chain, catalogue, calls, allow)
    loaded = loaded if node is None else loaded.alone(node)
    request = given(input_, message, documents)
    typed_inputs(loaded.model, request.inputs)  # before seconds are spent on loading
    if record is None:
        engine = ready(loaded, model, folders)
        play(loaded, catalogue, engine, request, as_json=as_json, as_events=as_events)
        return
    with Store.open(record) as store:
        engine = ready(loaded, model, folders)
        with recorded(store, loaded, request) as recorder:
            errors.print(f"recorded as {recorder.run_id}", markup=False)
            python = is_python(chain)
            source = None if python else str(find(chain).absolute())
            named = chain if python else None
            way = going_on(recorder.run_id, record, named, model, folders, functions, allow)
            play(
                *(loaded, catalogue, engine, request, recorder),
                source=source,
                way=way,
                as_json=as_json,
                as_events=as_events,
            )


def ready(chain: Chain, model: str | None, folders: list[Path] | None) -> Engine | None:
    """The engine with the chain's adapters; None for a chain that never calls the model."""
    if not chain.plan.needs_model:
        return None
    engine = load_engine(model, folders)
    make_ready(engine, chain)
    return engine


def play(
    chain: Chain,
    catalogue: Catalogue,
    engine: Engine | None,
    request: RunInput,
    recorder: Recorder | None = None,
    *,
    source: str | None = None,
    way: str = "",
    as_json: bool,
    as_events: bool = False,
) -> None:
    """Run a chain, and show it or print its result; `way` is the command by which it goes on."""
    if as_json:
        from ..runner import run as run_chain  # what it runs by

        told = {} if recorder is None else {"run_id": recorder.run_id}
        result = asyncio.run(
            run_chain(
                *(chain, engine, request, None, _answer_in_json(recorder is not None)),
                alone=True,
                recorder=recorder,
                source=source,
            )
        )
        print_json({**told, **result.to_dict()})
        return
    from ..runner import Run  # as above

    answer = (_answer_in_json if as_events else _answer)(recorder is not None)
    one = Run(chain, engine, request, None, answer, recorder=recorder, source=source)
    if as_events:
        asyncio.run(_print_events(one.events()))
        return
    tolerate_foreign_text()
    try:
        asyncio.run(_show(one, chain, catalogue, way))
    except (ChainRunError, KeyboardInterrupt):
        if way:
            errors.print(f"the run can go on: {way}", markup=False)
        raise


async def _show(run: Run, chain: Chain, catalogue: Catalogue, way: str) -> None:
    screen = Screen(sys.stdout)
    view = RunView(screen, chain, catalogue)
    try:
        async with ticking(screen), aclosing(run.events()) as stream:
            async for event in stream:
                view.show(event)
                if event.event == "run_waiting":
                    errors.print(f"waiting for the answer: {way} --answer TEXT", markup=False)
    finally:
        view.stop()  # an error is told below the run


async def _print_events(events: AsyncGenerator[Event, None]) -> None:
    async with aclosing(events) as stream:
        async for event in stream:
            sys.stdout.write(to_line(event, plain=not shows_unicode()) + "\n")
            sys.stdout.flush()


def _answer(recorded: bool) -> Answer | None:
    """Asks whoever sits at the terminal; the question is on the screen already.

    To an empty line a recorded run waits.
    """
    if not sys.stdin.isatty():
        return None

    async def answer(question: str) -> str | None:
        line: str = await asyncio.to_thread(sys.stdin.readline)
        if not line.strip() and not recorded:
            raise ChainRunError(f"its question was not answered: {question}")
        return line.strip() or None

    return answer


def _answer_in_json(recorded: bool) -> Answer | None:
    """The same, where stdout is for the result alone."""
    answer = _answer(recorded)
    if answer is None:
        return None

    async def shown(question: str) -> str | None:
        errors.print(question, markup=False)
        return await answer(question)

    return shown


def check(
    intrinsics: Annotated[list[str], typer.Argument(help="Names or directories of intrinsics.")],
    input_: InputOption = None,
    message: MessageOption = None,
    documents: DocumentsOption = None,
    model: ModelOption = None,
    folders: FoldersOption = None,
    arguments: Annotated[
        list[str] | None,
        typer.Option(
            "--argument",
            metavar="INTRINSIC.NAME=TEXT",
            help="A value for an argument of an intrinsic; repeatable.",
        ),
    ] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="With --json: the ids each verdict was read from.")
    ] = False,
    prove: Annotated[
        bool,
        typer.Option(
            "--prove",
            help="Compute every verdict again from scratch, with no cache; exit with 1 where one "
            "differs. Slow.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fire intrinsics on a conversation, all in one fan-out."""
    catalogue = Catalogue(folders or ())
    names = [catalogue.get(intrinsic).name for intrinsic in intrinsics]
    request, values = given(input_, message, documents), split_arguments(arguments or ())
    engine = load_engine(model, folders, prove=prove)
    conversation = engine.conversation(request.messages, request.documents)
    found = engine.fan_out(conversation, intrinsics, values)
    if as_json:
        print_json(to_dict(found, tokens) | ({"proved": True} if prove else {}))
    else:
        outputs = [catalogue.get(intrinsic).output for intrinsic in intrinsics]
        _show_verdicts(found, dict(zip(names, (o.positive for o in outputs), strict=True)), prove)


def split_arguments(given: list[str] | tuple[str, ...]) -> dict[str, dict[str, str]]:
    """`intrinsic.name=text` as arguments by intrinsic. Raises: typer.BadParameter."""
    values: dict[str, dict[str, str]] = {}
    for one in given:
        place, equals, text = one.partition("=")
        intrinsic, dot, name = place.rpartition(".")
        if not (equals and dot and intrinsic and name):
            raise typer.BadParameter(f"{one!r} is not INTRINSIC.NAME=TEXT", param_hint="--argument")
        values.setdefault(intrinsic, {})[name] = text
    return values


def _show_verdicts(found: FanOut, positive: dict[str, str | None], proved: bool) -> None:
    screen, costs = Screen(sys.stdout), Costs(seconds=found.ledger.seconds)
    shown = []
    for verdict in found.verdicts:
        words = in_words(verdict.value, verdict.distribution, positive[verdict.intrinsic])
        shown.append(replace(words, intrinsic=verdict.intrinsic))
        costs.verdicts += 1
        costs.reused += verdict.ledger.reused
        costs.computed += verdict.ledger.computed
    if screen.plain:
        for one in shown:
            screen.line(one.plain)
    else:
        for line in badges(shown, screen.width, screen.glyphs):
            screen.print(line)
    screen.print(Text("  ") + figures(costs, screen.glyphs))
    if proved and any(verdict.asked for verdict in found.verdicts):  # else an error was raised
        screen.line("proved: computed again from scratch, and the same", DIM)


def to_dict(found: FanOut, tokens: bool) -> dict[str, Any]:
    """What `chains check --json` prints."""
    return {
        "results": [_result(verdict, tokens) for verdict in found.verdicts],
        "forwards": found.ledger.forwards,
        "ledger": found.ledger.to_dict(),
    }


def _result(verdict: Verdict, tokens: bool) -> dict[str, Any]:
    from intrinsics.fanout import TextVerdict  # torch, which is loaded by now

    told: dict[str, Any] = {
        "intrinsic": verdict.intrinsic,
        "value": verdict.value,
        "distribution": verdict.distribution,
    }
    if isinstance(verdict, TextVerdict):
        told["finish"] = verdict.finish
    if verdict.raw_distribution != verdict.distribution:
        told["raw_distribution"] = verdict.raw_distribution
    if not verdict.asked:
        told["asked"] = False
    told["activated_at"] = verdict.ledger.activated_at
    told["reused"] = verdict.ledger.reused
    told["computed"] = verdict.ledger.computed
    if tokens:
        told["token_ids"] = list(verdict.token_ids)
        told["candidates"] = {label: list(ids) for label, ids in verdict.candidates.items()}
        if isinstance(verdict, TextVerdict):
            told["written"] = list(verdict.written)
    return told
