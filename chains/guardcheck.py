"""What is wrong with the guards of a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from intrinsics.errors import Fault
from intrinsics.located import Loc, unknown
from intrinsics.spec import Definition

from .kinds import Guard
from .model import ChainModel, Node, Turn, guards_of
from .nodecheck import Reads
from .places import Places
from .types import Record, Text

_READS = {"input": "user", "documents": "user", "sentence": "assistant", "reply": "assistant"}
CANDIDATE = Record({"text": Text()})


def guard_faults(
    places: Places, definitions: Mapping[str, Definition], loc: Loc, node: Node, reads: Reads
) -> Iterator[Fault]:
    """Every fault of the guards of a node at `loc`, its kind included."""
    for index, guard in enumerate(guards_of(node)):
        at: Loc = (*loc, "guards", index)
        definition = definitions.get(guard.check)
        if definition is not None:
            for key, message in _of_intrinsic(guard, definition):
                yield places.fault((*at, key), message)
        if isinstance(node, Turn) and guard.then == "again" and node.temperature == 0:
            message = "at temperature 0 the same reply would come; give the turn a temperature"
            yield places.fault((*at, "then"), message)
        for key, text in guard.arguments.items():
            for fault in reads.template(text, "attempt"):
                yield places.fault((*at, "arguments", key), fault.message, fault.at)
        if guard.text is not None:
            local = reads.with_local(candidate=CANDIDATE)
            for fault in local.template(guard.text, "attempt"):
                yield places.fault((*at, "text"), fault.message, fault.at)


def uncaught(model: ChainModel, places: Places) -> Iterator[Fault]:
    """Guards that take an edge, at nodes that have none for it."""
    for name, node in model.nodes.items():
        ways = [edge.on_error for edge in model.flow if edge.source == name]
        if any("guard" in reasons or "any" in reasons for reasons in ways):
            continue
        for index, guard in enumerate(guards_of(node)):
            if guard.then == "go":
                message = f"no edge takes the run on; add '{name} -> ...: {{on_error: guard}}'"
                yield places.fault(("nodes", name, node.kind, "guards", index, "then"), message)


def _of_intrinsic(guard: Guard, definition: Definition) -> Iterator[tuple[str, str]]:
    """What is wrong with what is asked of an intrinsic, and at which key."""
    name, labels = definition.name, definition.output.labels
    if not labels:
        yield "check", f"{name} writes text; guard with an intrinsic that judges"
    elif guard.label not in labels:
        yield "label", unknown(f"label of {name}", guard.label, labels)
    if definition.reads.last != _READS[guard.at]:
        message = f"{name} judges the last {definition.reads.last} message, not what is there"
        yield "at", f"{message} at {guard.at!r}"
    if guard.at == "documents" and definition.reads.documents == "none":
        yield "check", f"{name} reads no documents"
