"""The command `chains`: which commands there are, and how errors leave it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from intrinsics.errors import (
    ConversationError,
    DataError,
    DefinitionError,
    IntrinsicsError,
    RequestError,
)

from .commands import (
    bench,
    calibrate,
    convert,
    demo,
    evaluate,
    files,
    interchange,
    intrinsics,
    learn,
    replay,
    resume,
    retrieve,
    run,
    runs,
    test,
    trace,
)
from .commands.common import release
from .errors import (
    ChainChanged,
    ChainDefinitionError,
    ChainError,
    InputError,
    StoreMissing,
    StoreRequestError,
)

WRONG_USE, FAILED, INTERRUPTED = 2, 1, 130
_WRONG = (ConversationError, DataError, DefinitionError, RequestError)
_WRONG_CHAIN = (ChainChanged, ChainDefinitionError, InputError, StoreMissing, StoreRequestError)

app = typer.Typer(
    name="chains",
    help="Conversations as graphs, judged by intrinsics on the model's own KV cache.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"alora-chains {release()}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")
    ] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="The version.")
    ] = False,
) -> None:
    """Conversations as graphs, judged by intrinsics on the model's own KV cache."""


for module in (
    *(demo, run, test, resume, replay, runs, trace, files, convert, retrieve, intrinsics),
    *(learn, calibrate, evaluate, interchange, bench),
):
    module.register(app)


def exit_code(error: Exception) -> int:
    """2 where what was given can't be used, 1 where a run of it failed."""
    if isinstance(error, TyperException):
        return error.exit_code
    return WRONG_USE if isinstance(error, (*_WRONG, *_WRONG_CHAIN)) else FAILED


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    try:
        code = typer.main.get_command(app)(given, prog_name="chains", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    except Exception as error:  # the last place where anything can still be told
        if debug:
            raise
        code = _report(error)
    sys.exit(code if isinstance(code, int) else 0)


def _report(error: Exception) -> int:
    if isinstance(error, TyperException):
        message = error.format_message()
    elif isinstance(error, IntrinsicsError | ChainError):
        message = str(error)
    else:
        message = f"unexpected {type(error).__name__}: {error}; --debug shows where"
    if message:  # without arguments the help was printed instead
        print(f"chains: {message}", file=sys.stderr)
    return exit_code(error)
