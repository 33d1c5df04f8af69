"""Guards of a turn and of retrieve: what each reaction leaves; nothing is shown too early."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from chains import (
    END,
    START,
    ChainDefinitionError,
    ChainRunError,
    Definition,
    RunInput,
    guard,
    turn,
)
from chains.chain import Chain
from chains.dumper import to_yaml
from chains.events import (
    Asked,
    Event,
    GuardTripped,
    NodeFinished,
    RolledBack,
    Token,
    VerdictReached,
)
from conftest import check_integrity, tiny_engine, write_intrinsic
from flows import HELLO, chain_of, events_of, run
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.messages import Document, Message

REPLIES = """\
chain: replies
nodes:
  reply: {turn: {max_tokens: 12}}
flow: [start -> reply, reply -> end]
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("intrinsics")
    engine = tiny_engine()
    write_intrinsic(engine, folder, "tone", ("rude", "kind"), seed=1)
    write_intrinsic(engine, folder, "quality", ("bad", "good"), last="assistant", seed=3)
    write_intrinsic(engine, folder, "useful", ("yes", "no"), documents="required", seed=4)
    write_intrinsic(engine, folder, "grounded", last="assistant", documents="required", seed=5)
    engine.catalogue = Catalogue([folder])
    return engine


@pytest.fixture(autouse=True)
def _leaves_nothing(engine: Engine) -> Any:
    yield
    check_integrity(engine)


def guarded(engine: Engine, guards: str, more: str = "", temperature: float = 0) -> Chain:
    return chain_of(
        f"""\
chain: guarded
nodes:
  reply: {{turn: {{max_tokens: 12, temperature: {temperature}, guards: [{guards}]}}}}
  other: {{say: other}}
flow:
  - start -> reply
  - reply -> other: {{on_error: guard}}
  - reply -> end
  - other -> end
{more}""",
        engine.catalogue,
    )


def plain(engine: Engine) -> str:
    return run(chain_of(REPLIES, engine.catalogue), engine).output


def text_of(events: list[Event]) -> str:
    return "".join(one.text for one in events if isinstance(one, Token))


def outcome(events: list[Event]) -> Any:
    return next(one.output for one in events if isinstance(one, NodeFinished))


@pytest.mark.parametrize("at", ["input", "reply", "sentence"])
def test_what_passes_is_the_reply_without_a_guard(engine: Engine, at: str) -> None:
    check = "tone" if at == "input" else "quality"
    label = "rude" if at == "input" else "bad"
    chain = guarded(
        engine, f"{{at: {at}, check: {check}, label: {label}, above: 0.999, then: refuse}}"
    )
    events = events_of(chain, engine)
    assert text_of(events) == outcome(events) == plain(engine)
    assert not [one for one in events if isinstance(one, GuardTripped | RolledBack)]


@pytest.mark.parametrize("at", ["input", "reply", "sentence"])
def test_a_refusal_stands_in_the_replys_place_and_nothing_of_it_was_shown(
    engine: Engine, at: str
) -> None:
    check = "tone" if at == "input" else "quality"
    label = "rude" if at == "input" else "bad"
    chain = guarded(engine, f"{{at: {at}, check: {check}, label: {label}, above: 0, then: refuse}}")
    events = events_of(chain, engine)
    assert text_of(events) == "" and outcome(events) == "I can't help with that."
    (tripped,) = [one for one in events if isinstance(one, GuardTripped)]
    assert (tripped.stage, tripped.label, tripped.then, tripped.error) == (
        at,
        label,
        "refuse",
        None,
    )
    assert tripped.p is not None and tripped.p > 0
    messages = run(chain, engine).messages
    assert [one["content"] for one in messages] == ["Hello", "I can't help with that."]


def test_an_input_is_judged_beside_the_reply_on_the_same_prefix(engine: Engine) -> None:
    chain = guarded(engine, "{at: input, check: tone, label: rude, above: 0.999, then: refuse}")
    judged, alone = run(chain, engine), run(chain_of(REPLIES, engine.catalogue), engine)
    extra = judged.ledger["computed"] - alone.ledger["computed"]
    assert 0 < extra < 30  # the invocation, not the conversation again


