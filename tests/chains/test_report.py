"""`chains eval --report`: what is written, that it is whole, and that rows stay text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from chains.cli import main
from chains.errors import InputError, OutputError
from chains.report.folder import report_directory, write
from chains.report.page import clip, duration, p_value, percent, points, signed, top
from conftest import tiny_engine, write_intrinsic
from intrinsics.adapter import Adapter
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine

VOID = {"meta", "line", "rect", "circle", "polyline"}
HOSTILE = '</style></p><script>alert("x")</script><img src=x onerror=alert(1)>{{ 7 * 7 }}&amp;'


class Page(HTMLParser):
    """The page's elements, their attributes, and its text; every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text += data


@pytest.fixture
def engine_of_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A tiny engine with `judge`, which the command line takes for its own."""
    engine = tiny_engine()
    write_intrinsic(engine, tmp_path / "mine", "judge", "yn", documents="optional", seed=1)
    engine.catalogue = Catalogue([tmp_path / "mine"])
    monkeypatch.setattr(Engine, "load", staticmethod(lambda *_, **__: engine))
    return engine


@pytest.fixture
def run(
    engine_of_tests: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `chains eval judge` on the tests' rows; gives exit code, output and messages."""

    def eval_(*more: str, rows: Sequence[dict[str, Any]] | None = None) -> tuple[int, str, str]:
        written(tmp_path / "rows.jsonl", ROWS if rows is None else rows)
        given = ["judge", "--intrinsics", str(tmp_path / "mine")]
        with pytest.raises(SystemExit) as caught:
            main(["eval", *given, "--data", str(tmp_path / "rows.jsonl"), *more])
        shown = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, shown.out, shown.err

    return eval_


def row(text: str, label: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "label": label, **more}


