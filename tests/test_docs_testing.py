"""The page on testing does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chains.cli import main

PAGE = (Path(__file__).parent.parent / "docs" / "testing.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_on_testing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    chain, cases = blocks("yaml")
    Path("screened.yaml").write_text(chain)
    Path("screened.test.yaml").write_text(cases)
    (shown,) = blocks("console")
    command, _, output = shown.partition("\n")
    with pytest.raises(SystemExit) as caught:
        main(command.removeprefix("$ chains ").split())
    assert caught.value.code == 0
    assert capsys.readouterr().out.splitlines() == output.splitlines()
    (python,) = blocks("python")
    exec(compile(python, "docs/testing.md", "exec"), {})
