"""Build training data for certainty: the base model's own answers, marked right or wrong.

    python scripts/certainty_data.py DATA OUT

Asks the base model questions of DATA/{qa,choice} greedily, compares each answer with the
gold one, and writes OUT/{train,dev,test}.jsonl: the conversation with the answer, labelled
correct or incorrect, sources mixed. They are as often right as the model was: a probability that
was fitted to as many of each would mean nothing. Training rows then vary as `augment.py` tells.
Prints the base model's accuracy by source.
"""

from __future__ import annotations

import re
import string
import sys
from pathlib import Path
from random import Random
from typing import Any

import torch
from rich.progress import track

from augment import augmented
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.messages import Document, Message
from intrinsics.model import Row
from surroundings import distinct_passages
from variety import Row as Question
from variety import read, with_system, write

# How many questions of each source are asked for training: more where a model of this size is
# right often enough. One source is taken from one folder, since splits differ by folder.
QUOTAS = {
    ("qa", "BIG-bench QA wikidata"): 1500,
    ("qa", "WebQuestions"): 500,
    ("qa", "NQ-open dev"): 300,
    ("choice", "ARC-easy"): 300,
    ("choice", "CommonsenseQA"): 150,
    ("choice", "OpenBookQA"): 100,
    ("qa", "AdversarialQA droberta"): 120,
    ("qa", "AdversarialQA dbert"): 120,
    ("qa", "AdversarialQA dbidaf"): 120,
}
SHARES = {"train": 1.0, "dev": 0.25, "test": 0.4}  # of them, as far as there are so many
ANSWER_TOKENS = 24
TOGETHER = 32


def main() -> None:
    """Write the three splits."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    engine = Engine.load()
    for split in SHARES:
        questions = _questions(source, split)
        answers = _answer_all(engine, questions, split)
        rows = [_row(q, answer) for q, answer in zip(questions, answers, strict=True)]
        _report(split, rows)
        Random(1).shuffle(rows)
        if split == "train":
            rows = augmented(rows, distinct_passages(questions))
        write(target / f"{split}.jsonl", rows)


def _questions(source: Path, split: str) -> list[Question]:
    """Each source's share of the questions, as far as there are enough."""
    taken: list[Question] = []
    for (folder, name), quota in QUOTAS.items():
        found = [one for one in read(source / folder / f"{split}.jsonl") if one["source"] == name]
        Random(0).shuffle(found)
        taken += map(with_system, found[: round(quota * SHARES[split])])
    return taken


def _answer_all(engine: Engine, questions: list[Question], split: str) -> list[str]:
    """Greedy answers, many conversations in one forward, of similar length."""
    talks = []
    for question in questions:
        documents = [Document(**document) for document in question["documents"]]
        talks.append(engine.conversation([Message(**m) for m in question["messages"]], documents))
    order = sorted(range(len(talks)), key=lambda i: talks[i].length)
    answers = [""] * len(talks)
    batches = [order[i : i + TOGETHER] for i in range(0, len(order), TOGETHER)]
    for batch in track(batches, description=split):
        for i, text in zip(batch, _answer(engine, [talks[i] for i in batch]), strict=True):
            answers[i] = text
            talks[i].drop_reply()
            talks[i].rollback(0)
    return answers


@torch.inference_mode()
def _answer(engine: Engine, talks: list[Conversation]) -> list[str]:
    chat, ends = engine.chat, engine.model.end_ids | {engine.chat.end_id}
    replies: list[list[int]] = [[] for _ in talks]
    drafts = [talk.draft(talk.ids) for talk in talks]
    for talk, draft in zip(talks, drafts, strict=True):
        draft.ids += chat.reply_head(talk.roles)
    active = list(range(len(talks)))
    for _ in range(ANSWER_TOKENS):
        rows = [
            Row(pending, drafts[i].branch, read=(len(pending) - 1,), store=True)
            for i in active
            if (pending := drafts[i].pending)
        ]
        logits = engine.model.forward(rows)
        going = []
        for i, row in zip(active, logits, strict=True):
            token = int(row[0].argmax())
            if token not in ends:
                replies[i].append(token)
                drafts[i].ids.append(token)
                going.append(i)
        active = going
        if not active:
            break
    return [str(chat.tokenizer.decode(reply)).strip() for reply in replies]


def _row(question: Question, answer: str) -> dict[str, Any]:
    return {
        "id": question["id"],
        "messages": [*question["messages"], {"role": "assistant", "content": answer or "..."}],
        "documents": question["documents"],
        "label": "correct" if is_right(question, answer) else "incorrect",
        "source": question["source"],
        "license": question["license"],
    }


def is_right(question: Question, answer: str) -> bool:
    """Whether the answer gives the gold one: the chosen option, yes or no, or the words."""
    if "choices" in question:
        return chosen(question["choices"], answer) == str(question["answer"])
    if "answers" not in question:
        return normalised(answer).split()[:1] == [str(question["answer"])]
    padded = f" {normalised(answer)} "
    return any(
        f" {normalised(gold)} " in padded for gold in question["answers"] if normalised(gold)
    )


def chosen(choices: list[str], answer: str) -> str | None:
    """The option an answer picks: by its letter at the start, else the only one it quotes."""
    letter = re.match(r"\W*(?:the (?:correct )?answer is:?\s*)?([A-H])\b[.):]?", answer, re.I)
    if letter and (letter[1].isupper() or letter[0].endswith((".", ")", ":"))):
        return next((c for c in choices if c.startswith(f"{letter[1].upper()}.")), None)
    padded = f" {normalised(answer)} "
    quoted = [c for c in choices if f" {normalised(c[2:])} " in padded]
    return quoted[0] if len(quoted) == 1 else None


def normalised(text: str) -> str:
    """Lower case, without punctuation, articles and superfluous space."""
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(word for word in bare.split() if word not in {"a", "an", "the"})


def _report(split: str, rows: list[dict[str, Any]]) -> None:
    for _, source in QUOTAS:
        of_source = [row for row in rows if row["source"] == source]
        right = sum(row["label"] == "correct" for row in of_source)
        print(f"{split} {source}: {right} of {len(of_source)} right")


if __name__ == "__main__":
    main()
