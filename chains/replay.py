"""A run again from some node on: what came before is shared with the run that it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import JsonValue

from intrinsics.located import unknown

from .edits import edits_of
from .entries import REPLAYED
from .errors import InputError
from .inputs import RunInput
from .recorder import Recorder, difference_of
from .store import Entry, Record, Store

if TYPE_CHECKING:
    from .chain import Chain


@contextmanager
def replayed(
    store: Store,
    run_id: str,
    chain: Chain,
    node: str,
    *,
    values: Mapping[str, JsonValue] | None = None,
    prompts: Mapping[str, str] | None = None,
    force: bool = False,
) -> Iterator[Recorder]:
    """A new run that shares its past with another up to where `node` first began there.

    It is held until the block ends, to be run as `recorder.chain`. Nothing before `node` is done
    again, and the way to it is the one that was taken. As `node` begins, `values` are set (see
    `chains.edits.edits_of`); `prompts` are those of turns from then on.
    `force`: with a chain that has changed since.
    Raises: UnknownRun; ChainChanged; InputError: the run never came to `node`, or a value or
    prompt that can't be; ChainDefinitionError: a fault in a prompt; StoreError.
    """
    difference = difference_of(store, run_id, chain, force=force)
    records = store.records(run_id)
    cut = _before(chain, records, run_id, node)
    edited = chain.with_prompts(prompts or {})
    given = RunInput.of(store.definition(run_id).input, f"run {run_id}")
    edits = edits_of(edited, records[:cut], given.inputs, values or {})
    child = store.fork(run_id, cut, edited.to_yaml() if difference or prompts else None)
    with store.lease(child) as held:
        payload: dict[str, JsonValue] = {**edits.to_dict(), "prompts": dict(prompts or {})}
        held.append(Entry(REPLAYED, payload, node))
        yield Recorder(store, held, edited)


def _before(chain: Chain, records: list[Record], run_id: str, node: str) -> int:
    """How many records there are before a node first begins. Raises: InputError: it never does."""
    if node not in chain.model.nodes:
        raise InputError(f"{chain.name}: {unknown('node', node, chain.model.nodes)}")
    for count, one in enumerate(records):
        if (one.branch.split("/")[0] or one.node) == node:  # it, or what runs inside it
            return count
    way = dict.fromkeys(one.node for one in records if one.node and not one.branch)
    raise InputError(
        f"run {run_id} never came to {node!r}; it went {' -> '.join(way) or 'nowhere'}"
    )
