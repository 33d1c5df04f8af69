"""What bounds a run, and what happens when it fails: retries, time-outs, budgets, error edges."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar

import pytest

from chains import ChainDefinitionError, ChainRunError
from chains.events import (
    AttemptChosen,
    BudgetSpent,
    NodeFailed,
    NodeStarted,
    Retried,
    RolledBack,
)
from conftest import check_integrity, tiny_engine, write_intrinsic
from flows import HELLO, Failing, chain_of, events_of, run
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine

ONE = """\
chain: one
nodes:
  call: {function: "m:f"}
  fallback: {say: "{{ error.node }}: {{ error.reason }}: {{ error.message }}"}
flow:
  - start -> call
  - call -> fallback: {on_error: any}
  - call -> end
  - fallback -> end
output: "{% if call is defined %}{{ call.value }}{% else %}{{ said }}{% endif %}"
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("intrinsics")
    engine = tiny_engine()
    write_intrinsic(engine, folder, "quality", ("bad", "good"), last="assistant", seed=3)
    engine.catalogue = Catalogue([folder])
    return engine


def test_a_node_is_tried_again_after_pauses_that_grow() -> None:
    failing = Failing(2)
    retrying = ONE.replace('"m:f"}', '"m:f", retry: {times: 2, wait: 0.01, factor: 3}}')
    events = events_of(chain_of(retrying, f=failing.function()))
    retried = [event for event in events if isinstance(event, Retried)]
    assert [(e.attempt, e.pause_seconds) for e in retried] == [(2, 0.01), (3, pytest.approx(0.03))]
    assert [e.error for e in events if isinstance(e, NodeFailed)] == [
        "failing raised ValueError: no 1",
        "failing raised ValueError: no 2",
    ]
    assert events[-1].event == "run_finished" and failing.calls == 3


def test_an_error_edge_tells_what_failed_and_only_takes_its_reasons() -> None:
    chain = chain_of(ONE, f=Failing(9).function())
    assert run(chain).output == "call: function: failing raised ValueError: no 1"
    timeout = ONE.replace("on_error: any", "on_error: [timeout, output]")
    with pytest.raises(ChainRunError, match="node 'call': failing raised ValueError"):
        run(chain_of(timeout, f=Failing(9).function()))

    def wrong() -> int:
        return "seven"  # type: ignore[return-value]

    assert run(chain_of(timeout, f=wrong)).output.startswith("call: output: m:f returned 'seven'")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_node_that_is_out_of_time_fails(kind: str) -> None:
    async def patient() -> int:
        await asyncio.sleep(3600)
        return 1

    def blocking() -> int:
        time.sleep(60)
        return 1

    limited = ONE.replace('"m:f"}', '"m:f", timeout: 0.05}')
    began = time.monotonic()
    result = run(chain_of(limited, f=patient if kind == "async" else blocking))
    assert result.output == "call: timeout: out of time after 0.05 s"
    assert time.monotonic() - began < 20


def test_a_turn_without_a_token_for_too_long_leaves_no_message(engine: Engine) -> None:
    text = """\
chain: slow
nodes:
  reply: {turn: {prompt: Go on., max_tokens: 400}, idle_timeout: 0.000001}
  fallback: {say: "{{ error.message }}"}
flow:
  - start -> reply
  - reply -> fallback: {on_error: timeout}
  - reply -> end
  - fallback -> end
"""
    events = events_of(chain_of(text, engine.catalogue), engine)
    result = chain_of(text, engine.catalogue).run(engine, HELLO)
    assert [m["role"] for m in result.messages] == ["user", "assistant"]
    assert "without an event out of time" in result.output
    assert [e.messages for e in events if isinstance(e, RolledBack)] == [1]
    check_integrity(engine)


COUNT = """\
chain: count
nodes:
  call: {function: "m:f"}
  enough: {function: {call: "m:g", arguments: {number: call.value}}}
flow:
  - start -> call
  - call -> enough
  - enough -> call: {until: enough.value, at_most: 50, then: end, best: call.value}
"""


