"""Passages that a chain finds lie before the question, also in branches, loops and resumed runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from chains import ChainRunError, RunInput
from chains.events import PromptRead
from conftest import check_integrity, tiny_engine, write_intrinsic
from flows import chain_of, events_of
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.messages import Message
from recording import killed_and_resumed, told

QUESTION = RunInput(messages=(Message(role="user", content="When was the harbour closed?"),))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("intrinsics")
    engine = tiny_engine()
    write_intrinsic(engine, folder, "useful", ("yes", "no"), documents="required", seed=4)
    write_intrinsic(engine, folder, "quality", ("bad", "good"), last="assistant", seed=3)
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
