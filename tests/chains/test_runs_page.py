"""docs/runs.md does what it says: its chain, its commands in their order, and its Python."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

from chains.cli import main
from chains.store import Store

PAGE = (Path(__file__).parent.parent.parent / "docs" / "runs.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def lines() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stay.yaml").write_text(blocks("yaml")[0])
    (tmp_path / "prices.py").write_text(blocks("python")[0])
    monkeypatch.delitem(sys.modules, "prices", raising=False)
    return tmp_path


def test_the_commands_run_in_their_order(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids: dict[str, str] = {}
    outputs: list[str] = []
    for line in lines():
        if line.startswith("echo"):
            (folder / "stay.json").write_text(shlex.split(line)[1])
            continue
        code = 2 if "# exits with 2" in line else 0
        words = [ids.get(word, word) for word in shlex.split(line, comments=True)[1:]]
        with pytest.raises(SystemExit) as caught:
            main(words)
        shown = capsys.readouterr()
        assert caught.value.code == code, (line, shown.err)
        told = json.loads(shown.out) if "--json" in words else {}
        ids.setdefault("RUN", told.get("run_id", ""))
        ids["FORK" if words[0] == "fork" else "OTHER"] = told.get("run_id") or ids.get("OTHER", "")
        outputs += [told["output"]] if "output" in told else []
    assert outputs == [
        *("Shall I book it?", "Booked.", "Shall I book it?", "Shall I book it?"),
        *("Another time.", "Shall I book it?"),
    ]
    with Store.open(folder / "runs.db") as store:
        assert store.check() == []
        paths = [[one.node for one in store.records(run.run_id)] for run in store.runs()]
    assert any("dear" in path for path in paths)  # seven nights are dear
    assert "stay" in (folder / "stay.html").read_text()


def test_the_python_runs() -> None:
    module = ModuleType("page_on_runs")
    sys.modules[module.__name__] = module  # where annotations are looked up
    exec(compile(blocks("python")[1], "docs/runs.md", "exec"), module.__dict__)
    assert module.__dict__["first"].output == "240 EUR."
