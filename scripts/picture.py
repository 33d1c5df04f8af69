"""Draws docs/console.svg: the console as it is, typed into on a pseudo-terminal.

python scripts/picture.py [--out docs/console.svg] ENTRY...
"""

from __future__ import annotations

import argparse
import re
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console

from terminal import Terminal

PROMPT = "you>"


def main() -> None:
    """Type the entries and write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("entries", nargs="+", metavar="ENTRY")
    parser.add_argument("--out", type=Path, default=Path("docs/console.svg"))
    parser.add_argument("--columns", type=int, default=80)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        terminal = Terminal(["demo", "--no-tour"], Path(state), given.columns)
        terminal.wait_for(PROMPT)
        for count, entry in enumerate(given.entries, start=2):
            terminal.enter(entry)
            terminal.wait_for(PROMPT, times=count)
        lines = terminal.lines()
        terminal.process.sendeof()
        terminal.wait_for_end()
    below = (PROMPT, " guarded")  # the empty prompt and the line under it
    while lines and (not lines[-1].plain.strip() or lines[-1].plain.startswith(below)):
        lines.pop()
    console = Console(record=True, width=given.columns, file=StringIO())
    for line in lines:
        console.print(line, no_wrap=True, crop=False)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    drawn = console.export_svg(title="chains demo")
    drawn = re.sub(r"@font-face {.*?}\s*", "", drawn, flags=re.DOTALL)  # fonts from the network
    given.out.write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
