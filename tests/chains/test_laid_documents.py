"""Passages that a chain finds lie before the question, also in branches, loops and resumed runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chains import ChainRunError, RunInput
from chains.events import PromptRead
from chains.recorder import Recorder, recorded
from chains.replay import replayed
from chains.runner import Run, RunResult
from chains.runner import run as run_chain
from chains.store import Store
from conftest import check_integrity, tiny_engine, write_intrinsic
from flows import chain_of, events_of
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.messages import Document, Message
from recording import killed_and_resumed, told

QUESTION = RunInput(messages=(Message(role="user", content="When was the harbour closed?"),))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("intrinsics")
    engine = tiny_engine()
    write_intrinsic(engine, folder, "useful", ("yes", "no"), documents="required", seed=4)
    write_intrinsic(engine, folder, "quality", ("bad", "good"), last="assistant", seed=3)
    sound = ("right", "wrong")
    write_intrinsic(engine, folder, "sound", sound, last="assistant", kind="probability", seed=5)
    engine.catalogue = Catalogue([folder])
    return engine


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, text in {
        "harbour": "The harbour was closed in 1931.",
        "tides": "High tide was at noon.",
        "boats": "Twelve boats lay in the harbour.",
    }.items():
        (tmp_path / "texts" / name).mkdir(parents=True)
        (tmp_path / "texts" / name / "text.md").write_text(text)
    return tmp_path / "texts"


def test_a_check_after_retrieval_reads_the_passages_before_the_question(
    engine: Engine, texts: Path
) -> None:
    text = f"""\
chain: find
nodes:
  found: {{retrieve: {{folder: {texts / "harbour"}, query: "{{{{ user }}}}"}}}}
  able: {{check: useful}}
flow: [start -> found, found -> able, able -> end]
"""
    events = events_of(chain_of(text, engine.catalogue), engine, QUESTION)
    [prompt] = [one.text for one in events if isinstance(one, PromptRead)]
    assert prompt.index("closed in 1931") < prompt.index("When was the harbour closed?")
    assert prompt.count("When was the harbour closed?") == 1


FLOW = """\
chain: find
nodes:
  found: {{retrieve: {{folder: {texts}/harbour, query: "{{{{ user }}}}"}}}}
  more:
    parallel:
      branches:
        tides: {{retrieve: {{folder: {texts}/tides, query: tide}}}}
        boats: {{retrieve: {{folder: {texts}/boats, query: boats}}}}
  able: {{check: useful}}
  reply: {{turn: {{max_tokens: 5, temperature: 1.5}}}}
  sure: {{check: quality}}
flow:
  - start -> found
  - found -> more
  - more -> able
  - able -> reply
  - reply -> sure
  - sure -> reply: {{until: sure.p('good') > 0.99999, at_most: 2, then: end}}
"""


def test_branches_loops_and_resumed_runs_keep_the_question_last(
    engine: Engine, texts: Path, tmp_path: Path
) -> None:
    chain = chain_of(FLOW.format(texts=texts), engine.catalogue)
    plain = chain.run(engine, QUESTION)
    said = [one["role"] for one in plain.messages]
    assert said == ["user", "assistant"]
    after, going = 0, True
    while going:
        going, result = killed_and_resumed(chain, tmp_path / "runs.db", after, engine, QUESTION)
        assert told(result) == told(plain), f"killed after {after} records"
        after += 1
    assert after > 12
    check_integrity(engine)


def test_a_failed_run_leaves_the_conversation_with_its_question(
    engine: Engine, texts: Path
) -> None:
    def broken() -> int:
        raise ValueError("no")

    text = f"""\
chain: find
nodes:
  found: {{retrieve: {{folder: {texts / "harbour"}, query: "{{{{ user }}}}"}}}}
  fails: {{function: "m:broken"}}
flow: [start -> found, found -> fails, fails -> end]
"""
    talk = engine.conversation(QUESTION.messages)
    ids = talk.ids
    chain = chain_of(text, engine.catalogue, broken=broken)
    with pytest.raises(ChainRunError, match="ValueError: no"):
        chain.run(engine, RunInput(), talk)
    assert talk.ids == ids


def test_an_answer_before_documents_can_be_replaced_in_a_replay(
    texts: Path, tmp_path: Path
) -> None:
    chain = chain_of(
        f"""\
