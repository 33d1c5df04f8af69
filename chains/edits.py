"""What a replay sets before it goes on, checked against what the chain's nodes leave."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from intrinsics.located import unknown

from .entries import FINISHED
from .errors import ChainRunError, InputError
from .inputs import typed_inputs
from .model import Check, Function
from .written import distribution, value_of

if TYPE_CHECKING:
    from .chain import Chain
    from .store import Record

_SAYING = ("turn", "say", "ask", "best_of")


@dataclass
class Edits:
    """Parts of slots by the names they have in the state, and texts by their messages' hashes."""

    state: dict[str, dict[str, Any]] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, JsonValue]:
        """As it is recorded."""
        return {"state": dict(self.state), "said": dict(self.said)}


def edits_of(
    chain: Chain, past: Iterable[Record], given: Mapping[str, Any], values: Mapping[str, JsonValue]
) -> Edits:
    """What `values` set, by key, in a run whose `past` are these records, with inputs `given`.

    A key is `input.NAME`; a node; or, of a check with several intrinsics, `NODE.INTRINSIC`. A
    function's value is what it might have returned, a verdict what a script of `chains.testing`
    may give, and of a turn, say, ask or best_of it is the text, which stands in the conversation,
    too.
    Raises: InputError: no such key, nothing that can be set, or a value of another type.
    """
    last = {one.node: one for one in past if one.kind == FINISHED and not one.branch}
    edits = Edits()
    for key, value in values.items():
        name, _, part = key.partition(".")
        if name == "input":
            _set_input(edits, chain, given, part, value)
            continue
        node = chain.model.nodes.get(name)
        if node is None:
            raise InputError(f"{key}: {unknown('node', name, ('input', *chain.model.nodes))}")
        if name not in last:
            raise InputError(f"{key}: {name} has left nothing by then, so there is nothing to set")
        if part and not isinstance(node, Check):
            raise InputError(f"{key}: {name} is a {node.kind} node; set it as a whole: {name}=...")
        if isinstance(node, Check):
            _set_verdicts(edits, chain, node, key, value)
        elif isinstance(node, Function):
            read = chain.plan.call(node.call).read
            edits.state[name] = {"value": _read(key, read, json.dumps(value))}
        elif node.kind in _SAYING:
            _set_text(edits, last[name], key, value)
        else:
            raise InputError(
                f"{key}: what a {node.kind} node leaves can't be set; replay from {name} instead"
            )
    return edits


def _read(key: str, read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except (ValueError, ChainRunError) as error:
        raise InputError(f"{key}: {error}") from None


def _set_input(
    edits: Edits, chain: Chain, given: Mapping[str, Any], name: str, value: JsonValue
) -> None:
    if name not in chain.model.input:
        raise InputError(f"input.{name}: {unknown('input', name, chain.model.input)}")
    typed = typed_inputs(chain.model, {**given, name: value})
    edits.state.setdefault("input", {})[name] = typed[name]


def _set_verdicts(edits: Edits, chain: Chain, node: Check, key: str, value: Any) -> None:
    """`value` is one verdict, or those of several intrinsics by their names."""
    name, _, intrinsic = key.partition(".")
    if intrinsic and intrinsic not in node.intrinsics:
        raise InputError(f"{key}: {unknown('intrinsic', intrinsic, node.intrinsics)}")
    one = intrinsic or (next(iter(node.intrinsics)) if len(node.intrinsics) == 1 else "")
    answers = {one: value} if one else value
    if not isinstance(answers, dict) or set(answers) - set(node.intrinsics):
        known = ", ".join(node.intrinsics)
        raise InputError(f"{key}: {name} asks {known}; set {name}.INTRINSIC, or give an object")
    for asked, answer in answers.items():
        definition = chain.catalogue.get(asked)
        try:
            found = distribution(definition, answer)
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{key}: {error}") from None
        verdict = {"value": value_of(definition, answer, found), "p": found}
        slot = edits.state.setdefault(name, {})
        slot[asked] = verdict
        if len(node.intrinsics) == 1:
            slot |= verdict


def _set_text(edits: Edits, record: Record, key: str, value: JsonValue) -> None:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{key}: what {key} said is a text that is not empty, not {value!r}")
    edits.state[key] = {"text": value}
    assert record.head is not None, "a node that speaks has said something"
    edits.said[record.head] = value
