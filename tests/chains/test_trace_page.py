"""The page of a run: complete by itself, only text, made by the command, shown by a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from chains.cli import main
from chains.events import Event
from chains.tracing import page
from intrinsics.engine import Engine
from traced import GIVEN, HOSTILE, YAML, chain_of, events_of, traced_engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return traced_engine(tmp_path_factory.mktemp("intrinsics"))


@pytest.fixture(scope="module")
def events(engine: Engine) -> list[Event]:
    return events_of(chain_of(YAML, engine), engine)


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_complete_by_itself_and_escapes_everything(
    engine: Engine, events: list[Event]
) -> None:
    shown = Page(page.render(events, chain_of(YAML, engine).model))
    assert not {"script", "img", "link", "iframe", "object", "use"} & {tag for tag, _ in shown.tags}
    for _, attributes in shown.tags:
        assert not {"src", "srcset", "xlink:href", "onerror"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith("#")
    assert shown.text.count(HOSTILE) >= 5  # the message, the document, and in every prompt
    for part in (
        "90",
        "tokens reused",
        "tokens computed",
        "sure.p('good')",
        "3\N{MULTIPLICATION SIGN}",
    ):
        assert part in shown.text
    ids = [attributes["id"] for _, attributes in shown.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    marks = [tag for tag, _ in shown.tags if tag == "mark"]
    assert len(marks) == 5  # two intrinsics, and one three times


def test_characters_that_show_nothing_are_written_out() -> None:
    assert page.visible("a\u202eb\x00c\u200bd\te\n") == "a⟨U+202E⟩b⟨U+0000⟩c⟨U+200B⟩d\te\n"


@pytest.fixture
def command(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line with the tiny engine."""
    monkeypatch.setattr(Engine, "load", staticmethod(lambda *_, **__: engine))
    [folder] = {engine.catalogue.get("tone").directory.parent}

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([*map(str, arguments), "--intrinsics", str(folder)])
        shown = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, shown.out, shown.err

    return call


@pytest.fixture
def written(tmp_path: Path, command: Callable[..., tuple[int, str, str]]) -> Path:
    """A folder with chain.yaml, input.json and run.jsonl."""
    (tmp_path / "chain.yaml").write_text(YAML)
    (tmp_path / "input.json").write_text(GIVEN.model_dump_json())
    code, out, err = command(
        *("run", tmp_path / "chain.yaml", "--input", tmp_path / "input.json", "--events")
    )
    assert code == 0, err
    (tmp_path / "run.jsonl").write_text(out)
    return tmp_path


def test_run_prints_events_and_trace_makes_a_page_of_them(
    written: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    lines = (written / "run.jsonl").read_text().splitlines()
    told = [json.loads(line)["event"] for line in lines]
    assert told[0] == "run_started" and told[-1] == "run_finished"
    assert {"node_started", "prompt", "token", "verdict", "node_finished", "edge_taken"} < set(told)
    done = command(
        *("trace", written / "run.jsonl", "--chain", written / "chain.yaml"),
        *("--html", written / "run.html"),
    )
    assert done == (0, "", "")
    assert (written / "run.html").read_text().startswith("<!doctype html>")


def test_mistakes_at_the_command_line_are_named(
    written: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    chain = ("--chain", written / "chain.yaml")
    code, _, err = command("trace", written / "no.jsonl", *chain, "--html", written / "run.html")
    assert code == 2 and "no.jsonl: there is no such file" in err
    code, _, err = command("trace", written / "run.jsonl", *chain, "--html", written / "no" / "a")
    assert code == 1 and "can't be written" in err
    code, _, err = command("run", written / "chain.yaml", "--events", "--json")
    assert code == 2 and "choose one of --events and --json" in err


BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("size", ["1280,900", "480,900"])
def test_a_browser_shows_the_page_and_runs_nothing_of_it(
    engine: Engine, events: list[Event], tmp_path: Path, size: str
) -> None:
    path = tmp_path / "run.html"
    path.write_text(page.render(events, chain_of(YAML, engine).model), encoding="utf-8")
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
    done = subprocess.run(
        [
            *(str(BROWSER), *quiet, "--no-first-run", "--disable-component-update"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={size}"),
            *(f"--screenshot={tmp_path / 'run.png'}", "--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    shown = Page(done.stdout)
    assert "owned" not in done.stdout.split("</title>")[0]
    assert not {"script", "img"} & {tag for tag, _ in shown.tags}
    assert shown.text.count(HOSTILE) >= 5
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
