"""One intrinsic's labelled data, as every judge of the parity table gets it."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from intrinsics.catalogue import Catalogue
from intrinsics.data import Example, balanced, check_disjoint, check_trainable, read_examples
from intrinsics.metrics import Floats
from intrinsics.spec import Definition

SEED = 0
_LOG_SECONDS = 10


@dataclass(frozen=True)
class Task:
    """The rows to train on, to choose on, and to report, for one definition.

    `train` is what both LoRAs learn from; `all_train` are all there are, for judges that cost
    nothing.
    """

    definition: Definition
    train: Sequence[Example]
    dev: Sequence[Example]
    tests: Mapping[str, Sequence[Example]]
    all_train: Sequence[Example]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of a judge's columns."""
        return tuple(self.definition.output.labels)

    @property
    def splits(self) -> dict[str, Sequence[Example]]:
        """What a judge is asked about: dev, then every test split by the name of its file."""
        return {"dev": self.dev, **self.tests}

    @property
    def training_identity(self) -> str:
        """Tells what an adapter learns from: rows of train and dev, and what stands around them.

        Neither calibration nor test rows belong to it: they change without a new training.
        """
        one = self.definition
        instruction = one.directory / one.instruction if one.instruction else None
        around = [one.invocation, self.labels, instruction.read_text() if instruction else ""]
        if one.instruction_place == "after":
            around.append("after")
        return _digest(json.dumps(around), self.train, self.dev)

    @property
    def identity(self) -> str:
        """Tells all the rows, and what stands around them, from others."""
        return _digest(self.training_identity, self.all_train, *self.tests.values())


@dataclass(frozen=True)
class Found:
    """What a judge says of every row.

    `chosen` is what it settled on by looking at dev. Shapes: shares[split] (rows, labels), the raw
    probability of each label. With `shipped` the definition's own calibration belongs to it; else
    one is still to be fitted on dev.
    """

    chosen: Mapping[str, Any]
    shares: Mapping[str, Floats]
    shipped: bool = False

    def save(self, path: Path, identity: str) -> None:
        """Write it to a compressed file, whole or not at all. Changes: the disk."""
        path.parent.mkdir(parents=True, exist_ok=True)
        told = {"identity": identity, "chosen": self.chosen, "shipped": self.shipped}
        fresh = path.with_name(f"{path.stem}.part.npz")
        arrays: dict[str, Any] = {f"split.{name}": array for name, array in self.shares.items()}
        np.savez_compressed(fresh, told=np.array(json.dumps(told)), **arrays)
        fresh.replace(path)

    @staticmethod
    def load(path: Path, identity: str) -> Found | None:
        """What was saved for the same identity; None where there is nothing."""
        if not path.is_file():
            return None
        with np.load(path) as stored:
            told = json.loads(str(stored["told"]))
            if told["identity"] != identity:
                return None
            shares = {
                name.removeprefix("split."): stored[name]
                for name in stored.files
                if name.startswith("split.")
            }
        return Found(told["chosen"], shares, told["shipped"])


def read_task(folder: Path, definition: Definition, examples: int, dev_examples: int) -> Task:
    """The data of an intrinsic: FOLDER/{train,dev,test,test_*,hard_test}.jsonl.

    `examples` rows of train and `dev_examples` of dev are drawn as `chains train --limit
    --dev-limit` draws them; test splits are whole.
    Raises: DataError: a file is missing or unusable, or a row is in two splits.
    """
    labels = definition.output.labels
    everything = read_examples(folder / "train.jsonl", labels)
    train = balanced(everything, examples, SEED)
    dev = balanced(read_examples(folder / "dev.jsonl", labels), dev_examples, SEED)
    check_trainable(train, labels, str(folder / "train.jsonl"))
    check_disjoint(everything, dev)
    paths = [folder / "test.jsonl", *folder.glob("test_*.jsonl"), *folder.glob("hard_test.jsonl")]
    tests = {path.stem: read_examples(path, labels) for path in sorted(paths)}
    for rows in tests.values():
        check_disjoint([*everything, *dev], rows)
    return Task(definition, train, dev, tests, everything)


def classifiers(catalogue: Catalogue, data: Path, split: str) -> list[str]:
    """The intrinsics that answer with labels and have DATA/NAME/SPLIT.jsonl."""
    return [
        name
        for name in catalogue.names()
        if (data / name / f"{split}.jsonl").is_file() and catalogue.get(name).output.labels
    ]


def _digest(text: str, *splits: Sequence[Example]) -> str:
    digest = hashlib.sha256(text.encode())
    for rows in splits:
        digest.update("\n".join(row.model_dump_json() for row in rows).encode())
    return digest.hexdigest()


class Log:
    """Lines on stderr; those that come fast are left out but for one every ten seconds."""

    def __init__(self) -> None:
        self._told = 0.0

    def __call__(self, text: str) -> None:
        """Say something that must be seen."""
        self._told = time.monotonic()
        print(text, file=sys.stderr, flush=True)

    def often(self, text: str) -> None:
        """Say something that comes often."""
        if time.monotonic() - self._told > _LOG_SECONDS:
            self(text)
