"""A loop around a turn tries nothing again that a guard refused or replaced."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from chains.events import EdgeTaken, NodeStarted, RunFinished
from chains.testing import Script, record
from conftest import check_integrity
from flows import HELLO, chain_of, events_of, judging_engine
from intrinsics.engine import Engine


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return judging_engine(tmp_path)


@pytest.mark.parametrize("then", ["refuse, text: No.", "replace, text: No."])
@pytest.mark.parametrize(
    "way",
    [
        "until: sure.p('good') > 0.999999, at_most: 3, then: end, best: sure.p('good')",
        "until: sure.p('good') > 0.999999, at_most: 3, then: end, or_else: other",
        "when: sure.p('good') <= 0.999999, at_most: 3, then: end",
    ],
)
def test_a_loop_does_not_try_again_what_a_guard_settled(
    engine: Engine, then: str, way: str
) -> None:
    text = f"""\
chain: once
nodes:
  reply:
    turn:
      max_tokens: 6
      temperature: 1
      guards: [{{at: input, check: tone, label: rude, above: 0, then: {then}}}]
  sure: {{check: quality}}
  other: {{say: other}}
flow:
  - start -> reply
  - reply -> sure
  - sure -> reply: {{{way}}}
  - sure -> end: otherwise
  - other -> end
"""
    if "until" in way:
        text = text.replace("  - sure -> end: otherwise\n", "")
    if "or_else" not in way:
        text = text.replace("  other: {say: other}\n", "").replace("  - other -> end\n", "")
    events = events_of(chain_of(text, engine.catalogue), engine)
    result = events[-1]
    assert isinstance(result, RunFinished)
    names = [event.node for event in events if isinstance(event, NodeStarted)]
    reasons = [event.operands for event in events if isinstance(event, EdgeTaken)]
    assert names[:2] == ["reply", "sure"] and names.count("reply") == 1
    assert f"reply.finish == '{then.split(',')[0].rstrip('e')}ed'" in reasons
    assert result.output == ("other" if "or_else" in way else "No.")  # as if its tries were spent
    check_integrity(engine)


@pytest.mark.parametrize(("safety", "output"), [("unsafe", "No."), ("safe", "Not sure.")])
def test_abstaining_takes_back_no_refusal(safety: str, output: str) -> None:
    text = """\
chain: unsure
nodes:
  reply: {turn: {guards: [{at: input, check: safety, label: unsafe, then: refuse, text: No.}]}}
  sure: {check: certainty}
  unsure: {say: Not sure.}
flow:
  - start -> reply
  - reply -> sure
  - sure -> unsure: {abstain_below: 0.5}
  - sure -> end: otherwise
  - unsure -> end
"""
    script = Script(["Reply."], {"safety": safety, "certainty": 0.1})
    result = chain_of(text).run(script, HELLO)
    assert result.output == output
    assert [message["content"] for message in result.messages] == ["Hello", output]


def test_a_refusal_of_an_earlier_visit_ends_no_loop() -> None:
    text = """\
chain: twice
nodes:
  reply:
    turn:
      temperature: 1
      guards:
        - {at: input, check: safety, label: unsafe, then: refuse, text: No.}
        - {at: reply, check: certainty, label: incorrect, then: go}
  more: {ask: What else?}
  apology: {say: Sorry.}
flow:
  - start -> reply
  - reply -> reply: {on_error: guard, at_most: 2, then: apology}
  - reply -> more
  - more -> reply: {at_most: 1, then: end}
  - apology -> end
"""
    verdicts: dict[str, Any] = {"safety": ["unsafe", "safe", "safe"], "certainty": [0.1, 0.9]}
    script = Script(["a", "b", "c"], verdicts)
    run = asyncio.run(record(chain_of(text), script, HELLO, human))
    run.took("reply", "more", "reply", "reply", "more")


async def human(question: str) -> str:
    return "Another question."
