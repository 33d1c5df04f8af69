"""Each benchmark at tiny sizes: what it must tell, and that wrong sizes are refused."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from chains.bench import measure, soak
from chains.bench.figure import check_can_draw
from chains.bench.texts import fitted, passage
from chains.cli import main
from conftest import tiny_engine
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.errors import RequestError
from intrinsics.messages import Message

SIZES = {
    "decode": ["--tokens", "4", "--context", "60", "--repetitions", "2"],
    "concurrency": [
        *("--conversations", "2", "--context", "120", "--tokens", "3", "--repetitions", "1"),
    ],
    "flow": ["--context", "150", "--tokens", "3", "--repetitions", "1"],
    "guards": ["--context", "96", "--tokens", "3", "--repetitions", "1"],
    "fanout": ["--context", "96", "--adapters", "2", "--repetitions", "1"],
    "scaling": ["--context", "128", "--prefix", "64", "--most", "2", "--repetitions", "1"],
    "soak": ["--conversations", "6", "--threads", "3"],
    "training": ["--examples", "4", "--context", "40", "--repetitions", "1"],
}
DRAWN = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "tables.py"))
TABLES = {name: DRAWN[name] for name in ("decode", "concurrency", "flow", "guards", "training")}


@pytest.fixture
def measured(
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Any:
    """Runs a benchmark on the engine of all tests; gives the object that it prints.

    Where the README has a table of it, the table can be drawn from that object.
    """
    monkeypatch.setattr(Engine, "load", staticmethod(lambda **_: engine))

    def run(command: str, *more: str) -> dict[str, Any]:
        with pytest.raises(SystemExit) as caught:
            main(["bench", command, *SIZES[command], *more, "--json"])
        shown = capsys.readouterr()
        assert caught.value.code == 0, shown.err
        told: dict[str, Any] = json.loads(shown.out)
        assert told["machine"]["cores"] >= 1
        if command in TABLES:
            (tmp_path / f"{command}.json").write_text(shown.out)
            rows = TABLES[command](tmp_path).splitlines()
            assert len({row.count("|") for row in rows}) == 1, rows
        return told

    return run


@pytest.mark.slow
def test_decode_is_held_against_transformers_and_memory(measured: Any) -> None:
    told = measured("decode")
    assert told["ratio_to_transformers"] > 0 and told["ratio_to_memory_read"] > 0
    assert told["same_output"] is True
    assert len(told["raw"]["60"]["ours_step"]) == len(told["raw"]["60"]["read_sum"]) == 2
    [point] = told["curve"]
    assert abs(point["context"] - 60) <= 6


@pytest.mark.slow
def test_training_is_that_of_peft(measured: Any) -> None:
    """One step an epoch: the same losses on the way and the same gradients."""
    told = measured("training")
    assert told["ratio_to_peft"] > 0
    assert told["max_loss_difference"] < 1e-3
    assert told["max_gradient_difference"] < 1e-4 < told["max_gradient"]
    assert len(told["losses"]["ours"]) == len(told["losses"]["peft"]) == told["epochs"]


@pytest.mark.slow
def test_conversations_at_once_say_what_they_say_alone(measured: Any) -> None:
    told = measured("concurrency")
    assert told["ratio_to_sequential"] > 0 and told["p95_ttft_seconds"] > 0
    assert told["same_texts"] is True
    assert set(told["settings"]) == {"distinct", "shared_system"}
    for setting in told["settings"].values():
        assert setting["same_labels"] is True
        assert abs(setting["context"] - 120) <= 6
        assert len(setting["raw"]["sequential"]) == len(setting["raw"]["concurrent"]) == 1
        assert len(setting["raw"]["concurrent_ttft"]) == 2


@pytest.mark.slow
def test_the_flow_has_six_calls_and_the_labels_of_peft(measured: Any) -> None:
    told = measured("flow")
    assert told["ratio_to_peft_lora"] > 0 and told["ratio_to_peft_alora"] > 0
    assert told["checks"] == ["safety", "answerability", "certainty"] * 2
    assert len(told["reply_tokens"]) == 2
    assert told["same_labels"] is True
    for name in ("ours", "peft_lora", "peft_alora"):
        assert len(told["raw"][name]) == 1
        assert set(told["stages"][name]) == {"prefill", "turns", "intrinsics"}


@pytest.mark.slow
def test_a_guard_beside_the_reply_is_held_against_one_before_it(measured: Any) -> None:
    told = measured("guards")
    assert told["ratio_to_before"] > 0 and told["ratio_to_unguarded"] > 0
    [point] = told["curve"]
    assert abs(point["context"] - 96) <= 6
    assert {name for name in point["raw"] if name.startswith("passed")} == {
        "passed beside",
        "passed before",
        "passed unguarded",
    }


@pytest.mark.slow
def test_scaling_draws_what_it_measures(measured: Any, engine: Engine, tmp_path: Path) -> None:
    try:
        told = measured("scaling", "--out", str(tmp_path))
    finally:
        for name in ("alora0", "alora1"):  # the engine is that of all tests
            engine.model.bank.remove(name)
    assert Path(told["figure"]).read_bytes().startswith(b"\x89PNG")
    assert [point["size"] for point in told["curves"]["context"]] == [128]
    for name in ("intrinsics", "conversations", "branches"):
        assert [point["size"] for point in told["curves"][name]] == [1, 2]
    one, two = told["curves"]["branches"]
    assert 0 < two["ours"] - one["ours"] < two["peft"] - one["peft"]


@pytest.mark.slow
def test_a_soak_leaves_no_keys_and_values_behind(measured: Any) -> None:
    told = measured("soak")
    assert told["kv_bytes_start"] == told["kv_bytes_end"]
    assert isinstance(told["rss_growth_bytes"], int)
    assert told["done"]["conversations"] == told["raw"][-1]["conversations"] == 6


@pytest.mark.slow
def test_fanout_tells_its_ratios_after_one_repetition(measured: Any) -> None:
    told = measured("fanout")
    assert told["ratios"]["peft_alora_first_token"] > 0
    assert {len(values) for values in told["raw"].values()} == {1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["decode", "--tokens", "1"], "tokens = 1; it must be at least 2"),
        (["decode", "--repetitions", "0"], "repetitions = 0; it must be at least 1"),
        (["concurrency", "--conversations", "0"], "conversations = 0; it must be at least 1"),
        (["flow", "--tokens", "-3"], "tokens = -3; it must be at least 1"),
        (["fanout", "--adapters", "0"], "adapters = 0; it must be at least 1"),
        (["scaling", "--most", "0"], "most = 0; it must be at least 1"),
        (["soak", "--threads", "0"], "threads = 0; it must be at least 1"),
    ],
)
def test_a_size_that_measures_nothing_is_refused(
    arguments: Sequence[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", SIZES)
def test_every_benchmark_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", command, "--help"])
    assert f"Example: chains bench {command}" in capsys.readouterr().out


def test_figures_of_repetitions() -> None:
    assert measure.spread([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}
    assert measure.percentile([float(i) for i in range(1, 21)], 0.95) == 19.0
    assert measure.percentile([4.0], 0.95) == 4.0
    assert measure.ratio([2.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == 2.0


def test_jobs_are_measured_in_turn() -> None:
    order: list[str] = []

    def job(name: str) -> float:
        order.append(name)
        return float(len(order))

    raw = measure.alternate({"a": lambda: job("a"), "b": lambda: job("b")}, 2)
    assert order == ["a", "b", "a", "b"]
    assert raw == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


def test_a_passage_has_the_tokens_asked_for_and_seeds_differ() -> None:
    engine = tiny_engine()
    texts = [passage(engine.chat, 100, seed) for seed in (1, 1, 2)]
    assert len(engine.chat.text(texts[0])) == 100
    assert texts[0] == texts[1] != texts[2]

    def build(room: int) -> Conversation:
        return engine.conversation([Message(role="user", content=passage(engine.chat, room, 1))])

    assert fitted(80, build).length == 80
    with pytest.raises(RequestError, match="too few for this benchmark"):
        fitted(10, build)


@pytest.mark.parametrize("command", ["flow", "fanout", "scaling"])
def test_without_peft_a_benchmark_says_what_to_install(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["bench", command])
    assert caught.value.code == 2
    assert "needs peft: pip install 'alora-chains[bench]'" in capsys.readouterr().err


def test_without_matplotlib_the_figure_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_can_draw(tmp_path / "new")
    assert (tmp_path / "new").is_dir()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RequestError, match=r"pip install 'alora-chains\[bench\]'"):
        check_can_draw(tmp_path)


def test_memory_of_the_process_is_read() -> None:
    assert soak.rss_bytes() > 1 << 20
