"""Values on one line, for tables and notes that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COSTS = "ledger"  # what a verdict or reply took is told elsewhere


def in_short(value: Any, most: int) -> str:
    """Any JSON value on one line, cut after `most` characters.

    Inside lists and mappings numbers have three digits, and ledgers are left out.
    """
    if isinstance(value, Mapping):
        told = _pairs(value)
    else:
        told = "" if value is None else str(value) if isinstance(value, float) else _inner(value)
    text = " ".join(told.split())
    return text if len(text) <= most else f"{text[:most]} ..."


def _pairs(value: Mapping[Any, Any]) -> str:
    return ", ".join(f"{key}: {_inner(one)}" for key, one in value.items() if key != _COSTS)


def _inner(value: Any) -> str:
    match value:
        case Mapping():
            return f"{{{_pairs(value)}}}"
        case list() | tuple():
            return f"[{', '.join(map(_inner, value))}]"
        case float():
            return f"{value:.3g}"
        case bool():
            return str(value).lower()
        case None:
            return "none"
        case _:
            return str(value)
