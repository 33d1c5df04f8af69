"""What tests of recorded runs share: a run to its end, what counts of it, functions that repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from chains import Chain, ChainRunError
from chains.model import ChainModel
from chains.recorder import Recorder
from chains.runner import RunResult
from chains.runner import run as run_chain
from intrinsics.engine import Engine


def told(result: RunResult | ChainRunError) -> Any:
    """A result without what may differ: costs, and the last digits of probabilities."""
    if isinstance(result, ChainRunError):
        return str(result)
    plain = result.to_dict()
    del plain["ledger"]
    return _rounded([{**plain, "nodes": [{**n, "ledger": None} for n in plain["nodes"]]}])


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items() if key != "ledger"}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


def play(
    chain: Chain, recorder: Recorder, engine: Engine | None = None
) -> RunResult | ChainRunError:
    async def go() -> RunResult:
        return await run_chain(chain, engine, recorder.given, recorder=recorder, alone=True)

    try:
        return asyncio.run(go())
    except ChainRunError as error:
        return error


def steady(heads: bool, broken: bool) -> dict[str, Callable[..., Any]]:
    """Functions that do the same each time, as a resumed run may call them again."""

    def coin() -> bool:
        return heads

    def flaky() -> bool:
        if broken:
            raise ValueError("tails")
        return True

    return {"m:coin": coin, "m:flaky": flaky}


def races(model: ChainModel) -> bool:
    """Whether the branches of some node may end in another order the next time."""
    return any(getattr(node, "join", "all") != "all" for _, node in model.parts())
