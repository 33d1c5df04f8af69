"""What a guard refused or replaced is final for the loop around it."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import check_integrity, tiny_engine, write_intrinsic
from flows import HELLO, chain_of
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = tiny_engine()
    write_intrinsic(engine, tmp_path, "tone", ("rude", "kind"), seed=1)
    write_intrinsic(engine, tmp_path, "quality", ("bad", "good"), last="assistant", seed=3)
    engine.catalogue = Catalogue([tmp_path])
    return engine


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
    result = chain_of(text, engine.catalogue).run(engine, HELLO)
    assert [node.name for node in result.nodes] == ["reply", "sure"]
    assert result.output == "No."
    assert [message["content"] for message in result.messages] == ["Hello", "No."]
    check_integrity(engine)
