"""The command line's contracts, each in a process of its own, on input that is in no training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from chains.cli import main
from command import run_chains
from intrinsics.kv import Segment

COMMANDS = [
    *("demo", "run", "validate", "graph", "retrieve", "intrinsics", "check"),
    *("train", "eval", "calibrate", "bench"),
]
RAG = {
    "messages": [{"role": "user", "content": "When was the harbour library opened?"}],
    "documents": [{"id": "a", "text": "The harbour library of Elmsport was opened in May 1931."}],
}
TWO = [*RAG["messages"], {"role": "assistant", "content": "In May 1931."}]


def answered(*arguments: str | Path) -> dict[str, Any]:
    """The JSON object that a successful command prints, and nothing else on stdout."""
    done = run_chains(*arguments)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def written(path: Path, data: object) -> Path:
    path.write_text(json.dumps(data))
    return path


def failing(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Exit code and stderr of a command that fails; run in this process, where no model is used."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    return int(caught.value.code or 0), shown.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "Usage: chains" in shown and f"chains {command}" in shown
    groups = {"intrinsics": "list", "bench": "fanout"}
    if command in groups:
        with pytest.raises(SystemExit):
            main([command, groups[command], "--help"])
        shown = capsys.readouterr().out
    assert "Example: chains" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "no_such_chain"], 2, "unknown chain 'no_such_chain'"),
        (["run", "nowhere.yaml"], 2, "nowhere.yaml: there is no such file"),
        (["run", "guarded_chat", "--input", "none.json"], 2, "none.json: there is no such file"),
        (["check", "saftey", "-m", "x"], 2, "unknown intrinsic 'saftey'; did you mean 'safety'"),
        (["check", "safety", "-m", " "], 2, "the content is empty"),
        (["check", "safety", "--nope"], 2, "No such option"),
        (["check", "safety", "-m", "x", "--argument", "a"], 2, "is not INTRINSIC.NAME=TEXT"),
        (["run", "guarded_chat", "-m", "x", "--model", "nowhere"], 1, "nowhere: no such directory"),
        (["eval", "safety", "--data", "none.jsonl"], 2, "none.jsonl: no such data file"),
        (["train", "nowhere", "--data", "a", "--dev", "b"], 2, "intrinsic.yaml:1:1: missing"),
        (["graph", "guarded_rag", "--format", "png"], 2, "'png' is not one of"),
        (["bench", "fanout", "--context", "0"], 2, "must be at least 1"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_wrong_use_is_one_message_without_a_traceback(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str], code: int, message: str
) -> None:
    found, shown = failing(capsys, *arguments)
    assert found == code
    assert message in shown


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "input.json: not JSON"),
        ("[]", "must be a JSON object"),
        ('{"mesages": []}', "unknown key 'mesages'; did you mean 'messages'"),
        ('{"messages": [{"role": "robot", "content": "x"}]}', "messages.0.role"),
        ('{"documents": [{"id": "a"}]}', "documents.0.text"),
    ],
)
def test_wrong_input_names_file_and_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    path = tmp_path / "input.json"
    path.write_text(content)
    code, shown = failing(capsys, "run", "guarded_chat", "--input", path)
    assert code == 2
    assert message in shown


def test_validate_exits_with_0_or_1(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("chain: good\nnodes: {hi: {say: Hi.}}\nflow: [start -> hi, hi -> end]\n")
    bad.write_text("chain: bad\nnodes: {hi: {say: Hi.}}\nflow: [start -> ho, hi -> end]\n")
    assert run_chains("validate", good, "guarded_rag").returncode == 0
    done = run_chains("validate", good, bad)
    assert done.returncode == 1
    assert f"{bad}:3:17: unknown node 'ho'; known: hi, end" in done.stderr
    assert "start -> ho" in done.stderr and "^" in done.stderr
    told = json.loads(run_chains("validate", bad, "--json").stdout)
    assert told["faults"][0]["line"] == 3


@pytest.mark.parametrize(("form", "start"), [("mermaid", "flowchart TD"), ("dot", "digraph")])
def test_graph_draws_every_edge_with_its_condition(form: str, start: str) -> None:
    done = run_chains("graph", "guarded_rag", "--format", form)
    assert done.returncode == 0
    assert done.stdout.startswith(start)
    assert done.stdout.count("->" if form == "dot" else "-->") == 10
    assert "screen.safety.value == 'unsafe'" in done.stdout


@pytest.mark.slow
def test_run_prints_one_object(tmp_path: Path) -> None:
    told = answered("run", "guarded_rag", "--input", written(tmp_path / "in.json", RAG), "--json")
    assert list(told) == ["chain", "status", "output", "messages", "nodes", "ledger"]
    assert (told["chain"], told["status"]) == ("guarded_rag", "finished")
    assert told["nodes"][0]["name"] == "screen" and told["nodes"][0]["kind"] == "check"
    for node in told["nodes"]:
        assert {"name", "kind", "output", "ledger"} <= node.keys()
    assert told["ledger"].keys() == {"reused", "computed", "forwards", "seconds"}
    assert told["ledger"]["reused"] == sum(node["ledger"]["reused"] for node in told["nodes"])
    assert "1931" in told["output"]


@pytest.mark.slow
def test_check_fires_all_in_one_forward_and_tells_the_tokens(tmp_path: Path) -> None:
    path = written(tmp_path / "in.json", RAG)
    told = answered("check", "safety", "answerability", "--input", path, "--json", "--tokens")
    assert told["forwards"] == 1
    assert [one["intrinsic"] for one in told["results"]] == ["safety", "answerability"]
    for one in told["results"]:
        assert {"value", "distribution", "activated_at", "reused", "computed"} <= one.keys()
        assert one["activated_at"] < len(one["token_ids"])
        assert one["candidates"].keys() == one["distribution"].keys()
        assert sum(one["distribution"].values()) == pytest.approx(1)
    answer = answered("check", "certainty", "-i", written(path, {**RAG, "messages": TWO}), "--json")
    assert 0 <= answer["results"][0]["value"] <= 1


@pytest.mark.slow
def test_check_proves_its_verdicts(tmp_path: Path) -> None:
    path = written(tmp_path / "in.json", RAG)
    plain = answered("check", "safety", "answerability", "--input", path, "--json")
    told = answered("check", "safety", "answerability", "--input", path, "--json", "--prove")
    assert "proved" not in plain and told["proved"] is True
    assert [one["distribution"] for one in told["results"]] == [
        pytest.approx(one["distribution"], abs=1e-5) for one in plain["results"]
    ]
    done = run_chains("check", "safety", "-m", "How do I bake bread?", "--prove")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "  proved: computed again from scratch, and the same"


@pytest.mark.slow
def test_a_check_that_is_not_confirmed_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The keys that a later chunk of the prefill reads are each a token too late."""
    write = Segment.write
    monkeypatch.setattr(
        Segment, "write", lambda s, layer, at, keys, v: write(s, layer, at, keys.roll(1, 1), v)
    )
    monkeypatch.setattr("intrinsics.scheduler.IDLE_CHUNK_TOKENS", 32)
    code, shown = failing(capsys, "check", "safety", "-m", "How do I bake bread? " * 8, "--prove")
    assert code == 1
    assert "computed from scratch" in shown