ROWS = [row(f"Text {i}", "yn"[i % 2], id=f"r{i}", source="ab"[i // 4]) for i in range(8)]


def written(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))


def test_the_report_is_a_page_a_figure_and_the_data_that_json_prints(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, printed, told = run("--report", str(out), "--json")
    assert code == 0, told
    assert {path.name for path in out.iterdir()} == {
        *("report.json", "report.html", "reliability.png")
    }
    data = json.loads((out / "report.json").read_text())
    assert json.loads(printed) == data
    assert data["n"] == 8 and data["data"]["labels"] == {"y": 4, "n": 4}
    assert data["intrinsic"]["name"] == "judge" and data["against"] is None
    assert "confidence_intervals" in data and data["baseline_majority"] == 0.5
    assert (out / "reliability.png").read_bytes().startswith(b"\x89PNG")
    page = Page((out / "report.html").read_text())
    right = round(data["accuracy"] * 8)
    assert f"Right on {right} of 8 rows" in page.text
    assert data["made"]["command"] in page.text


def test_the_page_is_complete_by_itself_and_its_charts_have_words(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    assert run("--report", str(tmp_path / "out"))[0] == 0
    page = Page((tmp_path / "out" / "report.html").read_text())
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "img", "iframe", "object", "image", "use")
        assert not {"src", "href", "srcset", "xlink:href"} & attributes.keys()
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    charts = [attributes for tag, attributes in page.tags if tag == "svg"]
    for chart in charts:
        named = (chart.get("aria-labelledby") or "").split()
        assert chart.get("aria-hidden") == "true" or (named and set(named) <= set(ids))
    assert sum(chart.get("role") == "img" for chart in charts) == 4


def test_rows_are_text_whatever_they_say(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    documents = [{"id": HOSTILE, "text": HOSTILE}]
    rows = [
        row(HOSTILE, label, id=f"{i} {HOSTILE}", source=HOSTILE, documents=documents)
        for i, label in enumerate("yn")
    ]
    code, _, told = run("--report", str(tmp_path / "out"), rows=rows)
    assert code == 0, told
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert not [tag for tag, _ in page.tags if tag in ("script", "img")]
    # its id and source, its document and its two messages, once in short and once in full
    assert page.text.count(HOSTILE) >= 5


def test_a_lora_twin_of_the_same_name_is_compared(
    run: Callable[..., tuple[int, str, str]], engine_of_tests: Engine, tmp_path: Path
) -> None:
    twin = write_intrinsic(
        engine_of_tests,
        tmp_path / "twins",
        "judge",
        "yn",
        documents="optional",
        seed=2,
        activated=False,
    )
    assert not Adapter.load(twin / "adapter").activated
    out = tmp_path / "out"
    code, printed, told = run("--report", str(out), "--against", str(twin))
    assert code == 0, told
    assert "McNemar p = " in printed
    data = json.loads((out / "report.json").read_text())
    paired = data["against"]["paired"]
    assert data["accuracy"] * 8 == paired["both_right"] + paired["only_first"]
    assert data["against"]["name"] == str(twin)
    assert data["against"]["report"]["cost"]["reused_tokens"] == 0 < data["cost"]["reused_tokens"]
    page = Page((out / "report.html").read_text())
    assert "McNemar's test" in page.text and "LoRA, rank 4" in page.text
    assert data["against"]["differing"] > 0, "or the test does not see how such rows are shown"


@pytest.mark.parametrize("rows", [ROWS[::2], ROWS[:1]], ids=["one class", "one row"])
def test_what_is_undefined_is_said_to_be(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    code, _, told = run("--report", str(tmp_path / "out"), rows=rows)
    assert code == 0, told
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert "undefined" in page.text and "the rows have one class only" in page.text


def test_an_output_without_a_positive_label_has_a_report_too(
    run: Callable[..., tuple[int, str, str]], engine_of_tests: Engine, tmp_path: Path
) -> None:
    definition = tmp_path / "mine" / "judge" / "intrinsic.yaml"
    text = definition.read_text()
    enum = next(line for line in text.splitlines() if line.startswith("output: "))
    definition.write_text(text.replace(enum, "output: {type: integer, minimum: 1, maximum: 40}"))
    rows = [row(f"Text {i}", str(1 + i % 3)) for i in range(6)]
    code, printed, told = run("--report", str(tmp_path / "out"), rows=rows)
    assert code == 0, told
    assert "undefined (no positive label)" in printed
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert "the output has no positive label" in page.text
    assert "found 1" in page.text and "found 39" not in page.text, "only labels that occur"


def test_a_new_report_takes_the_place_of_an_old_one_and_of_nothing_else(
    run: Callable[..., tuple[int, str, str]], engine_of_tests: Engine, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "out"
    assert run("--report", str(out))[0] == 0
    assert run("--report", str(out), rows=ROWS[:4])[0] == 0
    assert json.loads((out / "report.json").read_text())["n"] == 4
    (out / "thesis.tex").write_text("years of work")
    forwards = engine_of_tests.model.forwards
    code, _, told = run("--report", str(out))
    assert code == 2 and "holds 'thesis.tex', which is no part of a report" in told
    assert (out / "thesis.tex").read_text() == "years of work"
    code, _, told = run("--report", str(out / "thesis.tex"))
    assert code == 2 and "is a file; name a directory" in told
    assert engine_of_tests.model.forwards == forwards
    assert [path.name for path in out.parent.iterdir()] == ["out"], "nothing is left beside it"


def test_without_matplotlib_it_is_said_before_anything_is_judged(
    run: Callable[..., tuple[int, str, str]],
    engine_of_tests: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, told = run("--report", str(tmp_path / "out"))
    assert code == 2 and r"pip install 'alora-chains[bench]'" in told
    assert engine_of_tests.model.forwards == 0
    assert not (tmp_path / "out").exists()


def test_a_report_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with report_directory(target) as folder:
        (folder / "report.json").write_text("old")
    with pytest.raises(KeyboardInterrupt), report_directory(target) as folder:
        (folder / "report.json").write_text("half")
        raise KeyboardInterrupt
    with pytest.raises(OutputError, match="can't be written"), report_directory(target) as folder:
        folder.rmdir()
        write({}, folder)
    with pytest.raises(InputError, match=r"holds 'mine\.txt'"), report_directory(target) as folder:
        (target / "mine.txt").write_text("written meanwhile")
    assert (target / "report.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_another_question_is_refused_before_the_model_is_loaded(
    run: Callable[..., tuple[int, str, str]], engine_of_tests: Engine, tmp_path: Path
) -> None:
    other = write_intrinsic(engine_of_tests, tmp_path / "twins", "other", ("y", "maybe"))
    for against, message in ((str(other), "same labels"), ("judge", "compared with itself")):
        code, _, told = run("--against", against)
        assert code == 2 and message in told
    assert engine_of_tests.model.forwards == 0


def test_numbers_are_written_for_people() -> None:
    assert percent(0.8834) == "88.3\N{NO-BREAK SPACE}%"
    assert signed(-0.0123) == "\N{MINUS SIGN}0.012" and signed(None) == "undefined"
    assert points(0.034) == "+3.4"
    assert p_value(1e-9) == "p < 0.001" and p_value(0.25) == "p = 0.250"
    assert [duration(s).replace("\N{NO-BREAK SPACE}", " ") for s in (0.0123, 0.25, 2.5, 150)] == [
        *("12.3 ms", "250 ms", "2.50 s", "2.5 min")
    ]
    assert clip("one two three", 9) == "one two …" and clip("x" * 20, 9) == "x" * 9 + " …"
    assert top([0.0]) == 0.05 and top([0.07, 0.31]) == 0.4 and top([1.0]) == 1.0