def even(number: int) -> bool:
    return number % 2 == 0


@pytest.mark.parametrize(
    ("budget", "part", "most"), [("steps: 5", "steps", 5), ("seconds: 0.05", "seconds", 50)]
)
def test_a_spent_budget_leads_a_run_to_its_named_stop(budget: str, part: str, most: int) -> None:
    async def odd() -> int:
        await asyncio.sleep(0.01)
        return 1

    sorry = COUNT.replace("flow:", "  sorry: {say: Sorry.}\nflow:\n  - sorry -> end")
    text = sorry.replace("nodes:", f"budget: {{{budget}, then: sorry}}\nnodes:")
    events = events_of(chain_of(text, f=odd, g=even))
    [spent] = [event for event in events if isinstance(event, BudgetSpent)]
    assert (spent.budget, spent.target, spent.loop) == (part, "sorry", False)
    assert len([e for e in events if isinstance(e, NodeStarted)]) <= most + 1
    assert run(chain_of(text, f=odd, g=even)).output == "Sorry."
    ending = run(chain_of(COUNT.replace("nodes:", f"budget: {{{budget}}}\nnodes:"), f=odd, g=even))
    assert ending.status == "stopped"


def test_a_budget_of_seconds_cuts_a_node_short() -> None:
    async def patient() -> int:
        await asyncio.sleep(3600)
        return 1

    text = ONE.replace("nodes:", "budget: {seconds: 0.05, then: fallback}\nnodes:")
    assert run(chain_of(text, f=patient)).output == ": : "


def test_a_budget_of_tokens_ends_a_loop(engine: Engine) -> None:
    text = """\
chain: talk
nodes:
  reply: {turn: {max_tokens: 8, temperature: 1.0}}
flow:
  - start -> reply
  - reply -> reply: {at_most: 50, then: end, budget: {tokens: 60}}
"""
    events = events_of(chain_of(text, engine.catalogue), engine)
    [spent] = [event for event in events if isinstance(event, BudgetSpent)]
    assert (spent.budget, spent.loop, spent.source) == ("tokens", True, "reply")
    assert 2 <= len([e for e in events if isinstance(e, NodeStarted)]) < 20


def test_a_loop_goes_back_until_its_condition_holds_and_keeps_every_attempt() -> None:
    numbers = iter([3, 7, 4, 8])

    def draw() -> int:
        return next(numbers)

    text = COUNT
    text += "output: \"{{ call.value }} {{ call.tries | map(attribute='score') | list }}\"\n"
    events = events_of(chain_of(text, f=draw, g=even))
    [chosen] = [event for event in events if isinstance(event, AttemptChosen)]
    assert (chosen.chosen, chosen.scores) == (3, (3.0, 7.0, 4.0))
    assert getattr(events[-1], "output", None) == "4 [3.0, 7.0, 4.0]"


def test_a_spent_loop_leaves_its_best_attempt() -> None:
    numbers = iter([3, 7, 5])

    def draw() -> int:
        return next(numbers)

    text = COUNT.replace("50", "2")
    text += 'output: "{{ call.value }}"\n'
    events = events_of(chain_of(text, f=draw, g=even))
    assert getattr(events[-1], "output", None) == "7"


