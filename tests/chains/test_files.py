"""A chain from a file reads under that file's folder, wherever it is run, and what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chains import Chain, ChainDefinitionError, ChainRunError
from chains.cli import main
from chains.errors import InputError
from chains.files import Files
from flows import HELLO

CHAIN = """\
chain: found
nodes:
  found: {retrieve: {folder: docs, query: harbour}}
  told: {say: "{{ documents[0].text }}"}
flow: [start -> found, found -> told, told -> end]
"""
OUTER = "chain: o\nnodes: {b: {subchain: sub/inner.yaml}}\nflow: [start -> b, b -> end]\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a chain, a folder of texts, a chain in a folder; and a folder outside."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    elsewhere = tmp_path / "elsewhere"
    for folder in (tmp_path / "home" / "docs", tmp_path / "home" / "sub" / "docs", elsewhere):
        folder.mkdir(parents=True)
        (folder / "a.md").write_text(f"The harbour of {folder.parent.name}.")
    home = tmp_path / "home"
    (home / "chain.yaml").write_text(CHAIN)
    (home / "sub" / "inner.yaml").write_text(CHAIN)
    (home / "outer.yaml").write_text(OUTER)
    (elsewhere / "inner.yaml").write_text(CHAIN)
    monkeypatch.chdir(elsewhere)
    return home


def output(chain: Chain) -> str:
    return chain.run(None, HELLO).output


def test_names_begin_at_the_file_that_says_them(home: Path) -> None:
    assert output(Chain.load(home / "chain.yaml")) == "The harbour of home."
    outer = Chain.load(home / "outer.yaml")
    assert output(outer) == "The harbour of sub."
    (home / "again.yaml").write_text(outer.to_yaml())
    assert Chain.load(home / "again.yaml") == outer  # names are those of this folder now
    assert output(Chain.load(home / "again.yaml")) == "The harbour of sub."


@pytest.mark.parametrize("name", ["../elsewhere", "ELSEWHERE", "link", "docs/../../elsewhere"])
def test_what_lies_outside_is_a_fault_unless_it_is_allowed(home: Path, name: str) -> None:
    outside = home.parent / "elsewhere"
    (home / "link").symlink_to(outside)
    named = name.replace("ELSEWHERE", str(outside))
    text = CHAIN.replace("folder: docs", f"folder: {named}")
    (home / "chain.yaml").write_text(text)
    with pytest.raises(ChainDefinitionError) as caught:
        Chain.load(home / "chain.yaml")
    [fault] = caught.value.faults
    assert (fault.line, fault.column) == (3, 30)
    assert f"'{named}' is outside the folder of the chain" in fault.message
    assert f"--allow {outside}" in fault.message
    allowed = Chain.load(home / "chain.yaml", allow=[outside])
    assert output(allowed) == f"The harbour of {outside.parent.name}."


def test_a_sub_chain_outside_is_a_fault_unless_it_is_allowed(home: Path) -> None:
    outside = home.parent / "elsewhere"
    (home / "outer.yaml").write_text(OUTER.replace("sub/inner", "../elsewhere/inner"))
    with pytest.raises(ChainDefinitionError, match=r"outer.yaml:2:23: '../elsewhere/inner.yaml'"):
        Chain.load(home / "outer.yaml")
    with pytest.raises(ChainDefinitionError, match=r"there is no such file"):
        (home / "gone.yaml").write_text(OUTER.replace("sub/inner", "sub/none"))
        Chain.load(home / "gone.yaml")
    (home / "bare.yaml").write_text(OUTER.replace("sub/inner.yaml", "inner.yaml"))
    with pytest.raises(ChainDefinitionError, match=r"'.*elsewhere/inner.yaml' is outside"):
        Chain.load(home / "bare.yaml")  # it is in the working directory, not beside the chain
    (outside / "docs").mkdir()
    (outside / "docs" / "a.md").write_text("The harbour outside.")
    chain = Chain.load(home / "outer.yaml", allow=[outside])
    assert output(chain) == "The harbour outside."


def test_a_link_that_is_made_later_is_refused_as_it_is_read(home: Path) -> None:
    chain = Chain.load(home / "chain.yaml")
    (home / "docs").rename(home / "other")
    (home / "docs").symlink_to(home.parent / "elsewhere")
    with pytest.raises(ChainRunError, match="node 'found': 'docs' is outside the folder"):
        chain.run(None, HELLO)


def test_python_may_name_any_folder() -> None:
    assert Files().find("/somewhere/else") == Path("/somewhere/else")
    with pytest.raises(InputError, match="no name of a file or folder"):
        Files(Path("/tmp")).find("a\0b")


def test_the_commands_allow_a_folder(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside = str(home.parent / "elsewhere")
    file = home / "chain.yaml"
    file.write_text(CHAIN.replace("folder: docs", f"folder: {outside}"))

    def call(*arguments: str, code: int = 0) -> Any:
        with pytest.raises(SystemExit) as caught:
            main([*arguments])
        shown = capsys.readouterr()
        assert caught.value.code == code, shown.err
        return json.loads(shown.out) if "--json" in arguments and not code else shown

    allow = ("--allow", outside)
    assert "is outside the folder" in call("run", str(file), "--json", code=2).err
    recorded = ("--record", "runs.db", "--json")
    told = call("run", str(file), *allow, *recorded)
    file.unlink()  # its record has the chain; what it may read is still to be allowed
    again = ("replay", told["run_id"], "--from", "found", *recorded)
    assert "is outside the folder" in call(*again, code=2).err
    assert call(*again, *allow)["output"] == told["output"]
    assert call("resume", told["run_id"], *recorded, *allow)["output"] == told["output"]


def test_a_folder_that_is_not_there_is_told_when_the_chain_is_loaded(home: Path) -> None:
    (home / "chain.yaml").write_text(CHAIN.replace("docs", "dcos"))
    with pytest.raises(ChainDefinitionError) as caught:
        Chain.load(home / "chain.yaml")
    assert f"chain.yaml:3:30: there is no folder 'dcos' in {home}" in str(caught.value)
