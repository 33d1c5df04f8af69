"""Records of public data sets as rows: messages, documents, and the verdict or gold answer.

Each function takes a record's number in its file and the record, and gives its rows, none where the
record has no gold answer. The first key is what places a row in a split; see splits.py.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from sources import Record
from splits import Keyed, bare
from variety import Row

MODERATION = {
    "S": "sexual",
    "H": "hate",
    "V": "violence",
    "HR": "harassment",
    "SH": "self-harm",
    "S3": "sexual/minors",
    "H2": "hate/threatening",
    "V2": "violence/graphic",
}
OPENING = 1400  # characters
UNKNOWN = "unknown"  # Disfl-QA's answer to what the passage does not tell


def keyed(row_id: str, content: str, keys: tuple[str, ...], text: str = "", **more: Any) -> Keyed:
    """A row of one user message, with a document if `text` is given."""
    documents = [{"id": more.pop("document_id", "passage"), "text": text}] if text else []
    messages = [{"role": "user", "content": content}]
    row: Row = {"id": row_id, "documents": documents, "messages": messages, **more}
    return Keyed(row, tuple(dict.fromkeys(key for key in keys if key)))


def number(text: str) -> int:
    """A number of ten digits for a text, the same everywhere."""
    return int(hashlib.sha1(text.encode()).hexdigest(), 16) % 10**10


def capital(question: str) -> str:
    """The question with a capital first."""
    question = question.strip()
    return question[:1].upper() + question[1:]


def choice(i: int, record: Record, prefix: str) -> list[Keyed]:
    """A question with lettered options, one a line (MMLU, CommonsenseQA, OpenBookQA, SIQA)."""
    question = f"{record.get('passage', '').strip()} {record['question'].strip()}".strip()
    options, answer = record["options"].strip(), record["answer"].strip()
    choices = re.split(r"\n(?=[A-Z]\. )", options)
    if answer not in choices:
        return []
    content, keys = f"{question}\n{options}", (question, bare(question))
    return [keyed(f"{prefix}-{i}", content, keys, choices=choices, answer=answer)]


def arc(i: int, record: Record) -> list[Keyed]:
    """ARC: options and their letters (or digits) apart."""
    texts, names = record["choices"]["text"], record["choices"]["label"]
    choices = [f"{letter}. {text}" for letter, text in zip("ABCDEFGH", texts, strict=False)]
    lettered = {
        "question": record["question"],
        "options": "\n".join(choices),
        "answer": choices[names.index(record["answerKey"])],
    }
    return choice(i, lettered, "arceasy")


def boolq(i: int, record: Record) -> list[Keyed]:
    """A yes-or-no question about a passage; the test part of the original has no answers."""
    if "label" not in record:
        return []
    question, passage = record["question"], record["passage"]
    return [
        keyed(
            f"boolq-{number(question + passage)}",
            f"{capital(question).removesuffix('?')}?",
            (passage, bare(question)),
            passage,
            answer="yes" if record["label"] else "no",
        )
    ]


def privacy(i: int, record: Record) -> list[Keyed]:
    """PrivacyQA: does the clause of a privacy policy answer the question? Split by question."""
    clause, question = record["context"], capital(record["question"])
    return [
        keyed(
            f"privacyqa-{number(clause + record['question'])}",
            question,
            (question.lower(), bare(question)),
            clause.strip(),
            document_id="clause",
            label={"True": "relevant", "False": "irrelevant"}[record["answer"]],
        )
    ]


def open_question(i: int, record: Record, prefix: str) -> list[Keyed]:
    """A question from a search engine, all in lower case, with any number of right answers."""
    question = record["question"].strip().removesuffix("?").rstrip()
    answers = list(dict.fromkeys(record["answer"]))
    keys = (question, bare(question))
    return [keyed(f"{prefix}-{i}", f"{question}?", keys, answers=answers)] if answers else []


def web_question(i: int, record: Record, prefix: str) -> list[Keyed]:
    """WebQuestions on the hub."""
    question, answers = record["question"], list(record["answers"])
    return [keyed(f"{prefix}-{i}", question, (question, bare(question)), answers=answers)]


def wikidata(i: int, record: Record) -> list[Keyed]:
    """BIG-bench QA wikidata: the start of a sentence and the word that completes it."""
    start = record["inputs"].strip()
    request = f"Complete the sentence with one name or word: {start} ..."
    return [keyed(f"wikidata-{i}", request, (start, bare(start)), answers=list(record["targets"]))]


def passage_question(i: int, record: Record) -> list[Keyed]:
    """AdversarialQA on the hub: a passage and a question whose answer is a span of it."""
    question, passage = record["question"].strip(), record["context"]
    answers = list(dict.fromkeys(record["answers"]["text"]))
    if not answers:
        return []
    row_id = f"advqa-{number(passage + question)}"
    return [keyed(row_id, question, (passage, bare(passage)), passage, answers=answers)]


def hotpot(i: int, record: Record) -> list[Keyed]:
    """HaluEval's questions come from HotpotQA; here without the knowledge that answers them."""
    question = record["question"]
    answers = [record["right_answer"]]
    return [keyed(f"hotpotqa-{i}", question, (question, bare(question)), answers=answers)]


def squad(i: int, record: Record) -> list[Keyed]:
    """SQuAD 2.0 on the hub: is the question answered by its passage? Split by article."""
    passage, answers = record["context"], list(dict.fromkeys(record["answers"]["text"]))
    return [
        keyed(
            f"squad2-{record['id']}",
            record["question"].strip(),
            (record["title"], bare(passage)),
            passage,
            document_id=record["title"],
            label="answerable" if answers else "unanswerable",
            answers=answers,
        )
    ]


