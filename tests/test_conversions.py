"""Records written for these tests, in the form of each public data set, and the rows they give."""

from __future__ import annotations

from typing import Any

import pytest

import conversions as to
from splits import Keyed, bare


def only(rows: list[Keyed]) -> tuple[dict[str, Any], tuple[str, ...]]:
    [row] = rows
    return row.row, row.keys


def content(row: dict[str, Any]) -> str:
    [message] = row["messages"]
    assert message["role"] == "user"
    return str(message["content"])


OPTIONS = "A. a lamp\nB. a list\nof two lines\nC. a boat "


def test_choice_keeps_options_of_several_lines_whole() -> None:
    record = {"passage": "Mia rows. ", "question": "In what?", "options": OPTIONS}
    row, keys = only(to.choice(4, {**record, "answer": "C. a boat "}, "boats"))
    assert row["id"] == "boats-4"
    assert row["choices"] == ["A. a lamp", "B. a list\nof two lines", "C. a boat"]
    assert row["answer"] == "C. a boat"
    assert content(row) == "Mia rows. In what?\nA. a lamp\nB. a list\nof two lines\nC. a boat"
    assert keys == ("Mia rows. In what?", "miarowsinwhat")
    assert to.choice(4, {**record, "answer": "D. no option"}, "boats") == []


@pytest.mark.parametrize("names", [["A", "B"], ["1", "2"]])
def test_arc_letters_its_options(names: list[str]) -> None:
    record = {
        "question": "What floats?",
        "choices": {"text": ["lead", "cork"], "label": names},
        "answerKey": names[1],
    }
    row, _ = only(to.arc(0, record))
    assert content(row) == "What floats?\nA. lead\nB. cork"
    assert (row["id"], row["answer"]) == ("arceasy-0", "B. cork")


def test_boolq_reads_only_what_has_an_answer() -> None:
    record: dict[str, Any] = {"question": "is cork wood", "passage": "Cork -- Cork is bark."}
    assert to.boolq(0, record) == []
    row, keys = only(to.boolq(0, {**record, "label": False}))
    assert (content(row), row["answer"]) == ("Is cork wood?", "no")
    assert row["documents"] == [{"id": "passage", "text": "Cork -- Cork is bark."}]
    assert keys == ("Cork -- Cork is bark.", "iscorkwood")
    assert row["id"] == f"boolq-{to.number('is cork woodCork -- Cork is bark.')}"


def test_open_questions_have_a_question_mark_and_each_answer_once() -> None:
    record = {"question": "who rows", "answer": ["Mia", "Mia", "M."]}
    row, keys = only(to.open_question(7, record, "nq"))
    assert row == {
        "id": "nq-7",
        "documents": [],
        "messages": [{"role": "user", "content": "who rows?"}],
        "answers": ["Mia", "M."],
    }
    assert keys == ("who rows", "whorows")
    assert to.open_question(7, {"question": "who rows", "answer": []}, "nq") == []
    assert content(only(to.benign_search(7, record, "nq"))[0]) == "who rows?"


def test_questions_of_the_hub_keep_their_answers() -> None:
    row, _ = only(to.web_question(1, {"question": "who rows?", "answers": ["Mia"]}, "webq"))
    assert (content(row), row["answers"]) == ("who rows?", ["Mia"])
    row, _ = only(to.wikidata(1, {"inputs": "Mia rows a ", "targets": ["boat"]}))
    assert content(row) == "Complete the sentence with one name or word: Mia rows a ..."
    spans = {"text": ["Mia", "Mia"], "answer_start": [0, 0]}
    record = {"question": " Who rows?", "context": "Mia rows.", "answers": spans}
    row, keys = only(to.passage_question(1, record))
    assert (row["answers"], keys) == (["Mia"], ("Mia rows.", "miarows"))
    row, _ = only(to.hotpot(3, {"question": "Who rows?", "right_answer": "Mia", "knowledge": "x"}))
    assert (row["id"], row["answers"], row["documents"]) == ("hotpotqa-3", ["Mia"], [])


@pytest.mark.parametrize(("found", "label"), [(["Mia"], "answerable"), ([], "unanswerable")])
def test_squad_is_split_by_article(found: list[str], label: str) -> None:
    record = {"id": "5", "title": "Rowing", "context": "Mia rows.", "question": "Who rows? "}
    row, keys = only(to.squad(0, {**record, "answers": {"text": found}}))
    assert row["documents"] == [{"id": "Rowing", "text": "Mia rows."}]
    assert (row["label"], row["answers"], keys[0]) == (label, found, "Rowing")


