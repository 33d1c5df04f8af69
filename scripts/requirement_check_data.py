"""Build training data for requirement_check: requirements a program can check, on replies at hand.

    python scripts/requirement_check_data.py DATA OUT

Replies are made of sentences and gold answers of DATA/answerability (SQuAD 2.0), as they are, in
capitals or small letters, as a list, as JSON, with a greeting or a question, and of the sentences
in other languages of scripts/data. Rows come in fours: two replies and two requirements, the first
met by the first reply only and the second by the second only. So each reply and each requirement
is seen with both labels, and neither gives the label away. OUT/test_unseen.jsonl holds wordings
and whole kinds of requirement that training never saw.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from passages import mentions, sentences, words
from requirements import KINDS, Reply
from variety import Row, read, with_system, write

FOURS = {"train": 500, "dev": 90, "test": 125}
UNSEEN = {"unseen wording": 50, "unseen kind": 75}
PHRASINGS = Path(__file__).parent / "data" / "requirement_phrasings.json"
LANGUAGES = Path(__file__).parent / "data" / "other_languages.jsonl"
TRIES = 400  # pairs of replies tried for one requirement
CLOSINGS = (
    "Does that help?",
    "Would you like to know more?",
    "Shall I go on?",
    "Is there anything else?",
    "Which part interests you most?",
)
GREETINGS = ("Dear Sir or Madam,", "Dear reader,", "To whom it may concern,", "Dear colleagues,")
CASUAL = ("Hi there,", "Hey,", "Hello friend,", "Yo,", "What's up,")
EXCLAMATIONS = ("I hope this helps!", "What a story!", "Good question!", "There you are!")
GENERIC = (
    "Tell me something about it.",
    "What do you know about this?",
    "Give me some facts.",
    "Write a few words on the subject.",
)


def _capitals(parts: list[str], _: Random) -> str:
    return " ".join(parts).upper()


def _small(parts: list[str], _: Random) -> str:
    return " ".join(parts).lower()


def _plain(parts: list[str], _: Random) -> str:
    return " ".join(parts)


def _bullets(parts: list[str], random: Random) -> str:
    mark = random.choice(("-", "*", "•"))
    return "\n".join(f"{mark} {part}" for part in parts)


def _numbered(parts: list[str], random: Random) -> str:
    mark = random.choice((".", ")"))
    return "\n".join(f"{i}{mark} {part}" for i, part in enumerate(parts, start=1))


def _paragraphs(parts: list[str], _: Random) -> str:
    return "\n".join(parts)


def _json(parts: list[str], random: Random) -> str:
    key = random.choice(("answer", "text", "reply"))
    held: str | list[str] = parts if len(parts) > 1 else parts[0]
    return json.dumps({key: held}, ensure_ascii=False)


def _broken_json(parts: list[str], random: Random) -> str:
    text = _json(parts, random)
    return random.choice((text[:-1], text.replace('"', ""), f"Here it is: {text}"))


def _asking(parts: list[str], random: Random) -> str:
    return " ".join([*parts, random.choice(CLOSINGS)])


def _asked_before(parts: list[str], random: Random) -> str:
    return " ".join([random.choice(CLOSINGS), *parts])


def _greeting(parts: list[str], random: Random) -> str:
    return f"{random.choice(GREETINGS)} {' '.join(parts)}"


def _casual(parts: list[str], random: Random) -> str:
    return f"{random.choice(CASUAL)} {' '.join(parts)}"


def _exclaiming(parts: list[str], random: Random) -> str:
    return " ".join([*parts, random.choice(EXCLAMATIONS)])


Style = Callable[[list[str], Random], str]
STYLES: dict[Style, int] = {
    _plain: 8,
    _capitals: 2,
    _small: 2,
    _bullets: 2,
    _numbered: 2,
    _paragraphs: 1,
    _json: 2,
    _broken_json: 2,
    _asking: 2,
    _asked_before: 1,
    _greeting: 2,
    _casual: 2,
    _exclaiming: 2,
}


def replies(rows: Sequence[Row], split: str) -> list[Reply]:
    """Sentences of passages, gold answers and sentences in other languages, in many styles."""
    made = []
    for row in rows:
        random = Random(f"reply {row['id']}")
        passage = row["documents"][0]["text"]
        clean = [s for s in sentences(passage) if _is_clean(s)]
        parts = random.sample(clean, min(len(clean), random.choice((1, 1, 2, 2, 3, 4))))
        parts.sort(key=clean.index)
        if row["label"] == "answerable" and random.random() < 0.2:
            parts = [min(row["answers"], key=len)]
        if parts:
            question = row["messages"][-1]["content"]
            answered = mentions(" ".join(parts), row.get("answers", []))
            asked = question if answered else random.choice(GENERIC)
            made.append(_reply(parts, asked, "English", row["source"], row["license"], random))
    for line in read(LANGUAGES):
        if line["split"] == split:
            for i, text in enumerate(line["texts"]):
                random = Random(f"reply {line['language']} {i}")
                parts = [text, *random.sample(line["texts"], random.randint(0, 2))]
                asked = random.choice(GENERIC)
                source = "Sentences written for the project"
                made.append(_reply(parts, asked, line["language"], source, "Apache-2.0", random))
    return made


def _is_clean(sentence: str) -> bool:
    """A sentence of ordinary length with one full stop, so that counting is beyond doubt."""
    inner = sentence[:-1]
    one_end = sentence.endswith(".") and not any(mark in inner for mark in '.!?:["')
    return one_end and 5 <= len(words(sentence)) <= 26


def _reply(
    parts: list[str], asked: str, language: str, origin: str, license: str, random: Random
) -> Reply:
    # English words of ours would spoil a reply in another language.
    styles = STYLES if language == "English" else {_plain: 4, _capitals: 1, _small: 1, _bullets: 1}
    (style,) = random.choices(list(styles), weights=list(styles.values()))
    return Reply(style(parts, random), asked, language, origin, license)


class Builder:
    """Finds fours of rows; kinds are used evenly, and `phrasings` says how each is worded."""

    def __init__(self, found: Sequence[Reply], phrasings: dict[str, list[str]], seed: str) -> None:
        self.random = Random(seed)
        self.replies = list(found)
        self.foreign = [reply for reply in found if reply.language != "English"]
        self.phrasings = phrasings
        self.used: Counter[str] = Counter({kind: 0 for kind in phrasings})

    def four(self, name: str, source: str | None = None) -> list[Row]:
        """Two replies, two requirements; each reply meets one of them and fails the other."""
        for _ in range(TRIES):
            first = min(self.used, key=lambda kind: (self.used[kind], self.random.random()))
            one, other = self._two(first)
            value = KINDS[first].propose(one, other, self.random)
            if value is None:
                continue
            for second in sorted(self.used, key=lambda k: (self.used[k], self.random.random())):
                back = KINDS[second].propose(other, one, self.random)
                if back is None or (second == first and back == value):
                    continue
                self.used[first] += 1
                self.used[second] += 1
                asked = [(first, self._worded(first, value)), (second, self._worded(second, back))]
                return [
                    _row(f"{name}-{i}{j}", reply, text, i == j, source or f"requirement {kind}")
                    for i, reply in enumerate((one, other))
                    for j, (kind, text) in enumerate(asked)
                ]
        raise SystemExit(f"{name}: no two replies are told apart by {first!r}; give more rows")

    def _two(self, kind: str) -> tuple[Reply, Reply]:
        pool = self.foreign if kind == "is in a language" and self.foreign else self.replies
        pairs = (self.random.choice(pool), self.random.choice(self.replies))
        return pairs if self.random.random() < 0.5 else (pairs[1], pairs[0])

    def _worded(self, kind: str, value: str) -> str:
        text = self.random.choice(self.phrasings[kind]).format(value)
        return text.replace("(s)", "" if value in {"1", "one"} else "s")


def _row(name: str, reply: Reply, requirement: str, met: bool, source: str) -> Row:
    return {
        "id": name,
        "messages": [
            {"role": "user", "content": reply.question},
            {"role": "assistant", "content": reply.text},
        ],
        "documents": [],
        "arguments": {"requirement": requirement},
        "label": "met" if met else "unmet",
        "source": source,
        "origin": reply.origin,
        "license": reply.license,
    }


def build(
    rows: Sequence[Row], split: str, phrasings: dict[str, list[str]], count: int
) -> list[Row]:
    """`count` fours for one split, in a random order."""
    builder = Builder(replies(rows, split), phrasings, split)
    made = [row for i in range(count) for row in builder.four(f"requirement-{split}-{i}")]
    Random(split).shuffle(made)
    return [with_system(row) for row in made]


def build_unseen(rows: Sequence[Row], table: dict[str, dict[str, list[str]]]) -> list[Row]:
    """Unseen wordings of seen kinds, and kinds that are not in training at all."""
    found = replies(rows, "test")
    worded = {kind: one["unseen"] for kind, one in table.items() if one["seen"]}
    new = {kind: one["unseen"] for kind, one in table.items() if not one["seen"]}
    made = []
    for source, phrasings in (("unseen wording", worded), ("unseen kind", new)):
        builder = Builder(found, phrasings, source)
        for i in range(UNSEEN[source]):
            made += builder.four(f"requirement-{source.replace(' ', '-')}-{i}", source)
    return [with_system(row) for row in made]


def main(source: Path, target: Path) -> None:
    """Write OUT/{train,dev,test,test_unseen}.jsonl."""
    table = json.loads(PHRASINGS.read_text(encoding="utf-8"))
    seen = {kind: one["seen"] for kind, one in table.items() if one["seen"]}
    for split, count in FOURS.items():
        rows = read(source / "answerability" / f"{split}.jsonl")
        write(target / f"{split}.jsonl", build(rows, split, seen, count))
        if split == "test":
            write(target / "test_unseen.jsonl", build_unseen(rows, table))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