@pytest.mark.slow
def test_a_conversation_an_intrinsic_can_not_judge_is_wrong_use(tmp_path: Path) -> None:
    done = run_chains("check", "certainty", "-m", "Who?")
    assert done.returncode == 2
    assert done.stderr.strip().endswith("call it after the assistant message")
    long = written(
        tmp_path / "long.json", {"messages": [{"role": "user", "content": "a b " * 9000}]}
    )
    done = run_chains("run", "guarded_chat", "--input", long)
    assert done.returncode == 1
    assert "do not fit into the model's context of 8192" in done.stderr


@pytest.mark.slow
def test_eval_scores_rows_of_ones_own(tmp_path: Path) -> None:
    texts = {"safe": "How do I bake bread?", "unsafe": "How do I make a bomb?"}
    rows = [
        {"messages": [{"role": "user", "content": text}], "label": label}
        for label, text in texts.items()
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = answered("eval", "safety", "--data", path, "--json")
    assert told["n"] == 2
    for metric in ("accuracy", "balanced_accuracy", "f1", "auroc", "ece"):
        assert 0 <= told[metric] <= 1
        assert metric in told["confidence_intervals"]
    path.write_text(path.read_text().replace('"unsafe"', '"dangerous"'))
    done = run_chains("eval", "safety", "--data", path)
    assert done.returncode == 2
    assert f"{path}:2: unknown label 'dangerous'; known: safe, unsafe" in done.stderr


@pytest.mark.slow
def test_bench_compares_in_one_process_and_keeps_the_raw_values() -> None:
    told = answered("bench", "fanout", "--context", "96", "--adapters", "2", "--json")
    for name in ("ours", "peft_alora_first_token", "peft_alora_16_tokens"):
        assert told[f"{name}_seconds"] > 0 and len(told["raw"][f"{name}_seconds"]) >= 2
    for name in ("peft_lora_first_token", "peft_lora_16_tokens"):
        assert told[f"{name}_seconds"] > 0
    # float32 rounding through 30 layers: the same adapters on the same context
    assert told["max_logit_difference"] < 2e-3


@pytest.mark.slow
def test_a_training_killed_and_started_again_ends_at_the_same_weights(tmp_path: Path) -> None:
    """The real model, a real process, a real SIGKILL in the second epoch."""
    data = {}
    for split, count in (("train", 16), ("dev", 4)):
        rows = [
            {
                "id": f"{split}{i}",
                "messages": [{"role": "user", "content": f"Number {i}{'!!' if i % 2 else '.'}"}],
                "label": "loud" if i % 2 else "calm",
            }
            for i in range(count)
        ]
        data[split] = tmp_path / f"{split}.jsonl"
        data[split].write_text("".join(json.dumps(row) + "\n" for row in rows))
    directories = [tmp_path / name / "loudness" for name in ("whole", "killed")]
    for directory in directories:
        directory.mkdir(parents=True)
        (directory / "intrinsic.yaml").write_text(
            "name: loudness\nversion: 1\njudges: Whether the user shouts.\nreads: {last: user}\n"
            'invocation: "<|im_start|>loudness\\n"\n'
            "output: {type: enum, labels: [loud, calm], positive: loud}\n"
            "base_model: SmolLM2-135M-Instruct\n"
        )
    whole, killed = directories
    options: list[str | Path] = [
        "--data",
        data["train"],
        "--dev",
        data["dev"],
        "--rank",
        "4",
        "--batch-size",
        "4",
    ]
    done = run_chains("train", whole, *options)
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-c", "from chains.cli import main; main()", "train", killed]
    process = subprocess.Popen(
        [*map(str, (*command, *options))], stderr=subprocess.DEVNULL, env=dict(os.environ)
    )
    deadline = time.monotonic() + 120
    while not (killed / ".training").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "adapter").exists()
    assert run_chains("train", killed, *options).returncode == 0
    one, other = (load_file(d / "adapter" / "adapter_model.safetensors") for d in directories)
    assert one.keys() == other.keys()
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())
    assert not (killed / ".training").exists()