@pytest.mark.parametrize(("answer", "label"), [("Mia", "answerable"), ("unknown", "unanswerable")])
def test_disfluent_questions_are_written_as_one_writes(answer: str, label: str) -> None:
    record = {
        "passage": "Mia ' s boat ( 4 . 5 m ) won in 1999 , 2001 and 2004 with 1 , 200 others .",
        "question": "Who won no I mean who ' s in it ?",
        "answer": answer,
    }
    row, keys = only(to.disfluent(2, record))
    passage = "Mia's boat (4.5 m) won in 1999, 2001 and 2004 with 1,200 others."
    assert row["documents"][0]["text"] == passage
    assert content(row) == "Who won no I mean who's in it?"
    assert row["label"] == label and row["answers"] == ([] if answer == "unknown" else [answer])
    assert keys == (bare(passage),)


def test_halueval_gives_a_grounded_and_an_ungrounded_row() -> None:
    record = {
        "knowledge": " Mia rows.",
        "question": "Who rows?",
        "right_answer": "Mia",
        "hallucinated_answer": "Leo rows.",
    }
    rows = to.halueval_qa(3, record)
    assert [(r.row["id"], r.row["label"], r.row["messages"][-1]["content"]) for r in rows] == [
        ("halueval-qa-3-grounded", "grounded", "Mia"),
        ("halueval-qa-3-ungrounded", "ungrounded", "Leo rows."),
    ]
    assert rows[0].row["documents"] == [{"id": "knowledge", "text": "Mia rows."}]
    assert rows[0].keys == rows[1].keys == (" Mia rows.", "whorows")


def test_halueval_dialogues_are_read_turn_by_turn() -> None:
    record = {
        "knowledge": "Mia rows.",
        "dialogue_history": "[Human]: Hi! [Assistant]: Hello. [Human]: Who rows? ",
        "right_response": "Mia does. ",
        "hallucinated_response": "Leo does.",
    }
    grounded, _ = to.halueval_dialogue(0, record)
    assert [(m["role"], m["content"]) for m in grounded.row["messages"]] == [
        ("user", "Hi!"),
        ("assistant", "Hello."),
        ("user", "Who rows?"),
        ("assistant", "Mia does."),
    ]
    assert to.halueval_dialogue(0, {**record, "dialogue_history": "[Human]: "}) == []
    assert to.halueval_dialogue(0, {**record, "right_response": " "}) == []


def test_prompts_are_safe_or_unsafe() -> None:
    row, _ = only(to.unsafe(1, {"prompt": " Break it! "}, "x", "tools", "prompt"))
    assert (row["id"], row["label"], row["categories"]) == ("x-1", "unsafe", ["tools"])
    assert content(row) == "Break it!"
    assert len(content(only(to.jailbreak(0, {"text": "ab" * 2000}))[0])) == 1400
    task = {"instruction": "Sum up.", "instances": [{"input": "A boat.", "output": "Boat"}]}
    row, _ = only(to.benign(2, task, "task", "instruction"))
    assert (content(row), row["label"], row["categories"]) == ("Sum up.\nA boat.", "safe", [])
    assert to.unsafe(1, {"prompt": " "}, "x", "tools", "prompt") == []


@pytest.mark.parametrize(
    ("marks", "label", "categories"),
    [
        ({"S": 0, "V": 1, "V2": 1}, "unsafe", ["violence", "violence/graphic"]),
        ({"S": 0}, "safe", []),
    ],
)
def test_moderation_names_what_people_marked(
    marks: dict[str, int], label: str, categories: list[str]
) -> None:
    row, _ = only(to.moderation(0, {"prompt": "A text.", **marks}))
    assert (row["label"], row["categories"]) == (label, categories)


def test_rewrites_keep_the_user_turns_and_the_conversation_together() -> None:
    record = {
        "Context": ["Who rows?", "Mia does."],
        "Question": "Where?",
        "Rewrite": "Where does Mia row? ",
        "Conversation_no": 3,
        "Turn_no": 2,
    }
    row, keys = only(to.rewrite(0, record))
    assert [message["content"] for message in row["messages"]] == ["Who rows?", "Where?"]
    assert (row["rewrite"], row["id"], keys) == ("Where does Mia row?", "qrecc-3_2", ("qrecc-3",))
    assert to.rewrite(0, {**record, "Rewrite": ""}) == []
