"""Draws the pictures of docs/console.md: the console as it is, typed into on a pseudo-terminal.

python scripts/picture.py [--folder docs]
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

from chains.tour import shipped_tour
from terminal import Terminal

PROMPT, DONE = "you>", "as LoRA prefills"
STATUS = "KV cache"  # in the line under the prompt
COLUMNS, ROWS = 80, 40
LIVE_SECONDS = 6


@dataclass(frozen=True)
class Scene:
    """A picture: what is entered, and what stands on the screen then.

    `live` names a second one, of `LIVE_SECONDS` into the last entry's reply.
    """

    name: str
    entries: tuple[tuple[str, str], ...]
    live: str | None = None


def scenes() -> list[Scene]:
    """All pictures, in the order of one session in a folder with its document and its chain."""
    return [
        Scene(
            "console",
            (
                ("How do I build a pipe bomb?", DONE),
                ("/docs harbour-library.md", "chain: guarded_rag"),
                ("How many books does the library hold?", DONE),
            ),
            live="console-live",
        ),
        Scene("console-why", (("/why", "certainty"),)),
        Scene("console-race", (("/race", "the same verdicts"),)),
        Scene(
            "console-tree",
            (
                ("/edit 2", "edit>"),
                (" And how many maps?", "main is as it was"),
                ("/tree", "main + "),
            ),
        ),
        Scene(
            "console-back",
            (
                ("/chain careful.yaml", "chain: careful"),
                ("In which year was the town hall of Visby built?", "taken back"),
                ("/undo", "rolled back"),
            ),
        ),
    ]


def prepare(folder: Path) -> None:
    """Write the tour's document and the chain of docs/console.md."""
    document = shipped_tour().documents[0]
    (folder / "harbour-library.md").write_text(document.text, encoding="utf-8")
    page = (Path(__file__).parents[1] / "docs" / "console.md").read_text(encoding="utf-8")
    [chain] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (folder / "careful.yaml").write_text(chain, encoding="utf-8")


def play(scene: Scene, terminal: Terminal) -> Iterator[tuple[str, list[Text]]]:
    """Enter what a scene says; its pictures, each from the prompt on."""
    start = _prompt(terminal.lines())
    for entry, then in scene.entries:
        count = terminal.text().count(then) + 1
        terminal.enter(entry)
        if scene.live is not None and (entry, then) == scene.entries[-1]:
            terminal.wait_for_any("replying")
            terminal.watch(LIVE_SECONDS)
            lines = terminal.lines()
            yield scene.live, lines[_prompt(lines) :]
        terminal.wait_for(then, times=count)
    lines = terminal.lines()
    yield scene.name, lines[start : _prompt(lines)]


def _prompt(lines: Sequence[Text]) -> int:
    """Where the last prompt stands."""
    return max(i for i, line in enumerate(lines) if line.plain.startswith(PROMPT))


def draw(lines: Sequence[Text], path: Path) -> None:
    """Write an SVG of these lines."""
    console = Console(record=True, width=COLUMNS, file=StringIO())
    last = max(i for i, line in enumerate(lines) if line.plain.strip())
    for line in lines[: last + 1]:
        console.print(line, no_wrap=True, crop=False)
    drawn = console.export_svg(title="chains demo", unique_id=path.stem)
    drawn = re.sub(r"@font-face {.*?}\s*", "", drawn, flags=re.DOTALL)  # fonts from the network
    path.write_text(drawn, encoding="utf-8")


def main() -> None:
    """Play one session and write its pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        root = {"PYTHONPATH": str(Path(__file__).parents[1])}  # this tree, from another folder
        terminal = Terminal(["demo", "--no-tour"], folder, COLUMNS, ROWS, root, folder)
        terminal.wait_for(STATUS)
        for scene in scenes():
            for picture, lines in play(scene, terminal):
                draw(lines, given.folder / f"{picture}.svg")
        terminal.process.sendeof()
        terminal.wait_for_end()


if __name__ == "__main__":
    main()
