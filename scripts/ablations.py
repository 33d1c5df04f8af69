"""What an Activated LoRA's quality depends on: one choice changed at a time, scored on dev.

    python scripts/ablations.py DATA OUT.json NAME [NAME ...] [--axes rank ...] [--minutes 60]

Trains variants of an intrinsic's definition on DATA/NAME/train.jsonl as `chains train` does, and
scores each on DATA/NAME/dev.jsonl: rank, target modules, learning rate, the text of the
invocation, the last message said again before or after the invocation, and how many examples.
The conversations are computed once for all variants. Test data is not read. A variant that is in
OUT.json is not trained again, and one that was killed goes on from its last epoch in the cache
folder. A figure is written beside OUT.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from ruamel.yaml import YAML

from ablation_figure import draw
from activated import cached_shares
from intrinsics.data import Example, balanced, check_disjoint, read_examples
from intrinsics.engine import Engine
from intrinsics.learner import Learner
from intrinsics.metrics import Floats
from intrinsics.prefix_cache import PrefixCache
from intrinsics.prepared import prepare
from intrinsics.spec import FILE, Definition
from intrinsics.train_settings import TrainSettings
from questions import questions
from scores import predictions, scores
from task import SEED, Log, Task

CACHE = Path.home() / ".cache" / "alora-chains" / "ablations"
ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
EXAMPLES = 400
SCORES = ("n", "accuracy", "balanced_accuracy", "auroc", "confidence_intervals")


@dataclass(frozen=True)
class Variant:
    """One way to train an intrinsic. `invocation` None is a role of its own name.

    `restated`: the last message is said again before the invocation, as tokens of the base model,
    or after it, as adapted ones.
    """

    axis: str
    value: str
    settings: TrainSettings = field(default_factory=TrainSettings)
    examples: int = EXAMPLES
    invocation: str | None = None
    restated: Literal["no", "before", "after"] = "no"

    @property
    def key(self) -> str:
        """Names what it is, but not the axis: the variant that all axes share is trained once."""
        told = asdict(self.settings) | {"targets": len(self.settings.targets)}
        parts = [f"{told[name]:g}" for name in ("rank", "targets", "learning_rate", "epochs")]
        words = "own" if self.invocation is None else self.value.replace(" ", "-")
        return "-".join(["r", *parts, str(self.examples), words, self.restated])


def variants(definition: Definition) -> Iterator[Variant]:
    """Every variant of every axis; the unchanged one is on each."""
    base = TrainSettings()
    for rank in (4, 8, 16, 32, 64):
        settings = replace(base, rank=rank, alpha=float(rank))
        yield Variant("rank", str(rank), settings)
    yield Variant("targets", "q, k, v")
    yield Variant("targets", "all linear", replace(base, targets=ALL_LINEAR))
    for rate in (3e-4, 1e-3, 3e-3):
        yield Variant("learning rate", f"{rate:g}", replace(base, learning_rate=rate))
    yield Variant("invocation", "own role")
    yield Variant("invocation", "any role", invocation="<|im_start|>judge\n")
    yield Variant("invocation", "reply", invocation="<|im_start|>assistant\n")
    question = questions(definition.name)[0]
    if not definition.arguments:  # an invocation is the same for every call
        text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        yield Variant("invocation", "question", invocation=text)
    yield Variant("restated", "no")
    yield Variant("restated", "before", restated="before")
    yield Variant("restated", "after", restated="after")
    for count in (100, 200, 400, 800, 1600):
        yield Variant("examples", str(count), examples=count)


def varied(definition: Definition, variant: Variant, directory: Path) -> Definition:
    """The definition with the variant's invocation and instruction. Changes: the disk."""
    told = definition.model_dump(mode="json", exclude_defaults=True)
    told["invocation"] = variant.invocation or f"<|im_start|>{definition.name}\n"
    text = ""
    if definition.instruction:
        text = (definition.directory / definition.instruction).read_text(encoding="utf-8")
    if variant.restated != "no":
        text += "{{ messages[-1].content }}\n"
    directory.mkdir(parents=True, exist_ok=True)
    if text:
        told["instruction"] = "instruction.j2"
        told["instruction_place"] = "after" if variant.restated == "after" else "before"
        (directory / "instruction.j2").write_text(text, encoding="utf-8")
    YAML().dump(told, directory / FILE)
    return Definition.load(directory)


