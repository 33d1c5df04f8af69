"""Build training data for groundedness: answers in pairs that differ in one name, number or "not".

    python scripts/groundedness_data.py DATA OUT

HaluEval's made-up answers (DATA/groundedness, the qa part) are sentences and its right answers a
word or two, so that length gives them away. Here the right answer is put into the made-up sentence
in the place of the made-up name or number, or both are put into a sentence of ours; made-up answers
without such a name or number are left out. From SQuAD 2.0 (DATA/answerability): gold answers
against other answers, in the same words, and sentences of the passage against the same with a
number, a name or a negation changed. A pair has one source, so that the source tells nothing.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random

from corruption import (
    NEGATED,
    alike,
    changed_name,
    changed_number,
    differs_only_in,
    kind,
    made_up_span,
    names_of,
    negated,
)
from passages import content, mentions, sentences, take, words
from variety import Row, read, with_system, write

SHARES = {"train": 1.0, "dev": 0.22, "test": 0.3}
# Pairs of the training split, as far as there are enough.
PAIRS = {
    "HaluEval qa": 400,
    "SQuAD 2.0, answer from the passage": 240,
    "SQuAD 2.0, answer from elsewhere": 120,
    "SQuAD 2.0, answer's number": 100,
    "SQuAD 2.0, sentence's number": 100,
    "SQuAD 2.0, sentence's name": 120,
    "SQuAD 2.0, sentence's negation": 80,
}
FRAMES = (
    "{}",
    "{}.",
    "The answer is {}.",
    "According to the document, it is {}.",
    "It is {}.",
    "That would be {}, as the document says.",
)
ASKED = (
    "What does the document say?",
    "Tell me one thing from this text.",
    "What can I learn from the document?",
    "Give me one fact from the passage.",
    "Quote something of interest from it.",
    "Which fact in here should I remember?",
)
LONGEST = 150  # words of a passage
Pair = tuple[Row, Row]


def halueval(rows: list[Row]) -> Iterator[Pair]:
    """Right and made-up answers to one question, in the same sentence or both alone."""
    by_question: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        if row["source"] == "HaluEval qa":
            by_question[row["id"].rsplit("-", 1)[0]][row["label"]] = row
    for name, pair in by_question.items():
        if len(pair) == 2:
            question = pair["grounded"]["messages"][-2]["content"]
            passage = "\n".join(d["text"] for d in pair["grounded"]["documents"])
            right, wrong = (pair[x]["messages"][-1]["content"] for x in ("grounded", "ungrounded"))
            span = made_up_span(question, wrong)
            right = right.strip(" .")
            if not span or not alike(right, span[0]) or not mentions(passage, [right]):
                continue
            random = Random(f"frame {name}")
            texts = (wrong[: span.start()] + right + wrong[span.end() :], wrong)
            if not differs_only_in(span, f"{question} {passage}") or random.random() < 0.3:
                frame = random.choice(FRAMES)
                texts = (frame.format(right), frame.format(span[0]))
            yield _pair(pair["grounded"], name, question, texts, "HaluEval qa")


def answers(rows: list[Row]) -> Iterator[Pair]:
    """A gold answer and, in the same words, another of its kind."""
    articles: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["label"] == "answerable" and _short(row):
            articles[row["documents"][0]["id"]].append(row)
    for row in (row for article in articles.values() for row in article):
        random = Random(f"answer {row['id']}")
        gold = min(row["answers"], key=len).strip(" .")
        passage = row["documents"][0]
        others = [
            (min(o["answers"], key=len).strip(" ."), o["documents"][0]["text"] == passage["text"])
            for o in articles[passage["id"]]
            if _alike(row, o, gold)
        ]
        inside = [text for text, same in others if same]
        outside = [text for text, same in others if not same and not _in(text, passage["text"])]
        number = changed_number(gold, passage["text"], random)
        choices = [
            ("SQuAD 2.0, answer from the passage", inside),
            ("SQuAD 2.0, answer from elsewhere", outside),
            ("SQuAD 2.0, answer's number", [number] if number else []),
        ]
        possible = [(source, texts) for source, texts in choices if texts]
        if not possible:
            continue
        # Another answer of the passage is the hardest: it is taken wherever there is one.
        source, texts = possible[0] if inside else random.choice(possible)
        frame = random.choice(FRAMES)
        said = (frame.format(gold), frame.format(random.choice(texts)))
        yield _pair(row, row["id"], row["messages"][-1]["content"], said, source)


def statements(rows: list[Row]) -> Iterator[Pair]:
    """A sentence of a passage, and the same with one thing changed; a sentence is used once."""
    passages = {row["documents"][0]["text"]: row for row in rows if _short(row)}
    for passage, row in passages.items():
        names = names_of(passage)
        for i, sentence in enumerate(sentences(passage)):
            random = Random(f"sentence {passage} {i}")
            if not 8 <= len(words(sentence)) <= 32:
                continue
            changed = {
                "number": changed_number(sentence, passage, random),
                "name": changed_name(sentence, names, random),
                "negation": negated(sentence),
            }
            made = {what: text for what, text in changed.items() if text}
            if not made:
                continue
            # A negation that goes is rare and must balance those that come.
            what = "negation" if NEGATED.search(sentence) else random.choice(sorted(made))
            source = f"SQuAD 2.0, sentence's {what}"
            name = f"{row['id']}-sentence-{i}"
            yield _pair(row, name, random.choice(ASKED), (sentence, made[what]), source)


def _alike(row: Row, other: Row, gold: str) -> bool:
    text = min(other["answers"], key=len).strip(" .")
    taken = set().union(*map(content, row["answers"])) | content(row["messages"][-1]["content"])
    first = [words(one["messages"][-1]["content"])[:1] for one in (row, other)]
    same_question = first[0] == first[1] or kind(gold) == "name"
    return alike(gold, text) and same_question and not content(text) & taken


def _short(row: Row) -> bool:
    return len(words(row["documents"][0]["text"])) <= LONGEST


def _in(text: str, passage: str) -> bool:
    return mentions(passage, [text])


def _pair(row: Row, name: str, question: str, texts: tuple[str, str], source: str) -> Pair:
    document = {"id": "passage", "text": "\n".join(d["text"] for d in row["documents"])}
    made = [
        {
            "id": f"{name}-{label}",
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": text},
            ],
            "documents": [document],
            "label": label,
            "source": source,
            "license": row["license"],
        }
        for label, text in zip(("grounded", "ungrounded"), texts, strict=True)
    ]
    return made[0], made[1]


def _even_negations(pairs: list[Pair]) -> list[Pair]:
    """As many pairs that lose a "not" as pairs that gain one."""
    gone = [p for p in pairs if NEGATED.search(p[0]["messages"][-1]["content"])]
    come = [p for p in pairs if p not in gone]
    size = min(len(gone), len(come))
    return [*gone[:size], *come[:size]]


def build(halu: list[Row], squad: list[Row], split: str) -> list[Row]:
    """The rows of one split, in a random order."""
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in (*halueval(halu), *answers(squad), *statements(squad)):
        groups[pair[0]["source"]].append(pair)
    negations = "SQuAD 2.0, sentence's negation"
    groups[negations] = _even_negations(groups[negations])
    rows = [
        row
        for source, count in PAIRS.items()
        for row in take(groups[source], round(count * SHARES[split]), split)
    ]
    Random(split).shuffle(rows)
    return [with_system(row) for row in rows]


def main(source: Path, target: Path) -> None:
    """Write OUT/{train,dev,test}.jsonl."""
    for split in SHARES:
        halu = read(source / "groundedness" / f"{split}.jsonl")
        squad = read(source / "answerability" / f"{split}.jsonl")
        write(target / f"{split}.jsonl", build(halu, squad, split))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