def test_a_replacement_reads_the_reply(engine: Engine) -> None:
    text = "It wanted to say {{ candidate.text }}"
    chain = guarded(
        engine,
        f"{{at: reply, check: quality, label: bad, above: 0, then: replace, text: '{text}'}}",
    )
    assert run(chain, engine).output == f"It wanted to say {plain(engine)}"


def test_a_guard_may_take_an_error_edge(engine: Engine) -> None:
    for at, check, label in (("input", "tone", "rude"), ("reply", "quality", "bad")):
        chain = guarded(engine, f"{{at: {at}, check: {check}, label: {label}, above: 0, then: go}}")
        result = run(chain, engine)
        assert result.output == "other"
        assert [one["content"] for one in result.messages] == ["Hello", "other"]


def test_a_reply_is_written_again_with_another_seed_until_it_was_often_enough(
    engine: Engine,
) -> None:
    rule = "{at: reply, check: quality, label: bad, above: %s, then: again, at_most: 3}"
    chain = guarded(engine, rule % 0, temperature=1)
    events = events_of(chain, engine)
    assert len([one for one in events if isinstance(one, GuardTripped)]) == 4
    assert len([one for one in events if isinstance(one, RolledBack)]) == 4  # the failure too
    assert text_of(events) == "" and outcome(events) == "other"
    rule = (rule % 0).replace("again, at_most: 3", "again, at_most: 1")
    chain = chain_of(
        REPLIES.replace("12", f"12, temperature: 1, guards: [{rule}]"), engine.catalogue
    )
    with pytest.raises(ChainRunError, match="quality found 'bad' 2 times at the reply"):
        run(chain, engine)


@pytest.mark.parametrize("at", ["input", "reply"])
@pytest.mark.parametrize("answer", ["yes", "Say this instead."])
def test_a_human_lets_it_pass_or_says_what_stands_instead(
    engine: Engine, at: str, answer: str
) -> None:
    check = "tone" if at == "input" else "quality"
    label = "rude" if at == "input" else "bad"
    chain = guarded(
        engine, f"{{at: {at}, check: {check}, label: {label}, above: 0, then: ask, text: 'Well?'}}"
    )

    async def human(question: str) -> str:
        assert question == "Well?"
        return answer

    result = asyncio.run(chain.arun(engine, HELLO, answer=human))
    assert result.output == (plain(engine) if answer == "yes" else answer)
    with pytest.raises(ChainRunError, match="nobody is there"):
        run(chain, engine)
    assert any(isinstance(one, Asked) for one in _until_failure(chain, engine))


def _until_failure(chain: Chain, engine: Engine) -> list[Event]:
    async def collect() -> list[Event]:
        found: list[Event] = []
        try:
            async for event in chain.stream(engine, HELLO):
                found.append(event)
        except ChainRunError:
            pass
        return found

    return asyncio.run(collect())


def test_a_guard_that_can_not_judge_blocks_unless_it_is_optional(engine: Engine) -> None:
    rule = "{at: reply, check: grounded, label: yes, above: 0.5, then: refuse, optional: %s}"
    events = events_of(guarded(engine, rule % "false"), engine)
    (tripped,) = [one for one in events if isinstance(one, GuardTripped)]
    assert tripped.p is None and "document" in str(tripped.error)
    assert outcome(events) == "I can't help with that."
    events = events_of(guarded(engine, rule % "true"), engine)
    (tripped,) = [one for one in events if isinstance(one, GuardTripped)]
    assert tripped.then == "pass" and outcome(events) == plain(engine)


def test_a_guard_that_only_tells_changes_nothing(engine: Engine) -> None:
    chain = guarded(engine, "{at: reply, check: quality, label: bad, above: 0, then: pass}")
    events = events_of(chain, engine)
    assert text_of(events) == outcome(events) == plain(engine)
    assert [one.then for one in events if isinstance(one, GuardTripped)] == ["pass"]


def test_passages_that_do_not_help_are_dropped(engine: Engine, tmp_path: Path) -> None:
    for name, text in {"a": "Bread is baked at noon.", "b": "The bread is sold out."}.items():
        (tmp_path / f"{name}.md").write_text(text)
    text = f"""\
chain: found
nodes:
  find:
    retrieve:
      folder: {tmp_path}
      query: bread
      guards: [{{at: documents, check: useful, label: yes, above: %s, then: drop}}]
flow: [start -> find, find -> end]
"""
    for above, count in ((0, 0), (0.999, 2)):
        result = run(chain_of(text % above, engine.catalogue), engine)
        assert len(result.nodes[0].output) == count
        assert result.ledger["computed"] > 0


