"""A chain with a loop, an engine for it, and hostile texts: for tests of traces and spans."""

from __future__ import annotations

import asyncio
from pathlib import Path

from chains import Chain, ChainRunError, RunInput
from chains.events import Event
from chains.loader import read as read_chain
from conftest import tiny_engine, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.messages import Document, Message

HOSTILE = (
    '</style></p><script>document.title="owned"</script><img src=x onerror=alert(1)>'
    "\"'{{ 7 * 7 }}&amp;"
)
YAML = """\
chain: traced
system: Be brief.
nodes:
  screen: {check: [tone, topic]}
  refuse: {say: "I can't help with that."}
  reply: {turn: {max_tokens: 12, temperature: 1.0}}
  sure: {check: quality}
  doubt: {say: I am not sure.}
flow:
  - start -> screen
  - screen -> refuse: {when: screen.tone.p('rude') > 0.9999999}
  - screen -> reply: otherwise
  - refuse -> end
  - reply -> sure
  - sure -> reply: {when: sure.p('good') < 0.9999999, at_most: 2, then: doubt}
  - sure -> end: otherwise
  - doubt -> end
"""
GIVEN = RunInput(
    messages=(Message(role="user", content=f"What is the capital of France? {HOSTILE}"),),
    documents=(Document(id="page", text=f"The library opened in 1931. {HOSTILE}"),),
)


def traced_engine(folder: Path) -> Engine:
    """A tiny engine with the chain's intrinsics, and one that is an ordinary LoRA."""
    engine = tiny_engine()
    asks = "The tone of {{ messages[-1].content }}"
    write_intrinsic(engine, folder, "tone", ("rude", "kind"), seed=1, instruction=asks)
    write_intrinsic(engine, folder, "topic", ("work", "play"), seed=2)
    write_intrinsic(engine, folder, "quality", ("bad", "good"), last="assistant", seed=3)
    write_intrinsic(engine, folder, "heavy", ("a", "b"), seed=4, activated=False)
    engine.catalogue = Catalogue([folder])
    return engine


def chain_of(text: str, engine: Engine) -> Chain:
    model, places = read_chain(text, "chain.yaml")
    return Chain(model, places, engine.catalogue)


def events_of(chain: Chain, engine: Engine, given: RunInput = GIVEN) -> list[Event]:
    """What happens, up to a failure."""
    found: list[Event] = []

    async def collect() -> None:
        async for event in chain.stream(engine, given):
            found.append(event)

    try:
        asyncio.run(collect())
    except ChainRunError:
        assert found[-1].event == "run_failed"
    return found
