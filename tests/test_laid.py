"""Documents that come while a question waits are laid before it, and can be taken back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.talk import PlainTalk
from conftest import check_integrity, tiny_engine, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.errors import ConversationError
from intrinsics.messages import Document, Message

QUESTION = Message(role="user", content="Who closed the harbour?")
PASSAGE = Document(id="p1", text="Anna closed the harbour before noon.")
OTHER = Document(id="p2", text="The library has 120 seats.")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder: Path = tmp_path_factory.mktemp("intrinsics")
    engine = tiny_engine()
    write_intrinsic(engine, folder, "useful", ("yes", "no"), documents="required", seed=4)
    engine.catalogue = Catalogue([folder])
    return engine


def test_a_verdict_is_that_of_documents_given_first(engine: Engine) -> None:
    """The same prompt token for token, though the question's keys were computed before."""
    late = engine.conversation([QUESTION])
    engine.prefill(late)
    late.add_documents([PASSAGE])
    first = engine.conversation([QUESTION], [PASSAGE])
    assert late.ids == first.ids
    verdicts = engine.call(late, "useful"), engine.call(first, "useful")
    assert verdicts[0].token_ids == verdicts[1].token_ids
    # float32, and a prefill in other parts: sums in another order
    assert verdicts[0].distribution == pytest.approx(verdicts[1].distribution, abs=1e-5)
    check_integrity(engine)


def test_an_answer_has_no_document_before_it(engine: Engine) -> None:
    talk = engine.conversation([QUESTION, Message(role="assistant", content="Anna.")])
    talk.add_documents([PASSAGE])
    assert [bool(one.documents) for one in talk.since(0)] == [False, False, True]


def test_what_stood_after_the_question_comes_back(engine: Engine) -> None:
    talk = engine.conversation([QUESTION])
    mark, ids = talk.mark, talk.ids
    talk.add_documents([PASSAGE])
    second, with_one = talk.mark, talk.ids
    talk.add_documents([OTHER])
    talk.add("assistant", "Anna.")
    talk.rewind(second)
    assert (talk.ids, talk.mark) == (with_one, second)
    talk.rewind(mark)
    assert (talk.ids, talk.mark, talk.documents) == (ids, mark, ())


def test_a_question_that_is_rolled_back_leaves_its_documents(engine: Engine) -> None:
    talk = engine.conversation([QUESTION])
    talk.add_documents([PASSAGE])
    talk.rollback(0)
    assert (talk.messages, talk.documents) == ((), (PASSAGE,))
    mark, ids = talk.mark, talk.ids
    talk.add("user", "Another one?")
    talk.rewind(mark)
    assert talk.ids == ids


def test_refused_documents_leave_the_question(engine: Engine) -> None:
    talk = engine.conversation([QUESTION], [PASSAGE])
    ids = talk.ids
    with pytest.raises(ConversationError, match="two documents have the id 'p1'"):
        talk.add_documents([PASSAGE])
    assert talk.ids == ids


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "documents", "back"]), st.integers(0, 9)),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
@pytest.mark.parametrize("plain", [True, False])
def test_any_earlier_place_can_be_gone_back_to(
    engine: Engine, plain: bool, steps: list[Step]
) -> None:
    """Whatever was added: going back to a place gives what stood there when it was read."""
    talk: Conversation | PlainTalk = PlainTalk() if plain else engine.conversation()
    places = [(talk.mark, shown(talk))]
    for number, (what, which) in enumerate(steps):
        if what == "back":
            del places[which % len(places) + 1 :]
            talk.rewind(places[-1][0])
            assert (talk.mark, shown(talk)) == places[-1]
            continue
        if what == "documents":
            talk.add_documents([Document(id=f"d{number}", text=f"Text {number}.")])
        else:
            talk.add(what, f"Words {number}.")  # type: ignore[arg-type]
        places.append((talk.mark, shown(talk)))


def shown(talk: Conversation | PlainTalk) -> object:
    """What a conversation is, to be compared."""
    parts = [(one.message, one.documents, one.ahead) for one in talk.since(0)]
    return parts, talk.ids if isinstance(talk, Conversation) else ()
