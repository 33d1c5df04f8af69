"""docs/console.md tells of every command, shows pictures that are there, and its lines run."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tiny_console
from chains.chain import Chain
from chains.console import Session, Settings
from chains.loader import read
from picture import scenes

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "console.md").read_text()


def test_every_command_is_explained(tmp_path: Path) -> None:
    tiny = tiny_console.build(tmp_path)
    settings = Settings(tmp_path, str(tmp_path / "chat.yaml"))
    session = Session(tiny.engine, settings, io.StringIO(), io.StringIO())
    told = re.findall(r"^\| `(/[^`]+)` \|", PAGE, re.MULTILINE)
    assert sorted(told) == sorted(map(str, session.deeds.commands.table.values()))


def test_every_picture_is_there_and_is_one_that_is_drawn() -> None:
    shown = re.findall(r"!\[[^]]+\]\((\S+)\)", PAGE)
    drawn = [name for scene in scenes() for name in (scene.name, scene.live) if name]
    assert shown and set(shown) <= {f"{name}.svg" for name in drawn}
    for name in shown:
        assert "<svg" in (DOCS / name).read_text()[:200]


def test_the_chain_of_the_page_is_valid() -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert Chain(*read(text, "console.md")).name == "careful"


@pytest.mark.slow
def test_the_line_for_the_shell_runs(tmp_path: Path) -> None:
    [line] = re.findall(r"```sh\n(.*?)\n```", PAGE, re.DOTALL)
    own = f'{sys.executable} -c "from chains.cli import main; main()"'
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line.replace('chains', own)}"],
        capture_output=True,
        text=True,
        timeout=300,
        env={"XDG_STATE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
    )
    assert done.returncode == 0, done.stderr
    assert "acted on the last" in done.stdout and "the same verdicts" in done.stdout
