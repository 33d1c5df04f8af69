"""Loops whose condition never held: what they tried is taken back, and they go elsewhere."""

from __future__ import annotations

import pytest

from chains import ChainDefinitionError
from chains.drawing import picture
from chains.events import BudgetSpent, EdgeTaken
from chains.testing import Script
from flows import HELLO, chain_of, events_of, run

AGAIN = """\
chain: again
nodes:
  reply: {turn: {max_tokens: 4, temperature: 0.7}}
  sure: {check: certainty}
  sorry: {say: "I don't know."}
flow:
  - start -> reply
  - reply -> sure
  - sure -> reply: {until: sure.value >= 0.6, at_most: 2, then: end, or_else: sorry}
  - sorry -> end
"""


@pytest.mark.parametrize(
    ("found", "output", "way"),
    [
        ([0.2, 0.9], "Two.", ("end", "sure.value >= 0.6")),
        ([0.2, 0.3, 0.1], "I don't know.", ("sorry", "after 2")),
    ],
)
def test_a_loop_that_never_got_there_goes_elsewhere_and_takes_its_attempts_back(
    found: list[float], output: str, way: tuple[str, str]
) -> None:
    chain = chain_of(AGAIN)
    turns = ["One.", "Two.", "Three."][: len(found)]
    with Script(turns=turns, verdicts={"certainty": found}) as script:
        events = events_of(chain, script)
    said = getattr(events[-1], "output", None)
    assert said == output
    taken = [(e.target, e.condition) for e in events if isinstance(e, EdgeTaken)]
    assert way in taken
    drawn = {(one.target, one.label) for one in picture(chain.model).arrows}
    assert way in drawn
    with Script(turns=turns, verdicts={"certainty": found}) as script:
        result = chain.run(script, HELLO)
    assert [one["content"] for one in result.messages] == ["Hello", output]
    tries = next(n for n in result.nodes if n.name == "sure")
    assert tries.output["certainty"]["distribution"]["correct"] == pytest.approx(found[0])


GIVE_UP = """\
chain: give_up
nodes:
  hello: {say: Hello there.}
  call: {function: "m:f"}
  sorry: {say: "{{ call.tries | length }} tries"}
flow:
  - start -> hello
  - hello -> call
  - call -> call: {until: call.value > 9, at_most: 9, budget: {steps: 2}, then: end, or_else: end}
  - sorry -> end
"""


def one() -> int:
    return 1


def test_what_was_said_before_a_loop_that_gives_up_remains() -> None:
    text = GIVE_UP.replace('  sorry: {say: "{{ call.tries | length }} tries"}\n', "")
    result = run(chain_of(text.replace("  - sorry -> end\n", ""), f=one))
    assert result.output == "Hello there."


def test_a_loop_whose_budget_is_spent_goes_where_it_gives_up() -> None:
    chain = chain_of(GIVE_UP.replace("or_else: end", "or_else: sorry"), f=one)
    events = events_of(chain)
    [spent] = [event for event in events if isinstance(event, BudgetSpent)]
    [way] = [event for event in events if isinstance(event, EdgeTaken) and event.target == "sorry"]
    assert (spent.target, way.condition) == ("sorry", "after 9 or its budget")
    assert ("sorry", way.condition) in {(a.target, a.label) for a in picture(chain.model).arrows}


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (
            "sure -> reply: {until: sure.value > 0.5, at_most: 2, then: last, or_else: last}",
            "may come right after an assistant message",
        ),
        (
            "sure -> hello: {until: sure.value > 0.5, at_most: 2, then: end, or_else: last}",
            "'or_else' takes an earlier attempt back, but what 'reply' said stays",
        ),
    ],
)
def test_what_giving_up_leaves_is_checked_at_load(flow: str, message: str) -> None:
    text = f"""\
chain: c
nodes:
  hello: {{say: Hello.}}
  reply: {{turn: {{prompt: Go on., max_tokens: 3, temperature: 1.0}}}}
  sure: {{check: certainty}}
  last: {{turn: {{max_tokens: 3}}}}
flow:
  - start -> hello
  - hello -> reply
  - reply -> sure
  - {flow}
  - last -> end
"""
    with pytest.raises(ChainDefinitionError, match=message):
        chain_of(text)
