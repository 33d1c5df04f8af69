"""The README and the examples do what they say: run, compared, and looked up."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import chains
import intrinsics
import robustness_report
from chains.chain import Chain
from chains.errors import ChainDefinitionError
from chains.inputs import RunInput
from chains.loader import read
from chains.testing import Script
from command import run_line, run_script
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.messages import Message
from intrinsics.model import Model
from intrinsics.sampling import Sampling
from intrinsics.watch import Watch, Watcher
from tables_quality import filled_card, measured
from tiny_networks import NETWORKS, REFUSED, tiny_network

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"
NAMES = [
    *("answerability", "certainty", "context_relevance", "jailbreak"),
    *("query_rewrite", "safety"),
]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line.startswith("chains ")]


@pytest.mark.parametrize("package", [chains, intrinsics], ids=["chains", "intrinsics"])
def test_public_names_exist_once(package: Any) -> None:
    assert len(set(package.__all__)) == len(package.__all__)
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_the_chain_of_the_readme_is_the_same_in_python_and_yaml() -> None:
    code, text = blocks("python")[0], blocks("yaml")[0]
    assert len(code.strip().splitlines()) <= 20
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(code.split("engine =")[0], "README.md", "exec"), names)
    model, places = read(text, "README.md")
    assert names["Guarded"].chain() == Chain(model, places)


def test_the_fault_of_the_readme_is_what_is_told(tmp_path: Path) -> None:
    path = tmp_path / "careful.yaml"
    path.write_text(blocks("yaml")[0].replace("'unsafe'", "'unsave'"))
    with pytest.raises(ChainDefinitionError) as caught:
        Chain.load(path)
    assert str(caught.value).replace(f"{tmp_path}/", "") in README


@pytest.mark.slow
def test_the_python_of_the_readme_runs(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Engine, "load", staticmethod(lambda: engine))
    exec(compile(blocks("python")[0], "README.md", "exec"), {"__name__": "readme"})
    assert "Paris" in capsys.readouterr().out


@pytest.mark.slow
def test_the_pieces_of_python_in_the_readme_run(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    _, asynchronous, watched = blocks("python")
    names: dict[str, Any] = {"Watch": Watch, "Watcher": Watcher, "Sampling": Sampling}
    question = Message(role="user", content="What is the capital of France?")
    names |= {"engine": engine, "conversation": engine.conversation([question])}
    exec(compile(watched, "README.md", "exec"), names)
    assert names["reply"].checks
    exec(compile(asynchronous, "README.md", "exec"), names)
    asyncio.run(names["answer"](engine, engine.conversation([question])))
    assert "Paris" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_readme_runs(line: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("The Harbour Library opened in 1931 and holds 84,000 books.")
    assert run_line(line, tmp_path)


@pytest.fixture
def careful(tmp_path: Path) -> Path:
    """A folder with the second chain of the README and its cases."""
    _, chain, cases, _ = blocks("yaml")
    (tmp_path / "careful.yaml").write_text(chain)
    (tmp_path / "careful.test.yaml").write_text(cases)
    return tmp_path


def test_the_cases_of_the_readme_pass(careful: Path) -> None:
    [session] = blocks("console")
    _, printed = session.split("$ chains run")[0].split("\n", 1)
    assert run_line("chains test careful.yaml", careful) == printed


NOTES = {"returns.md": "Any item can be returned within 30 days.", "time.md": "We open at nine."}


@pytest.mark.parametrize(
    ("verdicts", "turns", "output"),
    [
        ({"answerability": "unanswerable"}, [], "Our notes do not say."),
        ({"answerability": "answerable", "certainty": 0.9}, ["Within 30 days."], "Within 30 days."),
        (
            {"answerability": "answerable", "certainty": 0.01},
            ["Never."],
            "A colleague will write to you.",
        ),
    ],
)
def test_the_retrieving_chain_of_the_readme_runs(
    verdicts: dict[str, Any],
    turns: list[str],
    output: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "notes").mkdir()
    for name, text in NOTES.items():
        (tmp_path / "notes" / name).write_text(text)
    (tmp_path / "shop.yaml").write_text(blocks("yaml")[3])
    chain = Chain.load(tmp_path / "shop.yaml")
    question = Message(role="user", content="How long can an item be returned?")
    with Script(turns=turns, verdicts=verdicts) as script:
        result = chain.run(script, RunInput(messages=(question,)))
    assert result.output == output
    assert len(result.messages) == 3  # the system's, the question, and what was said in the end


@pytest.mark.slow
def test_the_session_of_the_readme_runs(careful: Path) -> None:
    [session] = blocks("console")
    for line in session.splitlines():
        if line.startswith("$ "):
            run_line(line.removeprefix("$ "), careful)
    assert "<svg" in (careful / "run.html").read_text()


def test_links_of_the_documents_lead_somewhere() -> None:
    for path in [ROOT / "examples" / "README.md", *ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if not target.startswith("http"):
                assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_tables_of_the_readme_are_those_that_were_measured() -> None:
    tables = runpy.run_path(str(ROOT / "benchmarks" / "tables.py"))
    measured = (ROOT / "docs" / "measured.md").read_text()
    pages: dict[str, tuple[str, ...]] = {
        "README.md": ("speed", "flow", "quality"),
        "docs/measured.md": ("decode", "concurrency", "guards", "training", "overhead"),
    }
    for page, names in pages.items():
        text = README if page == "README.md" else measured
        for name in names:
            table = tables[name](RESULTS)
            assert table in text, f"run benchmarks/tables.py and put this in {page}:\n{table}"


def test_the_page_of_robustness_is_what_was_measured() -> None:
    results, written = RESULTS / "robustness.json", ROOT / "docs" / "robustness.md"
    assert results.exists() == written.exists(), "scripts/robustness_report.py writes the page"
    if results.exists():
        name = results.relative_to(ROOT).as_posix()
        figure = f"../{name.removesuffix('.json')}.png"
        assert robustness_report.page(json.loads(results.read_text()), name, figure) == (
            written.read_text()
        ), f"run scripts/robustness_report.py {name} docs/robustness.md"


def test_the_tables_of_architectures_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "architectures.md").read_text()
    supported, refused = text.split("## Refused")
    rows = [line.strip("|").split(" | ") for line in supported.splitlines() if "| `" in line]
    told = {name.strip(" `"): (forward, path) for name, _, forward, path, _ in rows}
    models = {name: Model(tiny_network(name)) for name in NETWORKS}
    assert told == {
        name: ("direct" if model.direct else "transformers", model.attention_path)
        for name, model in models.items()
    }
    assert re.findall(r"^\| `([^`]+)`", refused, re.MULTILINE) == list(REFUSED)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_gives_the_measured_figures(name: str) -> None:
    card = (Catalogue().get(name).directory / "CARD.md").read_text()
    for heading in ("Purpose", "Inputs and output", "Data", "Results", "Known failures", "Example"):
        assert f"## {heading}" in card
    assert filled_card(card, measured(name)) == card, "run scripts/tables_quality.py"


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_an_example_runs_and_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    done = run_script(path)
    assert done.returncode == 0, done.stderr
    assert done.stdout
