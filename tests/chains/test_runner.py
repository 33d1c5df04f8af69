"""Runs on a tiny engine: loops, cancellation, continued conversations, fused checks, failures."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any

import pytest

from chains import Chain, ChainRunError, RunInput
from chains.events import Event, NodeStarted
from chains.loader import read
from conftest import check_integrity
from flows import judging_engine
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.messages import Document, Message

HELLO = RunInput(messages=(Message(role="user", content="Hello"),))
REPLY = """\
chain: plain
system: Be brief.
nodes: {reply: {turn: {max_tokens: 40}}}
flow: [start -> reply, reply -> end]
"""
APART = """\
chain: apart
nodes:
  first: {check: tone}
  second: {check: topic}
  done: {say: Done.}
flow: [start -> first, first -> second, second -> done, done -> end]
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("intrinsics")
    return judging_engine(folder)


def chain_of(text: str, engine: Engine, **functions: Any) -> Chain:
    model, places = read(text, "chain.yaml")
    return Chain(model, places, engine.catalogue, functions)


def events_of(chain: Chain, engine: Engine, given: RunInput = HELLO) -> list[Event]:
    async def collect() -> list[Event]:
        return [event async for event in chain.stream(engine, given)]

    return asyncio.run(collect())


def test_a_stopped_run_does_not_touch_the_conversation_afterwards(engine: Engine) -> None:
    talk = engine.conversation()

    async def stop_and_go_on() -> None:
        async with aclosing(chain_of(REPLY, engine).stream(engine, HELLO, talk)) as stream:
            async for event in stream:
                if event.event == "token":
                    break
        assert talk.length == 0
        talk.add("user", "Something else, and much longer than what was there before.")
        before = talk.ids
        await asyncio.sleep(0.05)
        assert talk.ids == before

    asyncio.run(stop_and_go_on())
    engine.generate(talk)
    check_integrity(engine)


@pytest.mark.parametrize("event", ["node_started", "token"])
def test_a_cancelled_task_ends_between_two_tokens(engine: Engine, event: str) -> None:
    chain = chain_of(REPLY.replace("40", "4000"), engine)
    talk = engine.conversation()

    async def cancel() -> None:
        seen = asyncio.Event()

        async def consume() -> None:
            async with aclosing(chain.stream(engine, HELLO, talk)) as stream:
                async for one in stream:
                    if one.event == event:
                        seen.set()

        task = asyncio.create_task(consume())
        await seen.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert talk.length == 0
    check_integrity(engine)
    forwards = engine.model.forwards
    time.sleep(0.05)
    assert engine.model.forwards == forwards


def test_a_cancelled_fan_out_is_over_before_the_conversation_is_rolled_back(
    engine: Engine,
) -> None:
    talk = engine.conversation([Message(role="user", content="word " * 80)])
    before = talk.ids

    async def cancel() -> None:
        task = asyncio.create_task(chain_of(APART, engine).arun(engine, RunInput(), talk))
        while talk.cached == 0 and not task.done():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert talk.ids == before
    check_integrity(engine)


def test_a_conversation_goes_on_over_many_runs(engine: Engine) -> None:
    chain, talk = chain_of(REPLY, engine), engine.conversation()
    chain.run(engine, HELLO, talk)
    result = chain.run(engine, HELLO, talk)
    roles = ["system", "user", "assistant", "user", "assistant"]
    assert [message["role"] for message in result.messages] == roles
    assert result.ledger["reused"] > 0


def test_a_failed_run_can_be_repeated_with_the_same_documents(engine: Engine) -> None:
    def broken() -> str:
        raise OSError("no disk")

    text = """\
chain: broken
nodes: {first: {function: "m:f"}}
flow: [start -> first, first -> end]
"""
    chain = chain_of(text, engine, **{"m:f": broken})
    given = RunInput(messages=HELLO.messages, documents=(Document(id="a", text="A text."),))
    talk = engine.conversation()
    for _ in range(2):
        with pytest.raises(ChainRunError, match="node 'first': broken raised OSError: no disk"):
            chain.run(engine, given, talk)
    assert not talk.messages


