"""Changes that leave the truth: seeded, of the wording or of what stands around, never of both."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rewording
from augment import ASKS as TRAINED_ASKS
from augment import SAID as TRAINED_SAID
from conftest import tiny_engine, write_intrinsic
from intrinsics.data import Example
from intrinsics.errors import DataError
from intrinsics.messages import Document, Message
from intrinsics.spec import Definition
from paraphrase import keeps
from perturb import ASKS, CLAIMS, LANGUAGES, SAID, Contexts, perturbations, translated
from surroundings import among, question

TEXT = st.text(min_size=1).filter(str.strip)
POOL = [
    Document(id=article, text=f"{article} passage {i} tells of towns, mills and rivers.")
    for article in ("Alder", "Birch", "Cedar", "Doum")
    for i in range(6)
]
TRANSLATED = Path(__file__).parent.parent / "scripts" / "data" / "languages.jsonl"


def example(label: str = "yes", documents: int = 1, number: int = 0) -> Example:
    return Example(
        id=f"{label}-{documents}-{number}",
        messages=(
            Message(role="system", content="Be brief."),
            Message(role="user", content=f"Where is the big mill {number}?"),
        ),
        documents=tuple(
            Document(id=f"Own_{i}", text="The mill is here.") for i in range(documents)
        ),
        label=label,
    )


@given(text=TEXT, share=st.floats(0, 0.1), seed=st.integers(0, 99))
def test_typing_errors_are_letters_and_never_take_all(text: str, share: float, seed: int) -> None:
    typed = rewording.typos(text, share, Random(seed))
    assert typed.strip()
    assert typed == rewording.typos(text, share, Random(seed))

    def others(word: str) -> list[str]:
        return [character for character in word if not character.isalpha()]

    assert others(typed) == others(text)


@pytest.mark.parametrize("share", [0.02, 0.05, 0.10])
def test_as_many_letters_are_mistyped_as_asked(share: float) -> None:
    text = "abcdefghij" * 20
    changed = [rewording.typos(text, share, Random(seed)) for seed in range(30)]
    lengths = Counter(len(one) - len(text) for one in changed)
    assert max(map(abs, lengths)) <= share * len(text)
    same = rewording.typos(text, share, Random(1))
    assert same != text and same != rewording.typos(text, share, Random(2))


def test_an_option_of_a_choice_keeps_its_letter() -> None:
    for seed in range(20):
        typed = rewording.typos("A. oak\nB. elm", 0.5, Random(seed))
        assert typed.startswith("A. ") and "\nB. " in typed


@given(text=TEXT, seed=st.integers(0, 99))
def test_a_rewording_is_never_empty(text: str, seed: int) -> None:
    for new in (
        rewording.lower_bare(text),
        rewording.terse(text),
        rewording.synonyms(text),
        rewording.polite(text, Random(seed)),
    ):
        assert new.strip()


@pytest.mark.parametrize(
    ("reword", "text", "expected"),
    [
        (rewording.lower_bare, "Is 3.5 more, or less?", "is 3.5 more or less"),
        (rewording.terse, "Hi, can you tell me where the mill is?", "where mill is"),
        (rewording.terse, "Pick the best.\nA. the sun", "Pick best\nA. the sun"),
        (rewording.synonyms, "What's a big Big Ben?", "What is a large Big Ben?"),
        (rewording.synonyms, "Do not go.", "Don't go."),
        (rewording.synonyms, "Nothing here", "Nothing here"),
    ],
)
def test_what_a_rule_makes_of_a_text(reword: object, text: str, expected: str) -> None:
    assert callable(reword)
    assert reword(text) == expected


def test_an_opener_fits_what_it_opens() -> None:
    told = {rewording.polite("Write a poem.", Random(seed)) for seed in range(20)}
    assert told == {one.format("write a poem.") for one in rewording.REQUESTS}
    asked = {rewording.polite("Who won?", Random(seed)) for seed in range(40)}
    assert asked == {one.format("Who won?") for one in rewording.OPENERS}


@pytest.mark.parametrize(
    ("original", "other", "passes"),
    [
        ("Who painted the ceiling?", "Which artist painted the ceiling?", True),
        ("Who painted the ceiling?", "Who painted the ceiling?", False),
        ("Who painted the ceiling?", "Michelangelo painted the ceiling.", False),
        ("When did Anna leave in 1931?", "When did she leave in 1931?", False),
        ("When did Anna leave in 1931?", "In what month of 1931 did Anna leave?", True),
        ("When did Anna leave?", "When did Anna leave in 1931?", False),
        ("Who painted the ceiling?", "What is your favourite fish dish today?", False),
        ("Who painted the ceiling?", "", False),
    ],
)
def test_a_paraphrase_keeps_names_numbers_and_subject(
    original: str, other: str, passes: bool
) -> None:
    assert keeps(original, other) is passes


def definition(folder: Path, documents: str = "optional", name: str = "judge") -> Definition:
    return Definition.load(write_intrinsic(tiny_engine(), folder, name, documents=documents))


@pytest.mark.parametrize("documents", ["none", "optional", "required"])
def test_a_change_is_seeded_and_leaves_label_and_question_or_surroundings(
    tmp_path: Path, documents: str
) -> None:
    one = definition(tmp_path, documents)
    contexts = Contexts(tiny_engine().chat, POOL, (100, 200))
    changes = perturbations(one, contexts)
    assert len({change.name for change in changes}) == len(changes)
    for row in (example("no"), example("yes", 0), example("yes", 2)):
        for change in changes:
            pair = change.change(row)
            assert change.change(row) == pair
            if pair is None:
                continue
            before, after = pair
            assert before.label == after.label == row.label
            assert before != after
            asks = question(before) == question(after)
            assert asks == (not change.name.startswith("question") and change.kind != "wording")
            if change.kind == "wording":
                assert before.documents == after.documents
            ids = [document.id for document in after.documents]
            assert len(set(ids)) == len(ids), "the engine takes each id once"
            assert len(after.documents) == 0 or documents != "none" or row.documents


def test_injected_text_names_the_truth_or_another_label(tmp_path: Path) -> None:
    changes = {
        change.name: change.change
        for change in perturbations(
            definition(tmp_path), Contexts(tiny_engine().chat, POOL, (100,))
        )
    }
    for truth, other in (("yes", "no"), ("no", "yes")):
        for direction, label in (("towards", truth), ("against", other)):
            for name, said in SAID.items():
                text = said.format(name="judge", label=label)
                pair = changes[f"question_{name}_{direction}"](example(truth))
                assert pair is not None and question(pair[1]).endswith(f"\n{text}")
                pair = changes[f"document_{name}_{direction}"](example(truth, 0))
                assert pair is not None and pair[1].documents[-1].text.endswith(f" {text}")
                assert len(pair[0].documents) == 1, "only the text is new"


def test_the_document_that_matters_stands_in_every_place(tmp_path: Path) -> None:
    contexts = Contexts(tiny_engine().chat, POOL, (100,))
    changes = {one.name: one.change for one in perturbations(definition(tmp_path), contexts)}
    own = example().documents[0]
    for place, name in enumerate(("first", "middle", "last")):
        pair = changes[f"three_documents_{name}"](example())
        assert pair is not None
        assert [document == own for document in pair[1].documents].index(True) == place
        assert len(pair[1].documents) == 3
    assert changes["three_documents_first"](example(documents=2)) is None


def test_an_intrinsic_that_judges_one_document_gets_no_other(tmp_path: Path) -> None:
    one = definition(tmp_path, "required", "context_relevance")
    kinds = {
        change.kind for change in perturbations(one, Contexts(tiny_engine().chat, POOL, (60,)))
    }
    assert "documents" not in kinds
    for change in perturbations(one, Contexts(tiny_engine().chat, POOL, (60,))):
        pair = change.change(example())
        assert pair is None or len(pair[1].documents) == 1


def test_a_verdict_in_a_message_is_not_tried_where_it_is_the_truth(tmp_path: Path) -> None:
    one = definition(tmp_path, name="jailbreak")
    names = {
        change.name for change in perturbations(one, Contexts(tiny_engine().chat, POOL, (60,)))
    }
    assert not [name for name in names if name.startswith("question")]
    assert [name for name in names if name.startswith("document_order")]


@pytest.mark.parametrize("as_turns", [True, False])
def test_a_context_is_as_long_as_told_and_begins_like_the_longer_one(as_turns: bool) -> None:
    engine = tiny_engine()
    contexts = Contexts(engine.chat, POOL, (100, 200, 300))
    for row in (example(), example(documents=0)):
        told = [contexts.told(row, as_turns, tokens) for tokens in (100, 200, 300)]
        texts = ["".join(d.text for d in one or ()) for one in told]
        assert texts[2].startswith(texts[1]) and texts[1].startswith(texts[0])
        for one, tokens in zip(told, (100, 200, 300), strict=True):
            assert one is not None
            length = engine.conversation(documents=among(row, one, len(one)).documents).length
            alone = engine.conversation(documents=row.documents).length
            if not as_turns and row.documents:
                assert tokens - 40 <= length - alone <= tokens + 20


def test_a_context_has_no_passage_of_the_rows_own_articles() -> None:
    contexts = Contexts(tiny_engine().chat, POOL, (150,))
    for article in ("Alder", "Birch", "Cedar", "Doum"):
        row = example().model_copy(update={"documents": (Document(id=article, text="Own."),)})
        told = contexts.told(row, False, 150)
        assert told and article not in {document.id for document in told}


def test_too_few_passages_for_a_context_are_told() -> None:
    with pytest.raises(DataError, match=r"passages make \d+ tokens, but 5000 are wanted"):
        Contexts(tiny_engine().chat, POOL, (5000,))


@pytest.mark.parametrize("intrinsic", ["safety", "answerability"])
def test_every_translation_has_its_original_and_its_label(intrinsic: str) -> None:
    pairs = translated(TRANSLATED, intrinsic)
    assert list(pairs) == [f"language_{code}" for code in LANGUAGES]
    for language in pairs.values():
        assert len(language) == 16
        assert set(Counter(after.label for _, after in language).values()) == {8}
        for before, after in language:
            assert before.label == after.label and "-en-" in before.id
            assert question(before) != question(after)
    ids = [json.loads(line)["id"] for line in TRANSLATED.read_text().splitlines()]
    assert len(set(ids)) == len(ids)


def test_what_is_measured_with_is_not_what_is_trained_on() -> None:
    measured = {*SAID.values(), *CLAIMS.values()}
    assert not measured & set(TRAINED_SAID)
    assert not set(ASKS) & set(TRAINED_ASKS)
