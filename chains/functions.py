"""Python functions a chain may call: registered in code, named `module:function` in YAML."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, get_type_hints

from pydantic import TypeAdapter

from .types import Opaque, Record, Type, of_python

Callables: TypeAlias = Mapping[str, Callable[..., Any]]


def name_of(call: Callable[..., Any]) -> str:
    """`module:function`. Raises: ValueError: it has no such name, as a lambda or a method."""
    name = getattr(call, "__qualname__", "")
    module = getattr(call, "__module__", "")
    if not name.isidentifier() or not module:
        raise ValueError(f"{call!r} is no module-level function; a chain calls it by its name")
    return f"{module}:{name}"


def allowed(calls: Iterable[Callable[..., Any]]) -> Callables:
    """Functions by the names YAML uses for them."""
    return {name_of(call): call for call in calls}


def return_type(call: Callable[..., Any]) -> Any:
    """The annotation of what it returns; `inspect.Signature.empty` without one that resolves."""
    try:
        return get_type_hints(call).get("return", inspect.Signature.empty)
    except Exception:  # told by `signature_faults`
        return inspect.Signature.empty


def models_taken(call: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of its parameters that are models, dataclasses, or lists of them."""
    found = {}
    for name, hint in get_type_hints(call).items():
        kind = of_python(hint)
        if name != "return" and isinstance(getattr(kind, "item", kind), Record):
            found[name] = hint
    return found


def signature_faults(call: Callable[..., Any], given: Mapping[str, Type | None]) -> Iterator[str]:
    """What is wrong with calling it with values of these types, by parameter name."""
    names = list(given)
    try:
        hints = get_type_hints(call)
    except Exception as error:  # whatever evaluating an annotation raises
        yield f"{call.__name__} has an annotation that can't be resolved: {error}"
        return
    parameters = inspect.signature(call).parameters
    plain = [p for p in parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    for name in names:
        if name not in [p.name for p in plain]:
            known = ", ".join(p.name for p in plain) or "none"
            yield f"{call.__name__} has no parameter {name!r}; it has {known}"
    for parameter in plain:
        if parameter.kind is parameter.POSITIONAL_ONLY:
            yield f"{call.__name__}: the parameter {parameter.name!r} can't be given by name"
        elif parameter.default is parameter.empty and parameter.name not in names:
            yield f"{call.__name__} needs the argument {parameter.name!r}"
    for name, kind in given.items():
        if name in hints and kind is not None:
            wanted = of_python(hints[name])
            if not isinstance(wanted, Opaque) and type(wanted) is not type(kind):
                yield f"{call.__name__} takes {wanted} for {name!r}, but is given {kind}"
    yield from _return_faults(call, hints)


def _return_faults(call: Callable[..., Any], hints: Mapping[str, Any]) -> Iterator[str]:
    if "return" not in hints:
        yield f"{call.__name__} does not say what it returns; annotate it"
        return
    try:
        TypeAdapter(hints["return"])
    except Exception as error:  # pydantic raises several kinds for what it has no schema for
        first = str(error).splitlines()[0]
        yield f"{call.__name__} returns what can't be stored as JSON: {first}"
