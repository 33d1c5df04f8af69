"""The tables of docs/mistakes.md, from the results that are kept: writes them.

    python benchmarks/mistakes_page.py

Each place begins with `<!-- table: NAME -->` and ends with `<!-- end -->`. A test compares the
page with the results.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

Told: TypeAlias = Mapping[str, Any]

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "mistakes.md"
RESULTS = ROOT / "benchmarks" / "results" / "mistakes.json"
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

OURS = "alora-chains"
FRAMEWORKS = {
    OURS: "with_chains",
    "LangGraph": "with_langgraph",
    "Burr": "with_burr",
    "pydantic-graph": "with_pydantic_graph",
    "Haystack": "with_haystack",
}
"""Their programs."""

MISTAKES = {
    "unknown_node": "a way leads to a node that does not exist",
    "undeclared_node": "a node goes to another one than it declares",
    "label_typo": "a condition tests a label that is never returned",
    "missing_else": "no condition holds, and there is no else",
    "unknown_key": "a key outside the state is written",
    "wrong_type": "a wrong type is written into the state",
    "reads_too_early": "a value is read that is only written later",
    "unreachable": "no way leads to a node",
    "unbounded_loop": "a loop never ends",
    "two_writers": "two parallel branches write the same",
    "renamed_node": "a run is resumed after its nodes were renamed",
}
"""What is asked of these: when is it noticed?"""

LOSSES = {
    "repeated_code": "code before a question to a human, when the run is resumed",
    "lost_sibling": "a finished branch, when the other one fails and the run is resumed",
    "history_bytes": "SQLite's size after 20 turns, 200 kB of text",
}
"""What is asked of these: what is lost? Nobody could notice anything."""

MISTAKES |= LOSSES

NOTICED = {"load": "at load", "run": "at run", "log": "by a line in the log", "never": "**never**"}
LINES, COLUMNS = 4, 150  # of a message


def noticed(found: Told) -> str:
    """When each framework notices each mistake, and what is lost."""
    lines = [_cells("mistake", *map(_named, FRAMEWORKS)), _cells(*["---"] * (len(FRAMEWORKS) + 1))]
    for mistake, words in MISTAKES.items():
        told = found["mistakes"][mistake]
        lines.append(_cells(words, *(_cell(mistake, told[name]) for name in FRAMEWORKS)))
    return "\n".join(lines)


def messages(found: Told) -> str:
    """The words by which each mistake is noticed, in the order of the table."""
    parts = []
    for mistake, words in MISTAKES.items():
        said = [
            f"{name}: {_shortened(told['message'])}"
            for name, told in found["mistakes"][mistake].items()
            if told["message"] and (mistake not in LOSSES or told["noticed"] != "log")
        ]
        if said:
            parts.append("\n".join([f"**{words[0].upper()}{words[1:]}**", "```text", *said, "```"]))
    return "\n\n".join(parts)


def versions(found: Told) -> str:
    """What was compared."""
    return ", ".join(f"{name} {version}" for name, version in found["versions"].items()) + "."


def filled(page: str, found: Told) -> str:
    """A page with the tables as the results have them."""
    draw = {"noticed": noticed, "messages": messages, "versions": versions}
    return PLACE.sub(lambda at: f"{at[1]}{draw[at[2]](found)}\n{at[3]}", page)


def write(found: Told) -> None:
    """Put the tables into the page."""
    PAGE.write_text(filled(PAGE.read_text(), found))


def _cell(mistake: str, told: Told) -> str:
    if told["noticed"] not in NOTICED:
        return str(told["noticed"])
    if told["bytes"] is not None:
        return f"{told['bytes'] / 1e6:.1f} MB"
    lost = f"lost: {told['lost']}" if told["lost"] else ""
    if mistake in LOSSES:
        return lost or "nothing is lost"
    return "; ".join(part for part in (NOTICED[told["noticed"]], lost) if part)


def _shortened(message: str) -> str:
    lines = [line[:COLUMNS] + " ..." * (len(line) > COLUMNS) for line in message.splitlines()]
    return "\n".join(lines[:LINES])


def _named(name: str) -> str:
    return f"**{name}**" if name == OURS else name


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    write(json.loads(RESULTS.read_text()))
