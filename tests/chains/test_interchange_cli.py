"""`chains import` and `chains export` on the command line, with a tiny base model of its own."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from chains.cli import main
from command import run_chains
from conftest import tiny_engine, tiny_network, tiny_tokenizer, write_intrinsic
from intrinsics.adapter import Adapter
from intrinsics.engine import Engine

PAGE = (Path(__file__).parents[2] / "docs" / "interchange.md").read_text()


def failing(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0), capsys.readouterr().err


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    return write_intrinsic(tiny_engine(), tmp_path / "made", "judge", rank=2)


@pytest.mark.parametrize("command", ["import", "export"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"Example: chains {command}" in capsys.readouterr().out


def test_what_is_exported_can_be_imported_and_judges(tmp_path: Path, judge: Path) -> None:
    model = tmp_path / "tiny"
    tiny_network().save_pretrained(model)
    tiny_tokenizer().save_pretrained(model)
    done = run_chains("export", judge, "--to", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["name"] == "judge" and len(told["sha256"]["README.md"]) == 64
    assert "license: not known" in told["left_open"]
    mine = tmp_path / "mine"
    done = run_chains("import", tmp_path / "out", "--to", mine, "--model", model, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["directory"] == str(mine / "judge")
    assert (told["activated"], told["ranks"], told["rounding"]) == (True, [2], 0)
    done = run_chains(
        *("check", "judge", "--intrinsics", mine, "--model", model, "--message", "Hm?", "--json")
    )
    assert done.returncode == 0, done.stderr
    (verdict,) = json.loads(done.stdout)["results"]
    assert verdict["intrinsic"] == "judge" and verdict["value"] in ("yes", "no")
    done = run_chains("import", tmp_path / "out", "--to", mine, "--model", model)
    assert (done.returncode, done.stdout) == (2, "")
    assert "exists; --replace replaces it" in done.stderr and "Traceback" not in done.stderr
    done = run_chains("import", tmp_path / "out", "--to", mine, "--model", model, "--replace")
    assert done.returncode == 0, done.stderr
    assert "judge: aLoRA of rank 2 on 6 layers" in done.stdout
    assert "there was no CARD.md" in done.stderr


def test_an_export_tells_what_it_wrote_and_what_is_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["export", "safety", "--to", str(tmp_path / "out"), "--license", "apache-2.0"])
    assert caught.value.code == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{tmp_path / 'out'}: CARD.md, README.md, adapter_config.json")
    assert shown.err.splitlines() == [
        "left to say before publishing: base_model: its owner on the hub is not known"
    ]


def test_errors_leave_with_their_code(
    tmp_path: Path, judge: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = failing(capsys, "export", "no_such", "--to", tmp_path / "out")
    assert code == 2 and "no_such" in told
    code, told = failing(capsys, "export", judge, "--to", judge)
    assert code == 2 and "exists and is no export; choose another directory" in told
    (judge / "adapter" / "adapter_config.json").unlink()
    code, told = failing(capsys, "export", judge, "--to", tmp_path / "out")
    assert code == 1 and "no adapter_config.json" in told


@pytest.mark.slow
def test_the_commands_of_the_page_run_in_their_order(engine: Engine, tmp_path: Path) -> None:
    adapter = Adapter.load(engine.catalogue.get("safety").directory / "adapter")
    polite = tuple(engine.chat.control("<|im_start|>polite\n"))
    replace(adapter, invocation=polite).save(tmp_path / "peft_output")
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "intrinsic.yaml").write_text(text)
    lines = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).splitlines()
    assert len(lines) == 4
    for line in lines:
        command, *arguments = shlex.split(line)
        done = run_chains(*arguments, folder=tmp_path)
        assert (command, done.returncode) == ("chains", 0), done.stderr
        assert done.stdout
    assert "left to say" not in done.stderr
