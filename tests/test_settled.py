"""What a definition says of a conversation without documents is not asked of the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from chains import RunInput
from chains.testing import Script
from conftest import tiny_engine, write_intrinsic
from flows import chain_of
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.errors import ConversationError, DefinitionError, RequestError
from intrinsics.messages import Document, Message
from intrinsics.settled import SettledVerdict
from intrinsics.spec import FILE, Definition

QUESTION = Message(role="user", content="Who closed the harbour?")
PASSAGE = Document(id="p1", text="Anna closed the harbour before noon.")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("intrinsics")
    engine = tiny_engine()
    directory = write_intrinsic(engine, folder, "useful", ("yes", "no"), documents="required")
    saying(directory, "no")
    write_intrinsic(engine, folder, "tone", ("rude", "kind"), seed=1)
    engine.catalogue = Catalogue([folder])
    return engine


def saying(directory: Path, label: str) -> None:
    text = (directory / FILE).read_text()
    assert "documents: required" in text
    more = f"documents: required, without_documents: '{label}'"
    (directory / FILE).write_text(text.replace("documents: required", more))


def test_without_documents_it_is_known_and_costs_nothing(engine: Engine) -> None:
    found = engine.fan_out(engine.conversation([QUESTION]), ["useful", "tone"])
    verdict = found["useful"]
    assert isinstance(verdict, SettledVerdict)
    assert (verdict.value, verdict.p("no"), verdict.ledger.computed) == ("no", 1.0, 0)
    assert [one.intrinsic for one in found.verdicts] == ["useful", "tone"]
    assert found["tone"].ledger.computed > 0
    alone = engine.fan_out(engine.conversation([QUESTION]), ["useful"])
    assert (alone.ledger.computed, alone.ledger.forwards) == (0, 0)


def test_with_documents_it_is_asked(engine: Engine) -> None:
    verdict = engine.call(engine.conversation([QUESTION], [PASSAGE]), "useful")
    assert not isinstance(verdict, SettledVerdict) and 0 < verdict.p("no") < 1


def test_what_is_judged_must_still_be_there(engine: Engine) -> None:
    answered = engine.conversation([QUESTION, Message(role="assistant", content="Anna.")])
    with pytest.raises(ConversationError, match="judges the last user message"):
        engine.call(answered, "useful")


def test_a_chain_that_found_nothing_goes_on(engine: Engine) -> None:
    text = """\
chain: careful
nodes:
  able: {check: useful}
  sorry: {say: "Nothing was found."}
  told: {say: "Here it is."}
flow:
  - start -> able
  - able -> sorry: {when: able.value == 'no'}
  - able -> told: otherwise
  - sorry -> end
  - told -> end
"""
    chain = chain_of(text, engine.catalogue)
    given = RunInput(messages=(QUESTION,))
    assert chain.run(engine, given).output == "Nothing was found."
    with Script(catalogue=engine.catalogue) as script:
        assert chain.run(script, given).output == "Nothing was found."


def test_a_script_refuses_what_the_engine_refuses(engine: Engine, tmp_path: Path) -> None:
    write_intrinsic(engine, tmp_path, "strict", ("yes", "no"), documents="required")
    catalogue = Catalogue([tmp_path])
    text = "chain: c\nnodes: {able: {check: strict}}\nflow: [start -> able, able -> end]\n"
    chain = chain_of(text, catalogue)
    with (
        pytest.raises(Exception, match="strict needs documents"),
        Script(verdicts={"strict": "yes"}, catalogue=catalogue) as script,
    ):
        chain.run(script, RunInput(messages=(QUESTION,)))


@pytest.mark.parametrize(
    ("documents", "label", "message"),
    [
        ("required", "nope", "unknown label 'nope'"),
        ("optional", "no", "is for an intrinsic that requires documents"),
    ],
)
def test_a_wrong_word_for_it_is_told(
    engine: Engine, tmp_path: Path, documents: str, label: str, message: str
) -> None:
    directory = write_intrinsic(engine, tmp_path, "useful", documents="required")
    saying(directory, label)
    file = directory / FILE
    file.write_text(file.read_text().replace("documents: required", f"documents: {documents}"))
    with pytest.raises(DefinitionError, match=message):
        Definition.load(directory)


def test_it_is_the_same_again_and_takes_the_same_arguments(engine: Engine) -> None:
    talk = engine.conversation([QUESTION])
    found = engine.fan_out(talk, ["useful", "tone"])
    again = engine.again(found)
    assert [one.intrinsic for one in again.verdicts] == ["useful", "tone"]
    assert again["useful"] == found["useful"]
    with pytest.raises(RequestError, match="useful takes no argument 'nope'"):
        engine.fan_out(talk, ["useful"], {"useful": {"nope": "x"}})
    with pytest.raises(RequestError, match="useful was not asked: there are no documents"):
        engine.scratch(found["useful"])
