"""Intrinsics over the items of a list: one fan-out, in which an item may fail alone."""

from __future__ import annotations

from typing import Any

import pytest

from chains import ChainRunError, RunInput
from chains.testing import Script
from conftest import check_integrity, write_intrinsic
from flows import HELLO, chain_of, judging_engine
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.messages import Document, Message

SCREEN = """\
chain: screen
nodes: {each: {map: {over: documents, do: {check: useful}}}}
flow: [start -> each, each -> end]
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("intrinsics")
    engine = judging_engine(folder)
    write_intrinsic(engine, folder, "useful", ("yes", "no"), documents="required", seed=4)
    engine.catalogue = Catalogue([folder])
    return engine


def test_an_intrinsic_over_documents_is_one_fan_out_and_finds_what_it_finds_alone(
    engine: Engine,
) -> None:
    documents = tuple(Document(id=f"d{i}", text=f"Text number {i}.") for i in range(5))
    given = RunInput(messages=HELLO.messages, documents=documents)
    before = engine.model.forwards
    result = chain_of(SCREEN, engine.catalogue).run(engine, given)
    assert engine.model.forwards - before == 2  # the shared prefix, then all documents at once
    for told, document in zip(result.nodes[0].output["values"], documents, strict=True):
        alone = engine.call(engine.conversation(HELLO.messages, [document]), "useful")
        assert told["useful"]["distribution"] == pytest.approx(alone.distribution, abs=1e-5)
    check_integrity(engine)


def test_an_intrinsic_over_messages_is_one_fan_out_and_finds_what_it_finds_alone(
    engine: Engine,
) -> None:
    messages = [Message(role="user", content=f"Request number {i}.") for i in range(3)]

    def asked() -> list[Message]:
        return messages

    text = """\
chain: screen
system: Be brief.
nodes:
  asked: {function: "m:asked"}
  each: {map: {over: asked.value, do: {check: [tone, topic]}}}
flow: [start -> asked, asked -> each, each -> end]
"""
    result = chain_of(text, engine.catalogue, asked=asked).run(engine, RunInput())
    system = Message(role="system", content="Be brief.")
    for told, message in zip(result.nodes[1].output["values"], messages, strict=True):
        alone = engine.call(engine.conversation([system, message]), "tone")
        assert told["tone"]["distribution"] == pytest.approx(alone.distribution, abs=1e-5)
    check_integrity(engine)


@pytest.mark.parametrize(("failed", "kept"), [("drop", 2), ("keep", 3)])
def test_an_item_that_cannot_be_judged_fails_alone_in_a_fan_out(
    engine: Engine, failed: str, kept: int
) -> None:
    def asked() -> list[Message]:
        user = Message(role="user", content="Now then.")
        return [user, Message(role="assistant", content="Yes?"), user]  # tone judges a user's

    text = f"""\
chain: screen
nodes:
  asked: {{function: "m:asked"}}
  each: {{map: {{over: asked.value, failed: {failed}, do: {{check: tone}}}}}}
flow: [start -> asked, asked -> each, each -> end]
"""
    told = chain_of(text, engine.catalogue, asked=asked).run(engine, RunInput()).nodes[1]
    assert len(told.output["values"]) == kept
    [lost] = told.output["failed"]
    assert lost["index"] == 2 and "tone" in lost["error"]
    strict = chain_of(text.replace(failed, "raise"), engine.catalogue, asked=asked)
    with pytest.raises(ChainRunError, match="1 of 3 items failed; item 2"):
        strict.run(engine, RunInput())
    check_integrity(engine)


def test_an_item_that_is_no_document_is_told(engine: Engine) -> None:
    def made() -> list[dict[str, Any]]:
        return [{"id": 1, "text": "x"}, {"id": "b", "text": "Text."}]

    text = """\
chain: screen
nodes:
  made: {function: "m:made"}
  each: {map: {over: made.value, failed: keep, do: {check: useful}}}
flow: [start -> made, made -> each, each -> end]
"""
    told = chain_of(text, engine.catalogue, made=made).run(engine, HELLO).nodes[1].output
    assert told["failed"][0]["error"] == "id: Input should be a valid string; it is 1"
    assert told["values"][0] is None and told["values"][1] is not None


def test_a_script_keeps_what_the_engine_keeps_of_a_map(engine: Engine) -> None:
    def asked() -> list[Message]:
        user = Message(role="user", content="Now then.")
        return [user, Message(role="assistant", content="Yes?")]

    text = """\
chain: screen
nodes:
  asked: {function: "m:asked"}
  each: {map: {over: asked.value, failed: keep, do: {check: tone}}}
flow: [start -> asked, asked -> each, each -> end]
"""
    chain = chain_of(text, engine.catalogue, asked=asked)
    with Script(verdicts={"tone": ["kind"]}, catalogue=engine.catalogue) as script:
        [_, told] = chain.run(script, RunInput()).nodes
    assert told.output["values"][1] is None and told.output["failed"][0]["index"] == 2


def test_the_forward_that_items_share_is_counted_once(engine: Engine) -> None:
    documents = tuple(Document(id=f"e{i}", text=f"Leaf number {i}.") for i in range(4))
    given = RunInput(messages=HELLO.messages, documents=documents)
    result = chain_of(SCREEN, engine.catalogue).run(engine, given)
    assert result.ledger["forwards"] == 2  # the shared prefix, then all items
