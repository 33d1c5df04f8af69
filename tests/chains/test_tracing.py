"""A run told from its events alone: as lines, and as a story."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chains import RunInput
from chains import events as ev
from chains.drawing import picture
from chains.errors import InputError
from chains.events import Event
from chains.loader import read as read_chain
from chains.runner import Run, summed_up
from chains.tracing import log, page
from chains.tracing.story import Story, tell
from intrinsics.engine import Engine
from intrinsics.messages import Message
from traced import GIVEN, HOSTILE, YAML, chain_of, events_of, traced_engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return traced_engine(tmp_path_factory.mktemp("intrinsics"))


@pytest.fixture(scope="module")
def events(engine: Engine) -> list[Event]:
    return events_of(chain_of(YAML, engine), engine)


@pytest.fixture(scope="module")
def story(events: list[Event], engine: Engine) -> Story:
    return tell(events, chain_of(YAML, engine).model)


def test_events_are_the_same_after_a_file(events: list[Event]) -> None:
    lines = [log.to_line(event) + "\n" for event in events]
    assert all(line.count("\n") == 1 for line in lines)
    assert log.read(lines, "run.jsonl") == events
    assert log.read([log.to_line(event, plain=True) for event in events], "run.jsonl") == events
    assert all(log.to_line(event, plain=True).isascii() for event in events)


def test_a_run_is_told_from_its_events_alone(engine: Engine) -> None:
    """What the result says is in the events too: outputs, costs, the path, the input.

    Both are of one run: two differ in the last digits, as sums of floats do.
    """
    chain = chain_of(YAML, engine)
    run = Run(chain, engine, GIVEN)

    async def happened() -> list[Event]:
        return [event async for event in run.events()]

    events = asyncio.run(happened())
    result, told = summed_up(run, events), tell(events, chain.model)
    assert (told.status, told.output) == (result.status, result.output)
    assert [(v.node, v.kind) for v in told.visits] == [(n.name, n.kind) for n in result.nodes]
    assert [visit.output for visit in told.visits] == [node.output for node in result.nodes]
    for key in ("reused", "computed"):
        assert told.ledger[key] == sum(visit.ledger[key] or 0 for visit in told.visits)
    assert [visit.attempt for visit in told.visits if visit.node == "reply"] == [1, 2, 3]
    assert RunInput.of(dict(told.given), "events") == GIVEN
    assert told.began


def test_the_path_is_that_of_the_edges_taken(events: list[Event], story: Story) -> None:
    model = read_chain(YAML, "chain.yaml")[0]
    arrows = picture(model).arrows
    taken = {(arrows[i].source, arrows[i].target): n for i, n in story.path.arrows.items()}
    assert taken == {
        ("start", "screen"): 1,
        ("screen", "reply"): 1,
        ("reply", "sure"): 3,
        ("sure", "reply"): 2,
        ("sure", "doubt"): 1,
        ("doubt", "end"): 1,
    }
    hops = [(one.source, one.target) for one in events if isinstance(one, ev.EdgeTaken)]
    assert sum(taken.values()) == len(hops) + 1
    assert story.path.nodes["reply"] == 3 and story.path.nodes["end"] == 1


def test_a_prompt_is_the_text_of_the_ids_that_were_read(engine: Engine, story: Story) -> None:
    conversation = engine.conversation(
        [Message(role="system", content="Be brief."), *GIVEN.messages], GIVEN.documents
    )
    found = engine.fan_out(conversation, ["tone", "topic"])
    for prompt, verdict in zip(story.visits[0].prompts, found.verdicts, strict=True):
        assert prompt.text + prompt.activated == engine.chat.shown(verdict.token_ids)
        assert prompt.activated == f"<|im_start|>{verdict.intrinsic}\n"
    assert HOSTILE in story.visits[0].prompts[0].text
    [reply] = story.visits[1].prompts
    assert reply.text.endswith("<|im_start|>assistant\n") and not reply.activated


def test_an_ordinary_lora_acts_on_the_whole_prompt(engine: Engine) -> None:
    chain = chain_of(
        "chain: heavy\nnodes: {all: {check: heavy}}\nflow: [start -> all, all -> end]\n", engine
    )
    [prompt] = tell(events_of(chain, engine), chain.model).visits[0].prompts
    assert not prompt.text and prompt.activated.endswith("<|im_start|>heavy\n")


def test_prompts_are_told_by_what_is_new(engine: Engine) -> None:
    """Eight checks of one conversation tell it once, not eight times."""
    nodes = ", ".join(f"n{i}: {{check: topic}}" for i in range(8))
    flow = ", ".join(["start -> n0", *(f"n{i} -> n{i + 1}" for i in range(7)), "n7 -> end"])
    chain = chain_of(f"chain: many\nnodes: {{{nodes}}}\nflow: [{flow}]\n", engine)
    told = [one for one in events_of(chain, engine) if isinstance(one, ev.PromptRead)]
    assert len(told) == 8
    assert len(told[0].text) > 100 and sum(len(one.text) for one in told[1:]) == 0


def test_a_failure_and_a_run_cut_short_are_told(engine: Engine, events: list[Event]) -> None:
    text = "chain: asks\nnodes: {who: {ask: Who?}}\nflow: [start -> who, who -> end]\n"
    chain = chain_of(text, engine)
    failed = tell(events_of(chain, engine), chain.model)
    assert failed.status == "failed" and "nobody is there" in str(failed.error)
    assert "nobody is there" in page.render(events_of(chain, engine), chain.model)
    model = chain_of(YAML, engine).model
    for count in range(1, len(events)):
        assert tell(events[:count], model).status == "cut short"
        assert "cut short" in page.render(events[:count], model)


def test_a_last_line_cut_short_is_left_out(events: list[Event]) -> None:
    lines = [log.to_line(event) + "\n" for event in events]
    assert log.read([*lines[:5], lines[5][:20]], "run.jsonl") == events[:5]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "run.jsonl: holds no events; write them with chains run --events"),
        (["not json\n"], "run.jsonl:1: no event of this release: Invalid JSON"),
        (['{"event": "flown", "run": "a", "at": 0}\n'], "run.jsonl:1: no event of this release"),
        (
            ['{"event": "token", "run": "a", "at": "x", "node": "n", "text": ""}\n'],
            "run.jsonl:1: token.at: no event of this release",
        ),
        (
            [f'{{"event": "run_started", "run": "{i}", "at": 0, "chain": "c"}}\n' for i in "ab"],
            "holds 2 runs, a, b; keep the lines of one",
        ),
    ],
)
def test_what_is_no_run_is_named_with_its_place(lines: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        log.read(lines, "run.jsonl")
    assert message in str(caught.value)


def test_events_of_another_chain_are_refused(events: list[Event]) -> None:
    other = read_chain(YAML.replace("chain: traced", "chain: other"), "x")[0]
    with pytest.raises(InputError, match="are of the chain 'traced', not of 'other'"):
        tell(events, other)
    changed = read_chain(
        YAML.replace("screen -> reply: otherwise", "screen -> doubt: otherwise"), "x"
    )
    with pytest.raises(InputError, match="went from 'screen' to 'reply', but the chain 'traced'"):
        tell(events, changed[0])


def test_nodes_inside_others_are_told_but_are_no_part_of_the_path(events: list[Event]) -> None:
    """A branch has nodes and edges of its own, whose names may be those of the chain's."""
    model = read_chain(YAML, "chain.yaml")[0]
    at: dict[str, Any] = {"run": events[0].run, "at": 0.1, "branch": "screen/1"}
    inside: list[Event] = [
        ev.NodeStarted(**at, node="reply", kind="turn"),
        ev.Token(**at, node="reply", text="inner"),
        ev.EdgeTaken(**at, source="reply", target="elsewhere"),
    ]
    told = tell([*events[:2], *inside, *events[2:]], model)
    assert told.path == tell(events, model).path
    [visit] = [one for one in told.visits if one.branch]
    assert (visit.branch, visit.said, visit.left_by) == ("screen/1", "inner", inside[-1])
    assert "screen/1/" in page.render([*events[:2], *inside, *events[2:]], model)