chain: c
nodes:
  q: {{ask: "What?"}}
  found: {{retrieve: {{folder: {texts / "harbour"}, query: harbour}}}}
  told: {{say: "{{{{ user }}}} {{{{ q.text }}}} {{{{ documents | length }}}}"}}
flow: [start -> q, q -> found, found -> told, told -> end]
"""
    )

    async def answer(_: str) -> str:
        return "old"

    def told_by(recorder: Recorder) -> RunResult:
        going = run_chain(chain, None, recorder.given, answer=answer, recorder=recorder)
        return asyncio.run(going)

    with Store.open(tmp_path / "runs.db") as store:
        with recorded(store, chain, RunInput()) as recorder:
            assert told_by(recorder).output == "old old 1"
        with replayed(store, recorder.run_id, chain, "told", values={"q": "new"}) as again:
            result = told_by(again)
        assert store.check() == []
    assert [one["content"] for one in result.messages] == ["What?", "new", "new new 1"]


def test_branches_are_joined_with_their_documents_before_the_question(texts: Path) -> None:
    inner = f"""\
{{chain: inner, nodes: {{found: {{retrieve: {{folder: {texts / "harbour"}, query: harbour}}}},
          hi: {{say: Hi.}}}}, flow: [start -> found, found -> hi, hi -> end]}}"""
    text = f"""\
chain: c
nodes:
  both:
    parallel:
      branches:
        one: {{subchain: {inner}}}
        two: {{retrieve: {{folder: {texts / "boats"}, query: harbour}}}}
flow: [start -> both, both -> end]
"""
    run = Run(chain_of(text), None, QUESTION)

    async def go() -> None:
        async for _ in run.events():
            pass

    asyncio.run(go())
    said = run.conversation.since(0)
    parts = [[d.id for d in one.documents] or one.message.role for one in said]
    assert parts == [["text.md#1"], ["text.md#1 (2)"], "user", "assistant"]


def test_an_abstaining_sub_chain_is_recorded(engine: Engine, texts: Path, tmp_path: Path) -> None:
    text = """\
chain: c
nodes:
  inner:
    subchain:
      chain: inner
      nodes: {reply: {turn: {max_tokens: 3}}, sure: {check: quality}, sorry: {say: Sorry.}}
      flow:
        - start -> reply
        - reply -> sure
        - sure -> end: {abstain_below: 0.99999}
        - sure -> sorry: otherwise
        - sorry -> end
  last: {say: Done.}
flow: [start -> inner, inner -> last, last -> end]
"""
    chain = chain_of(text.replace("{check: quality}", "{check: sound}"), engine.catalogue)
    plain = chain.run(engine, QUESTION)
    assert [one["content"] for one in plain.messages][1:] == ["Done."]
    after, going = 0, True
    while going:
        going, result = killed_and_resumed(chain, tmp_path / "runs.db", after, engine, QUESTION)
        assert told(result) == told(plain), f"killed after {after} records"
        after += 1


def test_a_passage_whose_id_is_taken_by_another_text_is_judged_too(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("Bread is baked at noon.")
    text = f"""\
chain: found
nodes:
  find:
    retrieve:
      folder: {tmp_path / "notes"}
      query: bread
      guards: [{{at: documents, check: useful, label: yes, above: %s, then: drop}}]
  told: {{say: "{{{{ documents | map(attribute='id') | list }}}}"}}
flow: [start -> find, find -> told, told -> end]
"""
    taken = Document(id="a.md#1", text="The harbour was closed.")
    given = RunInput(messages=QUESTION.messages, documents=(taken,))
    for above, ids in ((0, ["a.md#1"]), (0.999, ["a.md#1", "a.md#1 (2)"])):
        chain = chain_of(text % above, engine.catalogue)
        assert chain.run(engine, given).output == str(ids)
