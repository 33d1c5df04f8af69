"""docs/observing.md does what it says: its drawings, its Python and its commands."""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import export
from opentelemetry.util._once import Once

from chains import Chain
from command import run_line
from intrinsics.engine import Engine
from traced import YAML, chain_of, traced_engine

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGE = (DOCS / "observing.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_drawings_are_those_of_the_chains() -> None:
    assert blocks("text") == [Chain.load("guarded_chat").ascii()]
    drawn = (DOCS / "guarded_rag.svg").read_text()
    assert drawn == Chain.load("guarded_rag").svg(), "chains graph guarded_rag --format svg"


def test_the_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    shown = partial(export.ConsoleSpanExporter, out=sys.stdout)  # else that of its import
    monkeypatch.setattr(export, "ConsoleSpanExporter", shown)
    engine: Engine = traced_engine(tmp_path)
    names: dict[str, Any] = {"engine": engine, "chain": chain_of(YAML, engine)}
    events, spans = blocks("python")
    exec(compile(events, "observing.md", "exec"), names)
    assert json.loads(names["lines"][-1])["event"] == "run_finished"
    assert re.search(r"^tone (rude|kind) \{", capsys.readouterr().out)
    exec(compile(spans, "observing.md", "exec"), names)
    assert '"name": "invoke_workflow traced"' in capsys.readouterr().out


def test_the_commands_without_a_model_run(tmp_path: Path) -> None:
    draw, _, schema = blocks("sh")
    assert run_line(draw, tmp_path) == blocks("text")[0]
    run_line(schema, tmp_path)
    assert "properties" in json.loads((tmp_path / "chain.schema.json").read_text())


@pytest.mark.slow
def test_the_commands_with_a_model_run(tmp_path: Path) -> None:
    for line in blocks("sh")[1].splitlines():
        run_line(line, tmp_path)
    assert "Paris" in (tmp_path / "run.html").read_text()
