"""Measure how verdicts move when the text changes and the truth does not.

    python scripts/robustness.py DATA OUT.json [NAME...] [--rows 60] [--seed 0]

DATA holds a folder for each intrinsic with dev.jsonl, as the other scripts here write them; without
a NAME, all classifiers are measured that have one. Each change of `perturb.py` is tried on at most
`--rows` rows it applies to, labels and sources evenly; `--seed` chooses them. Passages to put
around a question come from all dev.jsonl. Results go into OUT.json and, as tables, to the terminal;
an existing OUT.json keeps what is not measured again. `robustness_report.py` makes the page and the
figure.
"""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from intrinsics.data import Example, balanced, read_examples
from intrinsics.engine import Engine
from intrinsics.errors import DataError
from intrinsics.fanout import FanOut
from intrinsics.job import Job
from intrinsics.metrics import RESAMPLES, Predictions, auroc
from intrinsics.prepared import prepare
from intrinsics.spec import Definition
from paraphrase import fits, reworded
from perturb import Change, Contexts, Pair, perturbations, translated
from surroundings import asking, distinct_passages, question
from task import classifiers
from variety import read

ROWS, SEED = 60, 0
IN_FLIGHT = 16
KV_BUDGET = 2 << 30
TRANSLATED = Path(__file__).parent / "data" / "languages.jsonl"

Distribution: TypeAlias = Mapping[str, float]
Pairs: TypeAlias = dict[str, list[Pair]]