class Ablation:
    """The variants of one intrinsic, trained and scored one after another on the same prefixes."""

    def __init__(
        self,
        engine: Engine,
        definition: Definition,
        train: Sequence[Example],
        dev: Sequence[Example],
        folder: Path,
    ) -> None:
        self.engine, self.definition, self.folder = engine, definition, folder
        self.train, self.dev = train, dev
        self._cache: PrefixCache | None = None

    def rows(self, variant: Variant) -> list[Example]:
        """What a variant is trained on; fewer examples are among those of more."""
        return balanced(self.train, variant.examples, SEED)

    def prefill(self, variants: Sequence[Variant], deadline: float, log: Log) -> bool:
        """Compute the conversations of train and dev once; whether there was time.

        Units: `deadline` on the clock of time.monotonic.
        """
        most = max(variants, key=lambda variant: variant.examples)
        rows = [*self.rows(most), *self.dev]
        prefixes = [one.prefix for one in prepare(self.engine, self.definition, rows)]
        cache = PrefixCache(self.engine.model, prefixes, torch.float16)
        for done in cache.fill():
            log.often(f"{self.definition.name}: prefixes {done} of {cache.tokens} tokens")
            if time.monotonic() > deadline:
                return False
        self._cache = cache
        return True

    def run(self, variant: Variant, deadline: float, log: Log) -> dict[str, Any] | None:
        """Train and score a variant; None if the deadline came first (a checkpoint is kept).

        Units: `deadline` on the clock of time.monotonic.
        """
        assert self._cache is not None, "the prefixes are computed before a variant is trained"
        rows = self.rows(variant)
        data = Task(self.definition, rows, self.dev, {}, rows).training_identity[:12]
        directory = self.folder / f"{variant.key}-{data}"
        definition = varied(self.definition, variant, directory)
        if not (directory / "adapter").exists():
            learner = Learner(self.engine, definition, rows, self.dev, variant.settings)
            for record in learner.run(self._cache):
                loss = "" if record.loss is None else f", loss {record.loss:.3f}"
                log.often(f"{variant.key}: {record.phase} {record.done} of {record.total}{loss}")
                if time.monotonic() > deadline:
                    return None
            learner.forget()
        task = Task(definition, rows, self.dev, {}, rows)
        told = scores(self.dev, predictions(task, self.dev, self._shares(definition)))
        return {
            "axis": variant.axis,
            "value": variant.value,
            "key": variant.key,
            "examples": len(rows),
            "settings": asdict(variant.settings),
            "invocation": definition.invocation,
            "restated": variant.restated,
            "dev": {name: told[name] for name in SCORES},
        }

    def _shares(self, definition: Definition) -> Floats:
        """What the trained adapter says of dev. Shapes: (rows, labels)."""
        assert self._cache is not None, "the prefixes are computed before a variant is scored"
        adapter = definition.directory / "adapter"
        return cached_shares(self.engine, definition, self.dev, self._cache, adapter)


def main() -> None:
    """Train and score what is lacking until the time is over; write after every variant."""
    given = _arguments()
    deadline = time.monotonic() + 60 * given.minutes
    engine, log = Engine.load(), Log()
    for name in given.names:
        definition = engine.catalogue.get(name)
        labels = definition.output.labels
        train = read_examples(given.data / name / "train.jsonl", labels)
        dev = read_examples(given.data / name / "dev.jsonl", labels)
        dev = balanced(dev, given.dev_examples, SEED)
        check_disjoint(train, dev)
        ablation = Ablation(engine, definition, train, dev, given.cache / name)
        wished = [
            variant
            for variant in variants(definition)
            if given.axes is None or variant.axis in given.axes
        ]
        if not measure(ablation, wished, given.out, deadline, log):
            log("the time is over; run the same command again to go on")
            return


def measure(
    ablation: Ablation, wished: Sequence[Variant], out: Path, deadline: float, log: Log
) -> bool:
    """Run the variants that OUT lacks; whether there was time. Changes: OUT and its figure."""
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    own: list[dict[str, Any]] = found.setdefault(ablation.definition.name, [])
    known = {(told["axis"], told["value"]) for told in own}
    lacking = [variant for variant in wished if (variant.axis, variant.value) not in known]
    if not lacking:
        return True
    if not ablation.prefill(lacking, deadline, log):
        return False
    for variant in lacking:
        told = ablation.run(variant, deadline, log)
        if told is None:
            return False
        own.append(told)
        log(f"{variant.axis} {variant.value}: dev accuracy {told['dev']['accuracy']:.3f}")
        _write(found, out)
    return True


def _write(found: dict[str, Any], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_suffix(".part")
    fresh.write_text(json.dumps(found, indent=2) + "\n")
    fresh.replace(out)
    draw(found, out.with_suffix(".png"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("out", type=Path, metavar="OUT.json")
    parser.add_argument("names", nargs="+", metavar="NAME")
    axes = ("rank", "targets", "learning rate", "invocation", "restated", "examples")
    parser.add_argument("--axes", nargs="+", choices=axes, help="all if none is given")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after that long")
    parser.add_argument("--dev-examples", type=int, default=300)
    parser.add_argument("--cache", type=Path, default=CACHE)
    return parser.parse_args()


if __name__ == "__main__":
    main()