@pytest.mark.parametrize("messages", [HELLO.messages, ()])
def test_a_passage_is_judged_before_the_question(
    engine: Engine, tmp_path: Path, messages: tuple[Message, ...]
) -> None:
    (tmp_path / "a.md").write_text("Hello is said at noon.")
    text = f"""\
chain: found
nodes:
  find:
    retrieve:
      folder: {tmp_path}
      query: Hello
      guards: [{{at: documents, check: useful, label: yes, then: pass}}]
flow: [start -> find, find -> end]
"""
    events = events_of(chain_of(text, engine.catalogue), engine, RunInput(messages=messages))
    [verdict] = [one for one in events if isinstance(one, VerdictReached)]
    document = Document(id="a.md#1", text="Hello is said at noon.")
    alone = engine.call(engine.conversation(HELLO.messages, [document]), "useful")
    assert verdict.distribution == pytest.approx(alone.distribution, abs=1e-5)


def test_both_spellings_are_one_model(engine: Engine) -> None:
    class Guarded(Definition):
        reply = turn(
            temperature=0.5,
            guards=[
                guard("input", "tone", label="rude", then="refuse"),
                guard("sentence", "quality", label="bad", above=0.9, then="again", at_most=1),
            ],
        )
        flow = (START >> reply >> END,)

    model = Guarded.chain(engine.catalogue).model
    assert chain_of(to_yaml(model), engine.catalogue).model == model


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (
            "{at: input, check: tone, label: rued, then: refuse}",
            "unknown label of tone 'rued'; did you mean 'rude'?",
        ),
        ("{at: input, check: tune, label: rude, then: refuse}", "did you mean 'tone'?"),
        (
            "{at: input, check: quality, label: bad, then: refuse}",
            "judges the last assistant message",
        ),
        ("{at: reply, check: quality, label: bad, then: again}", "give the turn a temperature"),
        ("{at: input, check: tone, label: rude, then: again}", "can't 'again'"),
        ("{at: input, check: tone, label: rude, then: ask}", "'ask' needs a 'text'"),
        ("{at: input, check: tone, label: rude, then: pass, text: x}", "says nothing"),
        ("{at: input, check: tone, label: rude, then: refuse, at_most: 2}", "happens once"),
        ("{at: documents, check: useful, label: yes, then: drop}", "belongs to a retrieve node"),
        (
            "{at: input, check: tone, label: rude, then: refuse, text: '{{ x }}'}",
            "unknown template variable 'x'",
        ),
        ("{at: input, check: tone, label: rude, then: refuse, abve: 1}", "abve"),
    ],
)
def test_what_a_guard_can_not_be_is_told_at_its_place(engine: Engine, rule: str, told: str) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        guarded(engine, rule)
    assert told in str(caught.value) and "chain.yaml:3:" in str(caught.value)


def test_a_guard_that_goes_needs_an_edge(engine: Engine) -> None:
    with pytest.raises(ChainDefinitionError, match=r"add 'reply -> \.\.\.: \{on_error: guard\}'"):
        chain_of(
            REPLIES.replace(
                "max_tokens: 12", "guards: [{at: input, check: tone, label: rude, then: go}]"
            ),
            engine.catalogue,
        )


def test_a_guard_in_python_is_refused_at_its_line() -> None:
    with pytest.raises(ChainDefinitionError, match=r"test_guards\.py:\d+:\d+: .*needs a 'text'"):
        guard("reply", "quality", label="bad", then="replace")


def test_the_conversation_is_free_after_a_guarded_turn_is_given_up(engine: Engine) -> None:
    chain = guarded(engine, "{at: input, check: tone, label: rude, above: 0.999, then: refuse}")

    async def abandon() -> None:
        events = chain.stream(engine, HELLO)
        async for event in events:
            if isinstance(event, Token):
                break
        await events.aclose()

    asyncio.run(abandon())
    assert run(chain, engine).output == plain(engine)
