"""Cards as text: the skeleton of one, where there is none, and a hub's model card."""

from __future__ import annotations

import json
import re
from io import StringIO
from typing import Any

from ruamel.yaml import YAML

from .adapter import Adapter
from .spec import FILE, Definition

# A figure of a card's results table, by what the hub calls it; what it has no name for keeps ours.
_METRICS = {
    "accuracy": "accuracy",
    "balanced accuracy": "balanced_accuracy",
    "F1": "f1",
    "AUROC": "roc_auc",
    "ECE": "ece",
}
_UNKNOWN_LICENCE = "unknown"


def skeleton(definition: Definition, adapter: Adapter) -> str:
    """A CARD.md with what the files tell, and "Not known" where they tell nothing."""
    output = json.dumps(definition.output.model_dump(mode="json"), ensure_ascii=False)
    reads = f"last message: {definition.reads.last}; documents: {definition.reads.documents}"
    needs = "".join(f"\n- argument `{name}`: {what}" for name, what in definition.arguments.items())
    return f"""# {definition.name}

## Purpose

{definition.judges}

## Inputs and output

- reads: {reads}{needs}
- answers: `{output}`
- invocation: `{_shown(definition.invocation)}`
- adapter: {_described(adapter)}, for {definition.base_model}

## Data

Not known: the adapter came without a card. Say what it was trained on, under which licences.

## Results

Not measured. `chains eval {definition.name} --data test.jsonl` measures it.

## Known failures

Not known.

## Example

Not known.
"""


def model_card(
    definition: Definition,
    adapter: Adapter,
    card: str,
    base_model: str,
    licence: str | None,
) -> str:
    """A hub's README.md: metadata that hubs read, how it is used, and the card.

    Source: the hub's model card specification (huggingface/hub-docs, modelcard.md).
    """
    yaml = YAML()
    yaml.width = 1000
    text = StringIO()
    yaml.dump(_metadata(definition, adapter, card, base_model, licence), text)
    return f"---\n{text.getvalue()}---\n\n{card.rstrip()}\n\n{_usage(definition, adapter)}"


def results(card: str) -> dict[str, tuple[float, str]]:
    """The figures on the test data in a card: the first row "test" of the first table of Results.

    Its columns are named after the metrics. Each figure is its value and the text of its cell,
    which has the interval. {} where there is none.
    """
    _, _, section = card.partition("\n## Results\n")
    section = section.partition("\n## ")[0]
    table = re.search(r"(?:^\|.*\|[ ]*\n?)+", section, re.MULTILINE)
    if table is None:
        return {}
    heads, *rows = [
        [cell.strip() for cell in row.strip()[1:-1].split("|")] for row in _lines(table[0])
    ]
    row = next((cells for cells in rows if re.match(r"test\b", cells[0])), [])
    if len(row) != len(heads):
        return {}
    found = {}
    for name, cell in zip(heads, row, strict=True):
        number = re.match(r"-?\d+(\.\d+)?", cell)
        if name in _METRICS and number is not None:
            found[name] = float(number[0]), cell
    return found


def _lines(table: str) -> list[str]:
    return [
        line for line in table.strip().splitlines() if not re.fullmatch(r"[\s|:-]*-[\s|:-]*", line)
    ]


def _metadata(
    definition: Definition,
    adapter: Adapter,
    card: str,
    base_model: str,
    licence: str | None,
) -> dict[str, Any]:
    kind = ["alora", "activated-lora"] if adapter.activated else []
    data: dict[str, Any] = {
        "base_model": base_model,
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "license": licence or _UNKNOWN_LICENCE,
        "tags": ["lora", *kind, "intrinsic", "alora-chains"],
    }
    figures = results(card)
    if figures:
        metrics = [
            {"type": _METRICS[name], "value": value, "name": f"{name}: {cell}"}
            for name, (value, cell) in figures.items()
        ]
        data["metrics"] = [_METRICS[name] for name in figures]
        data["model-index"] = [
            {
                "name": definition.name,
                "results": [
                    {
                        "task": {"type": "text-classification", "name": definition.judges},
                        "dataset": {"type": "held-out", "name": "test rows, see Data"},
                        "metrics": metrics,
                    }
                ],
            }
        ]
    return data


def _usage(definition: Definition, adapter: Adapter) -> str:
    acts = (
        "It acts from the first token of the invocation on; what stands before is the base "
        "model's, so its keys and values can be reused."
        if adapter.activated
        else "It acts on every token, so a conversation has to be prefilled for it anew."
    )
    parts = [f"the invocation `{_shown(definition.invocation)}`"]
    if definition.instruction is not None:
        at = 0 if definition.instruction_place == "before" else 1
        parts.insert(at, f"the text of `{definition.instruction}`")
    prompt = (
        f"The prompt is the conversation as the base model's chat template writes it, then "
        f"{', then '.join(parts)}; the answer follows. {acts} "
        f"`{FILE}` says what the answers are, and how their probabilities are calibrated."
    )
    return f"""## Use

{prompt}

In PEFT, with `network` the base model and this directory as `directory`:

```python
from peft import PeftModel

adapted = PeftModel.from_pretrained(network, directory)
```

In alora-chains, which reads the answer's distribution from one forward:

```sh
chains import directory --to my_intrinsics --name my_{definition.name}
chains check my_{definition.name} --intrinsics my_intrinsics --input conversation.json
```
"""


def _described(adapter: Adapter) -> str:
    ranks = sorted({low.rank for low in adapter.modules.values()})
    kinds = sorted({name.rsplit(".", 1)[-1] for name in adapter.modules})
    what = "aLoRA" if adapter.activated else "LoRA"
    return f"{what}, rank {' and '.join(map(str, ranks))} on {', '.join(kinds)}"


def _shown(text: str) -> str:
    return text.replace("\n", "\\n")