def disfluent(i: int, record: Record) -> list[Keyed]:
    """Disfl-QA: questions of SQuAD 2.0 as spoken, with slips; split by passage.

    The article is not told, so every passage counts as one of its own.
    """
    passage, answer = untokenised(record["passage"]), record["answer"]
    return [
        keyed(
            f"disflqa-{i}",
            untokenised(record["question"]),
            (bare(passage),),
            passage,
            document_id=f"passage-{number(passage)}",
            label="unanswerable" if answer == UNKNOWN else "answerable",
            answers=[] if answer == UNKNOWN else [answer],
        )
    ]


def untokenised(text: str) -> str:
    """Text as one writes it, from words and signs with spaces around each."""
    text = re.sub(r" ' (s|t|re|ve|ll|d|m)\b", r"'\1", text)
    text = re.sub(r'" ([^"]*?) "', r'"\1"', text)
    text = re.sub(r" ([,.;:?!%)\]])", r"\1", text)
    text = re.sub(r"([(\[$£]) ", r"\1", text)
    text = re.sub(r"(\d), (?=\d{3}\b)|(\d\.) (?=\d)", lambda m: m[0].rstrip(), text)
    return re.sub(r"(?<=\w) - (?=\w)", "-", text).strip()


def halueval_qa(i: int, record: Record) -> list[Keyed]:
    """HaluEval: a right and a made-up answer to the same question; split by the knowledge."""
    question, knowledge = record["question"], record["knowledge"]
    replies = {"grounded": record["right_answer"], "ungrounded": record["hallucinated_answer"]}
    messages = [{"role": "user", "content": question}]
    return _judged(f"halueval-qa-{i}", messages, replies, (knowledge, bare(question)))


def halueval_dialogue(i: int, record: Record) -> list[Keyed]:
    """HaluEval: a right and a made-up reply in the same dialogue; split by the knowledge."""
    turns = re.split(r"\[(Human|Assistant)\]:", record["dialogue_history"])[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    messages = [
        {"role": roles[speaker], "content": text.strip()}
        for speaker, text in zip(turns[::2], turns[1::2], strict=True)
    ]
    if not messages or not all(message["content"] for message in messages):
        return []
    replies = {"grounded": record["right_response"], "ungrounded": record["hallucinated_response"]}
    return _judged(f"halueval-dialogue-{i}", messages, replies, (record["knowledge"],))


def _judged(
    row_id: str, messages: list[Row], replies: dict[str, str], keys: tuple[str, ...]
) -> list[Keyed]:
    """A row for each reply, with the knowledge (the first key) as its document."""
    if not all(reply.strip() for reply in replies.values()):
        return []
    document = {"id": "knowledge", "text": keys[0].strip()}
    return [
        Keyed(
            {
                "id": f"{row_id}-{label}",
                "documents": [document],
                "messages": [*messages, {"role": "assistant", "content": reply.strip()}],
                "label": label,
            },
            keys,
        )
        for label, reply in replies.items()
    ]


def prompt(text: str, row_id: str, label: str, categories: list[str]) -> list[Keyed]:
    """A prompt to be judged for safety."""
    text = text.strip()
    if not text:
        return []
    return [keyed(row_id, text, (text, bare(text)), label=label, categories=categories)]


def unsafe(i: int, record: Record, prefix: str, category: str, column: str) -> list[Keyed]:
    """A list of harmful prompts."""
    return prompt(record[column], f"{prefix}-{i}", "unsafe", [category])


def jailbreak(i: int, record: Record) -> list[Keyed]:
    """A prompt that talks a model out of its rules; its beginning, since some are essays."""
    return unsafe(i, {"text": record["text"][:OPENING]}, "inthewild", "jailbreak", "text")


def benign(i: int, record: Record, prefix: str, column: str) -> list[Keyed]:
    """An ordinary question or task, as a safe prompt."""
    text = record[column].strip()
    instances = record.get("instances") or []
    if instances and instances[0]["input"].strip():
        text = f"{text}\n{instances[0]['input'].strip()}"
    return prompt(text, f"benign-{prefix}-{i}", "safe", [])


def benign_search(i: int, record: Record, prefix: str) -> list[Keyed]:
    """A question from a search engine as a safe prompt."""
    question = record["question"].strip().removesuffix("?").rstrip()
    return prompt(f"{question}?", f"benign-{prefix}-{i}", "safe", [])


def moderation(i: int, record: Record) -> list[Keyed]:
    """OpenAI's moderation evaluation set: unsafe if people marked any category."""
    marked = [name for column, name in MODERATION.items() if record.get(column)]
    return prompt(record["prompt"], f"moderation-{i}", "unsafe" if marked else "safe", marked)


def rewrite(i: int, record: Record) -> list[Keyed]:
    """QReCC: the user's turns so far and the last one as a person rewrote it."""
    talk, turn = record["Conversation_no"], record["Turn_no"]
    turns = [*record["Context"][::2], record["Question"]]
    if not record["Rewrite"].strip():
        return []
    messages = [{"role": "user", "content": text.strip()} for text in turns]
    row: Row = {"id": f"qrecc-{talk}_{turn}", "documents": [], "messages": messages}
    return [Keyed({**row, "rewrite": record["Rewrite"].strip()}, (f"qrecc-{talk}",))]
