"""A reply in progress, dropped, cut short or empty: the conversation is always a whole past."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import check_integrity, tiny_engine, tiny_network, tiny_tokenizer, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.errors import ContextTooLong, ConversationError
from intrinsics.messages import Document, Message
from intrinsics.model import Model
from intrinsics.sampling import Sampling

HELLO = Message(role="user", content="Hello?")
LONG = Sampling(max_tokens=400)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = tiny_engine()
    write_intrinsic(engine, tmp_path, "judge")
    engine.catalogue = Catalogue([tmp_path])
    return engine


@pytest.mark.parametrize(
    "call",
    [
        lambda e, t: t.add("user", "More."),
        lambda e, t: t.add_documents([Document(id="a", text="A.")]),
        lambda e, t: t.rollback(0),
        lambda e, t: e.stream(t),
    ],
)
def test_nothing_else_changes_a_conversation_in_mid_reply(
    engine: Engine, call: Callable[[Engine, Conversation], object]
) -> None:
    talk = engine.conversation([HELLO])
    before = talk.ids
    generation = engine.stream(talk, LONG)
    next(generation)
    with pytest.raises(ConversationError, match="a reply is being generated"):
        call(engine, talk)
    generation.close()
    assert talk.ids == before
    assert engine.call(talk, "judge").value in ("yes", "no")


def test_a_dropped_generation_is_undone_at_once(engine: Engine) -> None:
    talk = engine.conversation([HELLO])
    before = talk.ids
    for _ in engine.stream(talk, LONG):
        break
    assert talk.ids == before
    talk.add("user", "Something else.")
    check_integrity(engine)


def test_a_reply_ends_within_the_context_and_can_be_judged_by_length(engine: Engine) -> None:
    talk = engine.conversation([Message(role="user", content="x" * 440)])
    reply = engine.generate(talk, LONG)
    assert reply.finish == "length"
    assert talk.length == engine.model.context_tokens
    engine.prefill(talk)


def test_without_room_for_a_reply_nothing_is_computed(engine: Engine) -> None:
    talk = engine.conversation([Message(role="user", content="x" * 492)])
    before, forwards = talk.ids, engine.model.forwards
    with pytest.raises(ContextTooLong, match="leave no room for a reply"):
        engine.generate(talk, LONG)
    assert (talk.ids, engine.model.forwards) == (before, forwards)


def test_a_blank_reply_is_an_error_and_leaves_no_message(engine: Engine) -> None:
    talk = engine.conversation([HELLO])
    first = engine.generate(talk.fork(), Sampling(max_tokens=4)).text
    with pytest.raises(ConversationError, match=r"the reply is empty: .* \(stop\)"):
        engine.generate(talk, Sampling(max_tokens=4, stop=(first[:1],)))
    assert talk.messages == (HELLO,)


def test_a_stop_string_keeps_what_was_computed_before_it(engine: Engine) -> None:
    free = engine.generate(engine.conversation([HELLO]), Sampling(max_tokens=20))
    talk = engine.conversation([HELLO])
    reply = engine.generate(talk, Sampling(max_tokens=20, stop=(free.text[8:10],)))
    assert reply.finish == "stop"
    head = engine.conversation([HELLO]).length
    assert talk.cached >= head + len(reply.ids)


def test_a_template_that_opens_a_reply_with_nothing_works() -> None:
    template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}[{{ m['content'] }}]"
        "{% else %}{{ m['content'] }}<|im_end|>{% endif %}{% endfor %}"
    )
    engine = Engine(Model(tiny_network()), tiny_tokenizer(template), Catalogue())
    talk, twin = engine.conversation([HELLO]), engine.conversation([HELLO])
    engine.prefill(talk)
    assert talk.pending == ()
    found = engine.generate(talk, Sampling(max_tokens=8))
    assert found.ids == engine.generate(twin, Sampling(max_tokens=8)).ids


def test_two_replies_in_turn_count_their_own_forwards(engine: Engine) -> None:
    one, two = (engine.stream(engine.conversation([HELLO]), LONG) for _ in range(2))
    for _ in range(3):
        next(one)
        next(two)
    pieces = [list(generation) for generation in (one, two)]
    assert pieces[0] == pieces[1]
    assert one.reply.ledger.forwards == two.reply.ledger.forwards
    assert one.reply.ledger.computed == two.reply.ledger.computed


def test_texts_and_controls_are_encoded_apart_in_many_threads(engine: Engine) -> None:
    """transformers keeps the way to split on the tokenizer that all threads share."""
    chat, wrong = engine.chat, []
    control = chat.control("<|im_start|>")
    stop = threading.Event()

    def controls() -> None:
        while not stop.is_set():
            if chat.control("<|im_start|>") != control:
                wrong.append("control")

    thread = threading.Thread(target=controls)
    thread.start()
    for _ in range(2000):
        if control[0] in chat.text("<|im_start|>judge"):
            wrong.append("text")
    stop.set()
    thread.join()
    assert wrong == []


def test_forks_and_appends_of_two_threads_do_not_disturb_each_other(engine: Engine) -> None:
    talk = engine.conversation([HELLO])
    engine.prefill(talk)
    expected = engine.generate(talk.fork(), Sampling(max_tokens=60)).ids
    stop, failed = threading.Event(), []

    def forking() -> None:
        try:
            while not stop.is_set():
                fork = talk.fork()
                fork.add("user", "More.")
                fork.rollback(0)
                assert engine.kv_bytes > 0
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=forking)
    thread.start()
    found = [engine.generate(talk.fork(), Sampling(max_tokens=60)).ids for _ in range(5)]
    stop.set()
    thread.join()
    assert failed == []
    assert found == [expected] * 5
    check_integrity(engine)


def test_control_tokens_that_are_not_special_stay_text_too() -> None:
    tokenizer = tiny_tokenizer(
        "{% for m in messages %}<tool>{{ m['role'] }}\n{{ m['content'] }}</tool>{% endfor %}"
        "{% if add_generation_prompt %}<tool>assistant\n{% endif %}"
    )
    tokenizer.add_tokens(["<tool>", "</tool>"])
    engine = Engine(Model(tiny_network()), tokenizer, Catalogue())
    ids = engine.chat.text("a </tool> b")
    assert not set(ids) & set(engine.chat.control("<tool></tool>"))
    assert tokenizer.decode(ids) == "a </tool> b"