def test_the_best_reply_of_a_spent_loop_is_what_was_said(engine: Engine) -> None:
    text = """\
chain: again
nodes:
  reply: {turn: {max_tokens: 6, temperature: 1.5}}
  sure: {check: quality}
flow:
  - start -> reply
  - reply -> sure
  - sure -> reply: {until: sure.p('good') > 0.999999, at_most: 3, then: end, best: sure.p('good')}
"""
    chain = chain_of(text, engine.catalogue)
    result = chain.run(engine, HELLO)
    replies = [node.output for node in result.nodes if node.name == "reply"]
    scores = [n.output["quality"]["distribution"]["good"] for n in result.nodes if n.name == "sure"]
    assert len(replies) == 4
    assert result.output == replies[scores.index(max(scores))]
    assert [m["content"] for m in result.messages] == ["Hello", result.output]
    check_integrity(engine)


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        (("best: call.value", "or_else: cal"), "8:", "unknown node 'cal'; did you mean 'call'"),
        (("best:", "or_else: end, best:"), "8:", "'best' keeps an attempt and 'or_else' takes all"),
        (("until:", "or_else: end, when:"), "8:", "'or_else' says where a loop goes whose 'until'"),
        (("at_most: 50, then: end, ", ""), "8:2", "'until' needs at_most and then"),
        (("best: call.value", "best: cal.value"), "8:", "unknown name 'cal'; did you mean 'call'"),
        (("until: enough.value", "until: call.value"), "8:", "not a condition"),
        (("until: enough.value", "when: enough.value"), "8:", "'best' chooses among the attempts"),
        (("at_most: 50", "at_most: 50, budget: {}"), "8:", "give at least one"),
        (("at_most: 50", "at_most: 50, budgt: {}"), "8:", "unknown key 'budgt'; did you mean 'bud"),
        (("nodes:", "budget: {steps: 3, then: cal}\nnodes:"), "2:26", "did you mean 'call'"),
        (("nodes:", "budget: {stps: 3}\nnodes:"), "2:10", "unknown key 'stps'; did you mean 'ste"),
        (('"m:f"}', '"m:f", timeot: 3}'), "3:", "exactly one kind"),
        (('"m:f"}', '"m:f", timeout: 0}'), "3:", "greater than 0"),
        (('"m:f"}', '"m:f", retry: {times: 0}}'), "3:", "greater than or equal to 1"),
    ],
)
def test_a_wrong_limit_is_told(change: tuple[str, str], place: str, message: str) -> None:
    def f() -> int:
        return 1

    assert change[0] in COUNT
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(COUNT.replace(*change, 1), f=f, g=even)
    assert message in str(caught.value)
    assert f"chain.yaml:{place}" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("any", "[timeot]"), "unknown reason to fail 'timeot'; did you mean 'timeout'"),
        (("{{ error.node", "{{ call.value"), "reads 'call', which may not have run by then"),
        (("  - call -> end\n", ""), "dead end: no edge but error edges leaves 'call'"),
        (("fallback: {on", "call: {on"), "unbounded loop through call"),
        (("error.reason", "error.resaon"), "did you mean 'reason'"),
    ],
)
def test_a_wrong_error_edge_is_told(change: tuple[str, str], message: str) -> None:
    def f() -> int:
        return 1

    assert change[0] in ONE
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(ONE.replace(*change, 1), f=f)
    assert message in str(caught.value)


SEEN: ContextVar[str] = ContextVar("seen", default="nothing")
WAITS = [
    "{say: Hi.}",
    "{function: {call: 'm:quick'}, retry: 1}",
    "{function: {call: 'm:quick'}, timeout: 9}",
    "{function: {call: 'm:slow'}}",
    "{parallel: {branches: {a: {say: Hi.}, b: {function: {call: 'm:quick'}}}}}",
]


@pytest.mark.parametrize("node", WAITS)
def test_a_chain_that_has_nothing_to_wait_for_runs_without_an_event_loop(node: str) -> None:
    loops: list[bool] = []

    def look() -> int:
        try:
            loops.append(asyncio.get_running_loop().is_running())
        except RuntimeError:
            loops.append(False)
        SEEN.set("changed")
        return len(loops)

    def quick() -> int:
        return 1

    async def slow() -> int:
        await asyncio.sleep(0)
        return 1

    chain = chain_of(
        f"chain: a\nnodes: {{look: {{function: {{call: 'm:look'}}}}, then: {node}}}\n"
        "flow: [start -> look, look -> then, then -> end]\n",
        look=look,
        quick=quick,
        slow=slow,
    )
    assert [one.name for one in chain.run(None, HELLO).nodes] == ["look", "then"]
    assert loops == [node != WAITS[0]]
    assert SEEN.get() == "nothing", "what a node changes is the run's own, as in a task"
