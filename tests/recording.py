"""What tests of recorded runs share: a run to its end, what counts of it, functions that repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chains import Chain, ChainRunError, RunInput
from chains.model import ChainModel
from chains.recorder import Recorder, recorded, resumed
from chains.runner import RunResult
from chains.runner import run as run_chain
from chains.store import HeldRun, Store
from flows import HELLO
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


class Killed(BaseException):
    """What ends a process in these tests."""


def dying(append: Callable[..., int], after: int) -> Callable[..., int]:
    """`HeldRun.append` that ends everything once it has written so many times."""
    written = 0

    def die(self: HeldRun, *entries: Any, **more: Any) -> int:
        nonlocal written
        if written == after:
            raise Killed
        written += 1
        return append(self, *entries, **more)

    return die


def killed_and_resumed(
    chain: Chain, path: Path, after: int, engine: Engine | None, given: RunInput = HELLO
) -> tuple[bool, RunResult | ChainRunError]:
    """Whether the run was still going after so many records, and what it comes to, resumed."""
    append, killed = HeldRun.append, False
    with Store.open(path) as store:
        with recorded(store, chain, given) as recorder:
            HeldRun.append = dying(append, after)  # type: ignore[method-assign]
            try:
                play(chain, recorder, engine)
            except Killed:
                killed = True
            finally:
                HeldRun.append = append  # type: ignore[method-assign]
        with resumed(store, recorder.run_id, chain) as again:
            result = play(chain, again, engine)
        assert store.check() == []
    return killed, result
