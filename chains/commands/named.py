"""A chain that a command is given: a YAML file, a shipped name, or a class in a Python module."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intrinsics.catalogue import Catalogue
from intrinsics.located import unknown

from ..chain import Chain
from ..errors import ChainError, InputError

if TYPE_CHECKING:
    from ..dsl import Definition

ChainArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE.yaml|NAME|MODULE:CLASS",
        help="A YAML file, the name of a shipped chain, or a definition in a Python module, which "
        "is imported, from here or installed.",
    ),
]


def is_python(source: str) -> bool:
    """Whether a class in a module is meant."""
    return ":" in source and not Path(source).is_file()


def load(
    source: str,
    catalogue: Catalogue,
    functions: Iterable[Callable[..., Any]] | None,
    allow: Iterable[Path | str] | None,
) -> Chain:
    """The chain, checked; `functions` and `allow` as for `Chain.load`, for a file.

    A definition in Python calls the functions it names. Raises: InputError, ChainDefinitionError.
    """
    if is_python(source):
        if functions or allow:
            raise InputError(
                f"{source}: a definition in Python calls and reads what it names; leave out "
                "--functions and --allow"
            )
        return definition(source).chain(catalogue)
    return Chain.load(source, catalogue=catalogue, functions=functions, allow=allow or ())


def definition(source: str) -> type[Definition]:
    """The class that `module:Class` names. Raises: InputError, ChainDefinitionError."""
    from ..dsl import Definition  # which YAML does not need

    module, _, name = source.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = vars(import_module(module))
    except ChainError:  # a fault of a chain in it, at its line
        raise
    except Exception as error:  # whatever the module's own code raises
        raise InputError(f"{source}: {type(error).__name__}: {error}") from error
    definitions = {
        key: one
        for key, one in found.items()
        if isinstance(one, type) and issubclass(one, Definition) and one is not Definition
    }
    if name not in definitions:
        raise InputError(f"{source}: {unknown(f'definition in {module}', name, definitions)}")
    return definitions[name]
