"""Python functions a chain may call: registered in code, named `module:function` in YAML."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, get_type_hints

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
    """The annotation of what it returns; `inspect.Signature.empty` without one."""
    return get_type_hints(call).get("return", inspect.Signature.empty)


def signature_faults(call: Callable[..., Any], given: Iterable[str]) -> Iterator[str]:
    """What is wrong with calling it by these parameter names."""
    names = list(given)
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
    if return_type(call) is inspect.Signature.empty:
        yield f"{call.__name__} does not say what it returns; annotate it"
