"""The type of what each node leaves in the state."""

from __future__ import annotations

from collections.abc import Mapping

from intrinsics.spec import Definition

from .functions import Callables, return_type
from .lost import Lost
from .model import (
    ERRORS,
    BestOf,
    ChainModel,
    Check,
    Function,
    Map,
    Node,
    Parallel,
    Retrieve,
    Turn,
)
from .types import Bool, Number, Opaque, Record, Text, Type, of_output, of_python

_FINISH = Text(("end", "length", "stop", "guarded", "refused", "replaced"), "finish")
REPLY = Record({"text": Text(), "finish": _FINISH, "attempts": Number(1)})
DOCUMENT = Record({"id": Text(), "text": Text()})
UNKNOWN: Type = Opaque()
"""The type of what could not be found, which is told already; compared by identity."""

_SAID = Record({"text": Text()})
_FIELDS: dict[str, Type] = {
    "str": Text(),
    "int": Number(),
    "float": Number(),
    "bool": Bool(),
    "list[str]": Opaque(Text()),
}


def scope_of(
    model: ChainModel, definitions: Mapping[str, Definition], functions: Callables, lost: Lost
) -> Record:
    """What the nodes and conditions of a chain may read."""
    inputs = {name: _FIELDS[field.type] for name, field in model.input.items()}
    fields: dict[str, Type] = {
        "input": Record({**inputs, **dict.fromkeys(lost.inputs, UNKNOWN)}),
        "user": Text(),
        "messages": Opaque(Record({"role": Text(), "content": Text()})),
        "documents": Opaque(DOCUMENT),
        "error": Record(
            {"node": Text(), "reason": Text((*ERRORS, ""), "error"), "message": Text()}
        ),
    }
    looped = {edge.target for edge in model.flow if edge.until is not None}
    for name, node in model.nodes.items():
        kind = slot(node, definitions, functions)
        if name in looped and isinstance(kind, Record):
            kind = Record({**kind.fields, "tries": Opaque()}, kind.labels, kind.source)
        fields[name] = kind if name not in lost.nodes else UNKNOWN
    return Record(fields)


def slot(node: Node, definitions: Mapping[str, Definition], functions: Callables) -> Type:
    """What a node leaves; UNKNOWN where an intrinsic or function of it is not there."""
    match node:
        case Turn():
            return REPLY
        case Check():
            return _verdicts(node, definitions)
        case Function():
            call = functions.get(node.call)
            return Record({"value": of_python(return_type(call))}) if call else UNKNOWN
        case Retrieve():
            return Record({"documents": Opaque(DOCUMENT), "count": Number(0)})
        case Map():
            parts = {"values": Opaque(slot(node.do, definitions, functions)), "failed": Opaque()}
            return Record({**parts, "count": Number(0), "failures": Number(0)})
        case BestOf():
            judge = slot(node.judge, definitions, functions)
            own = {"score": Number(), "chosen": Number(1, node.n), "judge": judge}
            return Record({**REPLY.fields, **own})
        case Parallel():
            return _joined(
                node, {k: slot(v, definitions, functions) for k, v in node.branches.items()}
            )
        case _:
            return _SAID


def _verdicts(node: Check, definitions: Mapping[str, Definition]) -> Type:
    known = [name for name in node.intrinsics if name in definitions]
    verdicts = {name: of_output(definitions[name].output, name) for name in known}
    if len(node.intrinsics) == 1 and verdicts:
        [one] = verdicts.values()
        return Record({**one.fields, **verdicts}, one.labels, one.source)
    return Record(dict(verdicts)) if len(known) == len(node.intrinsics) else UNKNOWN


def _joined(node: Parallel, slots: dict[str, Type]) -> Type:
    """Every branch's slot by its name; of a winner, what all branches have in common."""
    if node.join == "all":
        return Record(slots)
    records = [one for one in slots.values() if isinstance(one, Record)]
    if len(records) < len(slots):
        return UNKNOWN
    first, *others = records
    common = {
        name: kind
        for name, kind in first.fields.items()
        if all(other.fields.get(name) == kind for other in others)
    }
    labels = first.labels if all(one.labels == first.labels for one in others) else ()
    winner = Text(tuple(slots), "the parallel node")
    return Record({**common, "winner": winner}, labels, first.source)
