"""Values on one line, for tables and notes that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def in_short(value: Any, most: int) -> str:
    """Any JSON value on one line, cut after `most` characters.

    Inside lists and mappings fractions are rounded, and ledgers are left out.
    """
    if isinstance(value, Mapping):
        told = _pairs(value)
    else:
        told = "" if value is None else str(value) if isinstance(value, float) else _inner(value)
    text = " ".join(told.split())
    return text if len(text) <= most else f"{text[:most]} ..."


def _pairs(value: Mapping[Any, Any]) -> str:
    told = ((key, one) for key, one in value.items() if not _is_ledger(key, one))
    return ", ".join(f"{key}: {_inner(one)}" for key, one in told)


def _is_ledger(key: Any, value: Any) -> bool:
    """What a verdict or reply took, which is told elsewhere."""
    return key == "ledger" and isinstance(value, Mapping) and "reused" in value


def _inner(value: Any) -> str:
    match value:
        case Mapping():
            return f"{{{_pairs(value)}}}"
        case list() | tuple():
            return f"[{', '.join(map(_inner, value))}]"
        case float():
            return f"{value:.3g}" if abs(value) < 1000 else f"{value:.1f}"
        case bool():
            return str(value).lower()
        case None:
            return "none"
        case _:
            return str(value)