def test_a_loop_inside_a_loop_goes_back_to_its_own_beginning(engine: Engine) -> None:
    text = """\
chain: nested
nodes:
  question: {ask: "What now?"}
  reply: {turn: {max_tokens: 3, temperature: 1.0}}
  sure: {check: quality}
  more: {function: "m:f"}
flow:
  - start -> question
  - question -> reply
  - reply -> sure
  - sure -> reply: {when: sure.p('bad') > 1.0e-12, at_most: 3, then: more}
  - sure -> more: otherwise
  - more -> question: {at_most: 1, then: end}
"""

    def more() -> bool:
        return True

    async def answer(question: str) -> str:
        return "Go on."

    chain = chain_of(text, engine, **{"m:f": more})
    result = asyncio.run(chain.arun(engine, HELLO, answer=answer))
    roles = [message["role"] for message in result.messages]
    assert roles == ["user", *["assistant", "user", "assistant"] * 2]
    assert [node.name for node in result.nodes].count("reply") == 5


def test_each_attempt_has_a_seed_of_its_own_and_a_repeated_run_is_the_same(engine: Engine) -> None:
    text = """\
chain: again
nodes:
  reply: {turn: {max_tokens: 8, temperature: 1.5, seed: 5}}
flow:
  - start -> reply
  - reply -> reply: {at_most: 2, then: end}
"""
    chain = chain_of(text, engine)
    first, second = chain.run(engine, HELLO), chain.run(engine, HELLO)
    assert len({node.output for node in first.nodes}) == 3
    assert [node.output for node in first.nodes] == [node.output for node in second.nodes]
    assert first.messages == second.messages


def test_a_fused_check_finds_what_it_finds_alone(engine: Engine) -> None:
    events = events_of(chain_of(APART, engine), engine)
    started = [event for event in events if isinstance(event, NodeStarted)]
    assert [(event.node, event.fused) for event in started[:2]] == [
        ("first", ("second",)),
        ("second", ()),
    ]
    talk = engine.conversation(HELLO.messages)
    result = chain_of(APART, engine).run(engine, HELLO)
    for node, intrinsic in ((result.nodes[0], "tone"), (result.nodes[1], "topic")):
        alone = engine.call(talk, intrinsic).distribution
        assert node.output[intrinsic]["distribution"] == pytest.approx(alone, abs=1e-5)
    assert result.ledger["forwards"] == 1
    assert [node.ledger["forwards"] for node in result.nodes] == [1, 0, 0]


@pytest.mark.parametrize("key", ["reused", "computed", "forwards"])
def test_the_ledgers_of_the_nodes_add_up(engine: Engine, key: str) -> None:
    result = chain_of(APART, engine).run(engine, HELLO)
    assert sum(node.ledger[key] for node in result.nodes) == result.ledger[key]


def test_a_turn_without_a_user_message_is_refused(engine: Engine) -> None:
    given = RunInput(
        messages=(
            Message(role="user", content="Hello"),
            Message(role="assistant", content="Hello."),
        )
    )
    with pytest.raises(ChainRunError, match="node 'reply': there is no user message to reply to"):
        chain_of(REPLY, engine).run(engine, given)


def test_a_failing_template_names_its_node(engine: Engine) -> None:
    text = REPLY.replace("{max_tokens: 40}", "'{{ messages[7].content }}'")
    with pytest.raises(ChainRunError, match="node 'reply': template: "):
        chain_of(text, engine).run(engine, HELLO)
    text = REPLY + "output: '{{ messages[70].content }}'\n"
    with pytest.raises(ChainRunError, match="output: template: "):
        chain_of(text, engine).run(engine, HELLO)


def test_a_function_must_return_what_it_says(engine: Engine) -> None:
    def wrong() -> int:
        return "seven"  # type: ignore[return-value]

    text = "chain: x\nnodes: {f: {function: 'm:f'}}\nflow: [start -> f, f -> end]\n"
    with pytest.raises(ChainRunError, match="m:f returned 'seven', which is not <class 'int'>"):
        chain_of(text, engine, **{"m:f": wrong}).run(engine, HELLO)


def test_run_tells_what_to_use_inside_an_event_loop(engine: Engine) -> None:
    async def inside() -> None:
        chain_of(REPLY, engine).run(engine, HELLO)

    with pytest.raises(RuntimeError, match=r"use `await chain\.arun"):
        asyncio.run(inside())


def test_an_engine_error_becomes_an_event_and_an_error_with_its_node(engine: Engine) -> None:
    talk: Conversation = engine.conversation()
    long = RunInput(messages=(Message(role="user", content="x" * 600),))
    seen: list[Event] = []

    async def consume() -> None:
        async for event in chain_of(REPLY, engine).stream(engine, long, talk):
            seen.append(event)

    with pytest.raises(ChainRunError, match="node 'reply': "):
        asyncio.run(consume())
    assert seen[-1].event == "run_failed"
    assert talk.length == 0