def main() -> None:
    """Measure, write and show."""
    given = _arguments()
    engine = Engine.load(kv_budget=KV_BUDGET)
    names = given.names or classifiers(engine.catalogue, given.data, "dev")
    rows = {name: _rows(engine, given.data, name) for name in names}
    everything = (row for path in sorted(given.data.glob("*/dev.jsonl")) for row in read(path))
    contexts = Contexts(engine.chat, distinct_passages(everything))
    found: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    with Progress(console=Console(stderr=True)) as bar:
        for name in names:
            one = engine.catalogue.get(name)
            pairs = collect(engine, one, rows[name], contexts, given.rows, given.seed)
            found[name] = {
                "rows": given.rows,
                "seed": given.seed,
                "perturbations": measure(engine, one, pairs, bar),
            }
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps(found, indent=2) + "\n")
    for name in names:
        Console(width=120).print(shown(name, found[name]["perturbations"]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--seed", type=int, default=SEED)
    return parser.parse_args()


def _rows(engine: Engine, data: Path, name: str) -> list[Example]:
    return read_examples(data / name / "dev.jsonl", engine.catalogue.get(name).output.labels)


def collect(
    engine: Engine,
    one: Definition,
    rows: Sequence[Example],
    contexts: Contexts,
    count: int,
    seed: int,
) -> Pairs:
    """The examples before and after every change, at most `count` of each."""
    pairs = {p.name: _changed(rows, p.change, count, seed) for p in perturbations(one, contexts)}
    pairs["own_paraphrase"] = _paraphrased(engine, rows, count, seed)
    return {name: some for name, some in (pairs | translated(TRANSLATED, one.name)).items() if some}


def _changed(rows: Sequence[Example], change: Change, count: int, seed: int) -> list[Pair]:
    able = [row for row in rows if change(row) is not None]
    return [pair for row in balanced(able, count, seed) if (pair := change(row)) is not None]


def _paraphrased(engine: Engine, rows: Sequence[Example], count: int, seed: int) -> list[Pair]:
    """Of as many rows as other changes have; the model's wording of most is not usable."""
    asked = balanced([row for row in rows if fits(question(row))], count, seed)
    texts = reworded(engine, [question(row) for row in asked])
    return [
        (row, asking(row, text)) for row, text in zip(asked, texts, strict=True) if text is not None
    ]


def measure(engine: Engine, one: Definition, pairs: Pairs, bar: Progress) -> dict[str, Any]:
    """Judge every example once, and compare before and after each change."""
    examples = [example for some in pairs.values() for pair in some for example in pair]
    told = dict(zip(map(_text, examples), judge(engine, one, examples, bar), strict=True))
    return {
        name: compare(
            one,
            some,
            [told[_text(before)] for before, _ in some],
            [told[_text(a)] for _, a in some],
        )
        for name, some in pairs.items()
    }


def _text(example: Example) -> str:
    """What is judged: two examples with the same are judged once."""
    return example.model_dump_json(exclude={"id", "label", "source"})


def judge(
    engine: Engine, one: Definition, examples: Sequence[Example], bar: Progress
) -> list[Distribution]:
    """The calibrated distribution of every example.

    They are asked in the order of their tokens, several at a time: the engine computes what
    neighbours have in common once, and drops the oldest when its memory is full.
    Raises: DataError: an example can't be judged; all are looked at before the first is.
    """
    ids = [prepared.prefix for prepared in prepare(engine, one, examples)]
    distinct = {_text(example): i for i, example in enumerate(examples)}
    found: dict[str, Distribution] = {}
    running: deque[tuple[str, Job[FanOut]]] = deque()
    task = bar.add_task(one.name, total=len(distinct))

    def take() -> None:
        text, job = running.popleft()
        found[text] = job.result()[one.name].distribution
        bar.advance(task)

    for text, i in sorted(distinct.items(), key=lambda item: ids[item[1]]):
        talk = engine.conversation(examples[i].messages, examples[i].documents)
        given = {one.name: examples[i].arguments}
        running.append((text, engine.submit(talk, [one.directory], given)))
        if len(running) == IN_FLIGHT:
            take()
    while running:
        take()
    return [found[_text(example)] for example in examples]


def compare(
    one: Definition,
    pairs: Sequence[Pair],
    before: Sequence[Distribution],
    after: Sequence[Distribution],
    seed: int = SEED,
) -> dict[str, Any]:
    """What a change did: accuracies and their difference with a 95 % paired bootstrap interval.

    `flipped` is the share of verdicts that changed, `moved` the mean absolute change of the true
    label's probability. Raises: DataError: a change gives another label.
    """
    for old, new in pairs:
        if old.label != new.label:
            raise DataError(f"{new.id}: labelled {new.label!r}, but {old.label!r} before")
    then, now = (_predictions(one, pairs, found) for found in (before, after))
    gained = (now.found == now.truth).astype(float) - (then.found == then.truth)
    chosen = np.random.default_rng(seed).integers(0, len(pairs), (RESAMPLES, len(pairs)))
    low, high = np.percentile(gained[chosen].mean(axis=1), [2.5, 97.5])
    moves = [
        abs(new[old.label] - first[old.label])
        for (old, _), first, new in zip(pairs, before, after, strict=True)
    ]
    return {
        "n": len(pairs),
        "accuracy_before": float(np.mean(then.found == then.truth)),
        "accuracy_after": float(np.mean(now.found == now.truth)),
        "difference": float(gained.mean()),
        "interval": [float(low), float(high)],
        "flipped": float(np.mean(then.found != now.found)),
        "moved": float(np.mean(moves)),
        "auroc_before": auroc(then),
        "auroc_after": auroc(now),
    }


def _predictions(
    one: Definition, pairs: Sequence[Pair], found: Sequence[Distribution]
) -> Predictions:
    labels = list(one.output.labels)
    positive = None if one.output.positive is None else labels.index(one.output.positive)
    shares = np.array([[distribution[label] for label in labels] for distribution in found])
    return Predictions(
        truth=np.array([labels.index(after.label) for _, after in pairs]),
        found=shares.argmax(axis=1),
        confidence=shares.max(axis=1),
        score=shares[:, positive or 0],
        positive=positive,
    )


def shown(name: str, results: Mapping[str, Mapping[str, Any]]) -> Table:
    """The results of one intrinsic as a table."""
    table = Table(title=name, box=None)
    for title in ("change", "n", "before", "after", "difference", "flipped", "moved", "AUROC"):
        table.add_column(title)
    for change, told in results.items():
        low, high = told["interval"]
        ranks = [told["auroc_before"], told["auroc_after"]]
        table.add_row(
            change,
            str(told["n"]),
            f"{told['accuracy_before']:.3f}",
            f"{told['accuracy_after']:.3f}",
            f"{told['difference']:+.3f} ({low:+.3f} to {high:+.3f})",
            f"{told['flipped']:.3f}",
            f"{told['moved']:.3f}",
            ", ".join("" if rank is None else f"{rank:.3f}" for rank in ranks),
        )
    return table


if __name__ == "__main__":
    main()
