"""`chains runs`, `show`, `diff` and `prune` on a store with a few runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chains.cli import main
from chains.commands.runs import age, seconds
from chains.store import Entry, Store, StoredMessage


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def three(record: Path) -> tuple[str, str, str]:
    """A finished run, a fork of it that went another way, and one that waits."""
    with Store.open(record) as store:
        first = store.create("guarded", "name: guarded", {"inputs": {"n": 1}})
        message = StoredMessage("user", "Where is [bold]Elmsport[/bold]?", (1, 2))
        with store.lease(first) as run:
            run.append(Entry("node_started", {"kind": "turn"}, "reply"))
            run.append(
                Entry("node_finished", {"output": "by the sea"}, "reply", messages=(message,)),
                status="finished",
            )
        fork = store.fork(first, 1)
        with store.lease(fork) as run:
            run.append(Entry("node_finished", {"output": "inland"}, "reply"), status="failed")
        waiting = store.create("clarify", "name: clarify")
        with store.lease(waiting) as run:
            run.ask({"question": "Which one?"}, node="human")
    return first, fork, waiting


def told(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> str:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    assert caught.value.code == code, shown.err
    assert "Traceback" not in shown.err
    return shown.out if code == 0 else shown.err


def in_json(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(capsys, *arguments, "--json"))
    return found


@pytest.mark.parametrize("command", ["runs", "show", "diff", "prune"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"Example: chains {command}" in told(capsys, command, "--help")


def test_runs_are_listed(
    three: tuple[str, str, str], record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = in_json(capsys, "runs", "--record", record)["runs"]
    assert [one["run_id"] for one in found] == [*three[::-1]]
    assert [one["status"] for one in found] == ["waiting", "failed", "finished"]
    assert [one["chain"] for one in found] == ["clarify", "guarded", "guarded"]
    assert (found[1]["parent"], found[1]["forked_at"]) == (three[0], 1)
    assert found[0]["held_by"] is None and found[0]["created"].endswith("+00:00")
    some = in_json(capsys, "runs", "--record", record, "--status", "waiting", "--status", "failed")
    assert [one["run_id"] for one in some["runs"]] == [three[2], three[1]]
    one = in_json(capsys, "runs", "--record", record, "--chain", "guarded", "--limit", "1")
    assert [one["run_id"] for one in one["runs"]] == [three[1]]
    table = " ".join(told(capsys, "runs", "--record", record).split())
    assert "clarify waiting" in table
    assert f"goes on with: chains resume RUN --record {record} [--answer TEXT]" in table


def test_a_run_without_its_process_is_shown_as_interrupted(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(record) as store:
        run_id = store.create("c", "")
        with store.lease(run_id):
            assert "running (process" in " ".join(told(capsys, "runs", "--record", record).split())
            held = in_json(capsys, "runs", "--record", record, "--status", "interrupted")
    assert "interrupted" in told(capsys, "runs", "--record", record)
    [one] = in_json(capsys, "runs", "--record", record, "--status", "interrupted")["runs"]
    assert (held["runs"], one["run_id"]) == ([], run_id)
    assert not in_json(capsys, "runs", "--record", record, "--status", "running")["runs"]


def test_a_run_is_shown(
    three: tuple[str, str, str], record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = in_json(capsys, "show", three[0], "--record", record)
    assert found["input"] == {"inputs": {"n": 1}} and found["chain_yaml"] == "name: guarded"
    assert [one["kind"] for one in found["records"]] == ["node_started", "node_finished"]
    assert found["messages"] == [{"role": "user", "content": "Where is [bold]Elmsport[/bold]?"}]
    shown = told(capsys, "show", three[0], "--record", record)
    assert "output: by the sea" in shown and "user: Where is [bold]Elmsport[/bold]?" in shown
    waiting = told(capsys, "show", three[2], "--record", record)
    assert "waiting for an answer to ask 1: question: Which one?" in waiting
    assert f"forked from {three[0]} after record 1" in told(
        capsys, "show", three[1], "--record", record
    )


def test_the_first_difference_is_shown(
    three: tuple[str, str, str], record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = in_json(capsys, "diff", *three[:2], "--record", record)
    assert found["differs"] and found["place"] == "output"
    assert found["second"]["payload"] == {"output": "inland"}
    shown = told(capsys, "diff", *three[:2], "--record", record)
    assert "by the sea" in shown and "inland" in shown
    assert in_json(capsys, "diff", three[0], three[0], "--record", record) == {"differs": False}
    assert "the same" in told(capsys, "diff", three[0], three[0], "--record", record)
    assert "1" in told(capsys, "diff", three[0], three[2], "--record", record)


def test_runs_are_pruned(
    three: tuple[str, str, str], record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prune = ("prune", "--record", record)
    assert in_json(capsys, *prune, "--older-than", "30d", "--dry-run")["runs"] == []
    dry = in_json(capsys, *prune, "--older-than", "0s", "--dry-run")
    assert set(dry["runs"]) == set(three[:2]) and dry["dry_run"] and dry["messages"] == 1
    some = in_json(capsys, *prune, "--status", "finished", "--dry-run")
    assert some["kept"] == {three[0]: f"run {three[1]} was forked from it"}
    shown = told(capsys, *prune, "--keep", "1", "--status", "failed", "--status", "finished")
    assert f"{three[0]}  stays: run {three[1]} was forked from it" in shown
    shown = told(capsys, *prune, "--older-than", "0s")
    assert "2 runs, 1 messages, 0 texts, 0.0 MB deleted" in shown
    assert len(in_json(capsys, "runs", "--record", record)["runs"]) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["runs", "--record", "none.db"], 2, "none.db: there is no such file"),
        (["show", "x", "--record", "RECORD"], 2, "no run 'x'; `chains runs` lists"),
        (["runs", "--record", "RECORD", "--status", "odd"], 2, "'odd' is not one of running"),
        (["prune", "--record", "RECORD"], 2, "say which runs"),
        (["prune", "--record", "RECORD", "--older-than", "soon"], 2, "such as 30d"),
        (["runs", "--record", "TEXT"], 1, "not an SQLite database"),
        (["runs"], 2, "Missing option"),
    ],
)
def test_wrong_use_is_one_message(
    record: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    Store.open(record).close()
    (tmp_path / "notes.txt").write_text("some notes")
    places = {"RECORD": str(record), "TEXT": str(tmp_path / "notes.txt")}
    assert message in told(capsys, *(places.get(one, one) for one in arguments), code=code)


def test_ages_are_read_and_told() -> None:
    assert [seconds(one) for one in ("90s", "2m", "12h", "30d", "1.5w")] == [
        *(90, 120, 43_200, 2_592_000, 907_200)
    ]
    assert [age(one) for one in (5, 61, 7200, 200_000)] == [*("5 s", "1 min", "2 h", "2 d")]


def test_no_model_is_imported_for_recorded_runs(record: Path) -> None:
    Store.open(record).close()
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys; from chains.cli import main\n"
            "try: main(sys.argv[1:])\n"
            "except SystemExit: assert 'torch' not in sys.modules, 'torch'",
            *("runs", "--record", str(record), "--json"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"runs": []}
